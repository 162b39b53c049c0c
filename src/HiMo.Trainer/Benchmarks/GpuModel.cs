// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// What the cost model assumes about a GPU. Peaks of the tensor units are what a library's product reaches; latencies are orders of
/// magnitude from published microbenchmarks. Nothing here was measured by this project.
/// </summary>
/// <param name="Name">As <c>--device</c> names it.</param>
/// <param name="Bf16">Dense bf16 products, FLOP/s; tf32 has half of it.</param>
/// <param name="Bandwidth">Device memory, bytes/s.</param>
internal sealed record GpuModel(string Name, double Bf16, double Bandwidth)
{
    /// <summary>Multiprocessors of both.</summary>
    public const int Multiprocessors = 132;

    /// <summary>Cycles a second under load.</summary>
    public const double Clock = 1.7e9;

    /// <summary>Exponentials a second.</summary>
    public const double Exponentials = 3.9e12;

    /// <summary>From the second-level cache to all multiprocessors, bytes/s.</summary>
    public const double CacheBandwidth = 5.5e12;

    /// <summary>Share of the peak that <c>mma.sync</c> reaches; only <c>wgmma</c> reaches all of it.</summary>
    public const double MmaShare = 0.6;

    /// <summary>Seconds of a load that the second-level cache answers.</summary>
    public const double LoadLatency = 0.16e-6;

    /// <summary>Loads of a loop that a thread has on their way at once: ILGPU unrolls nothing, the assembler by four.</summary>
    public const int LoadsInFlight = 4;

    /// <summary>Instructions of one element's way from global to shared memory: index, bounds, operand, load, store.</summary>
    public const int InstructionsPerLoad = 25;

    /// <summary>From one launch to the next that depends on it, in a stream.</summary>
    public const double LaunchGap = 2.5e-6;

    /// <summary>One row of a count of eigenvalues: a product and a sum in float64 that the next row needs, a quarter of a rescaling.</summary>
    public const double MinorStep = 0.012e-6;

    /// <summary>One step of the tridiagonalisation within one thread group.</summary>
    public const double ReductionStep = 0.6e-6;

    /// <summary>
    /// One column of the tridiagonalisation over the chip, besides its rows: a record's way to the second-level cache and back, three sums over the
    /// group, a square root and a division.
    /// </summary>
    public const double ExchangeStep = 1.2e-6;

    /// <summary>Elements of a row that a multiprocessor updates and multiplies in a cycle: read, written, and a share of three vectors.</summary>
    public const double SharedElements = 128.0 / 12.0;

    /// <summary>H100 SXM.</summary>
    public static GpuModel H100 { get; } = new("h100", 790e12, 3.0e12);

    /// <summary>H200: the H100's multiprocessors with faster memory.</summary>
    public static GpuModel H200 { get; } = new("h200", 790e12, 4.3e12);

    /// <summary>The assumptions in words.</summary>
    public string Describe() => FormattableString.Invariant(
        $"assumed: {Name}, bf16 {Bf16 / 1e12:0} and tf32 {Bf16 / 2e12:0} TFLOP/s of which mma.sync reaches {MmaShare:P0}, memory {Bandwidth / 1e12:0.0} TB/s, cache {CacheBandwidth / 1e12:0.0} TB/s, {LaunchGap * 1e6:0.0} us a launch, {LoadLatency * 1e6:0.00} us a load with {LoadsInFlight} on their way, {InstructionsPerLoad} instructions a loaded element");
}
