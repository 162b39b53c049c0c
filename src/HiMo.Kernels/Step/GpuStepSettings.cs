// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>How a step runs on a GPU; what it computes is in <see cref="MoLoOptions"/>.</summary>
internal sealed record GpuStepSettings
{
    /// <summary>Precision of the contrastive products.</summary>
    public GpuPrecision Precision { get; init; } = GpuPrecision.Strict;

    /// <summary>
    /// Independent batches of the same shape in one call. For N &lt;= d they share launches, as many as <see cref="MostMemory"/> holds, and the rest
    /// follows; for N > d they run one after the other, in the memory of one.
    /// </summary>
    public int Groups { get; init; } = 1;

    /// <summary>Bytes of intermediate results that groups may take together; a single one takes what it needs.</summary>
    public long MostMemory { get; init; } = 4L << 30;

    /// <summary>Threads of the eigensystem's thread group, a multiple of 32; the emulation wants few.</summary>
    public int EigenThreads { get; init; } = 512;

    /// <summary>Largest eigenproblem that one thread group solves, up to <see cref="EigenSymmetricGpu.MaxSize"/> where shared memory has room for it; larger ones span the chip.</summary>
    public int LargestGroupProblem { get; init; } = EigenSymmetricGpu.MaxSize;

    /// <summary>Whether bf16 products for N > d may use Hopper's warpgroup instructions; a device that has none does not.</summary>
    public bool Warpgroups { get; init; } = true;

    /// <summary>Most rows of D that exist at a time for N > d; more rows, more memory and larger products.</summary>
    public int StripRows { get; init; } = 1024;

    /// <summary>Settings for a device; none: as a Hopper GPU would have them.</summary>
    public static GpuStepSettings For(GpuPrecision precision, Gpu? gpu)
    {
        const int EmulatedEigenThreads = 64;        // a barrier costs by the thread there
        GpuStepSettings settings = new() { Precision = precision };
        return gpu switch
        {
            null => settings,
            { IsEmulated: true } => settings with { EigenThreads = EmulatedEigenThreads },
            { IsOpenCl: true } => (settings with { EigenThreads = Gpu.WarpSize }).On(gpu),
            _ => settings.On(gpu),
        };
    }

    /// <summary>The same, without what a device does not have.</summary>
    public GpuStepSettings On(Gpu gpu) => this with
    {
        Warpgroups = Warpgroups && gpu.HasWarpgroups, LargestGroupProblem = Math.Min(LargestGroupProblem, EigenSymmetricGpu.LargestOn(gpu)),
    };
}
