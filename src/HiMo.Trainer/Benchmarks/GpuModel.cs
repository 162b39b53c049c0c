// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>
/// What the cost model assumes about a GPU. Counts and widths are from data sheets; what is called fitted was chosen so that the model meets the times of
/// perf/results/gpu, which an H200 took, and is the same for every kernel.
/// </summary>
/// <param name="Name">As <c>--device</c> names it.</param>
/// <param name="Bf16">Dense bf16 products that a library's product reaches, FLOP/s.</param>
/// <param name="Bandwidth">Device memory, bytes/s: the data sheet's, and of it the share that torch's copy reached on an H200 (plain.json).</param>
internal sealed record GpuModel(string Name, double Bf16, double Bandwidth)
{
    /// <summary>Multiprocessors of both.</summary>
    public const int Multiprocessors = 132;

    /// <summary>Threads that one of them holds.</summary>
    public const int ThreadsOfMultiprocessor = 2048;

    /// <summary>Threads that one of them serves in a cycle: four warps.</summary>
    public const int Lanes = 4 * Gpu.WarpSize;

    /// <summary>Bytes of shared memory that one of them moves in a cycle.</summary>
    public const double SharedBytes = 128.0;

    /// <summary>Cycles a second: the clock that the data sheet's peaks are counted at.</summary>
    public const double Clock = 1.83e9;

    /// <summary>From one launch to the next that depends on it, in a graph. Fitted.</summary>
    public const double LaunchGap = 1.5e-6;

    /// <summary>Seconds from a load of global memory to its value. Fitted.</summary>
    public const double LoadLatency = 0.3e-6;

    /// <summary>
    /// One link of a chain within a thread group: a word of shared memory, a shuffle, a sum of four products, a step in float64. A barrier, a root or a division has two. Fitted.
    /// </summary>
    public const double Link = 20e-9;

    /// <summary>From a group's record in global memory to all groups that poll for it. Fitted.</summary>
    public const double Exchange = 1.7e-6;

    /// <summary>A column of a tridiagonalisation in a cluster. Fitted.</summary>
    public const double ClusterColumn = 1.65e-6;

    /// <summary>From the second-level cache to all multiprocessors by bulk copies, bytes/s. Fitted.</summary>
    public const double CacheBandwidth = 8.8e12;

    /// <summary>Cycles of a warp for one element's way from global to shared memory: index, bounds, load, operand, index again, store. Fitted; the kernels that were measured had more instructions for it than there are now (GpuTileCost).</summary>
    public const int LoadCycles = 52;

    /// <summary>Cycles of a warp for one element of a tile of 128 x 128 that is multiplied already: exponentials, sums, exchanges, stores. Fitted.</summary>
    public const int ElementCycles = 31;

    private const double CopyShare = 0.88;

    /// <summary>H100 SXM.</summary>
    public static GpuModel H100 { get; } = new("h100", 790e12, CopyShare * 3.35e12);

    /// <summary>H200: the H100's multiprocessors with faster memory.</summary>
    public static GpuModel H200 { get; } = new("h200", 790e12, CopyShare * 4.8e12);

    /// <summary>Multiplications and additions of one multiprocessor in a second, in tf32.</summary>
    public double Tf32OfOne => 0.5 * Bf16OfOne;

    /// <summary>The same in bf16.</summary>
    public double Bf16OfOne => Bf16 / Multiprocessors;

    /// <summary>Adds up waves of groups: as many at a time as fit.</summary>
    /// <param name="groups">In all.</param>
    /// <param name="resident">That fit on a multiprocessor.</param>
    /// <param name="wave">Seconds, given the number of groups at a time, and how many the fullest multiprocessor has.</param>
    public static double Waves(double groups, int resident, Func<double, double, double> wave)
    {
        double most = resident * Multiprocessors;
        double rest = groups % most;
        return (Math.Floor(groups / most) * wave(most, resident)) + (rest > 0.0 ? wave(rest, Math.Ceiling(rest / Multiprocessors)) : 0.0);
    }

    /// <summary>The assumptions in words.</summary>
    public string Describe() => FormattableString.Invariant(
        $"assumed: {Name}, bf16 {Bf16 / 1e12:0} TFLOP/s, memory {Bandwidth / 1e12:0.00} TB/s; fitted: cache {CacheBandwidth / 1e12:0.0} TB/s, {LaunchGap * 1e6:0.0} us a launch, {LoadLatency * 1e6:0.0} us a load, {Link * 1e9:0} ns a link, {Exchange * 1e6:0.0} us an exchange between groups of the chip, {LoadCycles} cycles a loaded element, {ElementCycles} an element of a warpgroup's tile, {ClusterColumn * 1e6:0.00} us a column within a cluster");
}
