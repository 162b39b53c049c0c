// SPDX-License-Identifier: Apache-2.0
// What a training step, or HiDe alone, costs on a GPU, launch by launch. The launches are the step's own, with the sizes that it hands to its kernels;
// tiles, stages and groups are the kernels' constants, and GpuModel has the machine's. Four kinds of kernel, a file each:
//   GpuTileCost       products of GpuGemm and the passes made of them: instructions, latency of loads
//   GpuWarpgroupCost  products on warpgroup instructions: cache, tensor units, then what is done with the elements
//   GpuEigenCost      eigensystems: chains of dependent steps
//   GpuLineCost       everything else: memory, or rounds of loads
// Limits     first-level cache, clocks that vary with the load, and contention between kinds of work are left out.
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>The model.</summary>
/// <param name="device">What is assumed.</param>
/// <param name="kept">m, which the device finds out.</param>
internal sealed class GpuCostModel(GpuModel device, int kept)
{
    private readonly GpuTileCost _tiles = new(device, kept);
    private readonly GpuWarpgroupCost _warpgroups = new(device, kept);
    private readonly GpuLineCost _lines = new(device, kept);

    /// <summary>Costs by kernel, in the order of their first launch.</summary>
    public List<KernelCost> Predict(GpuCase work) =>
        [.. work.Launches().Select(Cost).GroupBy(cost => cost.Kernel).Select(same => KernelCost.Sum(same.Key, [.. same]))];

    /// <summary>m or another size, as a kernel finds it on the device.</summary>
    public static int Limit(DeviceLimit limit, int group, int size, int kept) =>
        Math.Min(size, group < limit.FirstGroup ? limit.Before : !limit.Kept.IsEmpty ? (kept + limit.Extra) << limit.Doubled : size);

    private KernelCost Cost(LaunchEntry launch) => launch.Arguments switch
    {
        WarpgroupPass pass => _warpgroups.Statistics(launch, pass),
        WarpgroupStrip strip => _warpgroups.Derivative(launch, strip),
        WarpgroupProduct product => _warpgroups.Product(launch, product),
        EigenArguments eigen => GpuEigenCost.OneGroup(launch, eigen.Size),
        LargeEigenArguments large => GpuEigenCost.Chip(launch, large.Problem.Size),
        LogitPass pass when launch.Kernel.IsGenericMethod => _tiles.Logits(launch, pass),
        _ when launch.Kernel.DeclaringType == typeof(GpuGemm) => _tiles.Product(launch),
        _ => _lines.Cost(launch),
    };
}
