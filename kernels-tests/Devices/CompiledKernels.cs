// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests.Devices;

/// <summary>Every kernel that is really launched, as PTX of all its targets: compiled once, for all fixtures that read it.</summary>
internal static class CompiledKernels
{
    private static readonly string[] s_targets = ["sm_80", "sm_90"];

    // Hopper's warpgroup instructions have a target of their own.
    private static readonly string[] s_warpgroupTargets = ["sm_90a"];

    private static readonly string[] s_clusterTargets = ["sm_90"];

    private static readonly Lazy<SortedDictionary<string, LaunchEntry>> s_launches = new(() =>
    {
        using KernelInventory inventory = KernelInventory.Of(KernelInventory.All());
        return inventory.Kernels;
    });

    private static readonly Lazy<Dictionary<(string Name, string Target), string>> s_ptx = new(() => s_launches.Value
        .AsParallel()
        .Select(pair => (Name: pair.Key, Targets: Targets(pair.Value), Ptx: PtxArchive.Compile(pair.Value.Kernel, pair.Value.Threads)))
        .SelectMany(each => each.Targets.Select(target => (Key: (each.Name, target), Ptx: OfflinePtx.Retarget(each.Ptx, target))))
        .ToDictionary(each => each.Key, each => each.Ptx));

    /// <summary>A launch of each kernel, by its name.</summary>
    public static SortedDictionary<string, LaunchEntry> Launches => s_launches.Value;

    /// <summary>A kernel's PTX.</summary>
    public static string Ptx(string name, string target) => s_ptx.Value[(name, target)];

    /// <summary>A kernel's PTX for its newest target.</summary>
    public static string Ptx(string name) => Ptx(name, Targets(Launches[name])[^1]);

    /// <summary>What a kernel is compiled for.</summary>
    public static string[] Targets(LaunchEntry launch) =>
        launch.Kernel.DeclaringType!.Name.StartsWith("Warpgroup", StringComparison.Ordinal) ? s_warpgroupTargets
        : launch.Kernel.Name == nameof(EigenSymmetricGpu.ClusterColumnsKernel) ? s_clusterTargets
        : s_targets;
}
