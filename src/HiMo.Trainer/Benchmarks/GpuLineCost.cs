// SPDX-License-Identifier: Apache-2.0
// Everything that is no product and no eigensystem: what its arrays take through memory, or the rounds of loads of its threads, which wait for one another.
using System.Reflection;
using HiMo.Kernels;
using ILGPU;

namespace HiMo.Trainer;

/// <summary>Prices of kernels that go along lines.</summary>
/// <param name="device">What is assumed.</param>
/// <param name="kept">m.</param>
internal sealed class GpuLineCost(GpuModel device, int kept)
{
    private const int Together = 4;                     // loads of a round
    private const double Sector = 32.0;                 // bytes that a load of one number takes

    /// <summary>One launch.</summary>
    public KernelCost Cost(LaunchEntry launch)
    {
        double exponentials = launch.Arguments is LogitStatistics logits ? 4.0 * launch.Groups.Z * logits.Size * logits.Size : 0.0;
        double bytes = Bytes(launch);
        double waves = Math.Ceiling(launch.Groups.Size * (double)launch.Threads / (GpuModel.ThreadsOfMultiprocessor * GpuModel.Multiprocessors));
        return KernelCost.Of(
            launch, 0.0, bytes, exponentials,
            (bytes / device.Bandwidth, "memory"), (waves * Rounds(launch) * GpuModel.LoadLatency, "latency of loads"));
    }

    /// <summary>Lines beside a product: what they take through memory, and rounds of loads of a thread.</summary>
    public static (double Bytes, double Rounds) Beside(object lines, int batches)
    {
        (int size, double squares, double rounds) = lines switch
        {
            LengthLines each => (each.Reconstructed.Size, 2.0 * each.Rows / each.Reconstructed.Size, 1.0),
            ShrinkLines each => (each.Reconstructed.Size, each.Rows / (double)each.Reconstructed.Size, 2.0),  // cosines, then what a logit's share needs
            AlongLines each => (each.Logits.Size, 3.0 + ((each.Reconstructed.Shrink.IsEmpty ? 2.0 : 4.0) * (1 + each.HasQueries)), each.Reconstructed.Shrink.IsEmpty ? 1.0 : 2.0),
            _ => throw new ArgumentException($"no price for {lines.GetType().Name}", nameof(lines)),
        };
        return (sizeof(float) * squares * size * size * batches, rounds * CeilDiv(size, Together * Gpu.WarpSize));
    }

    // Rounds of loads of a thread.
    private double Rounds(LaunchEntry launch) => launch.Arguments switch
    {
        L2NormalizeArguments each => 2.0 * CeilDiv(each.Columns, Together * Gpu.WarpSize),
        L2NormalizeBackwardArguments each => 2.0 * CeilDiv(each.Columns, Together * Gpu.WarpSize),
        LogitStatistics each => 2.0 * CeilDiv(each.Size, Gpu.WarpSize),
        LogitPass each => Math.Max(each.RowRegions, each.ColumnRegions),
        CenterArguments each => CeilDiv(each.Decomposition.Size, Together * Gpu.WarpSize) + CeilDiv(each.Decomposition.Size, Gpu.WarpSize),
        MeanGradientArguments => 2.0 * CeilDiv(kept + 1, Gpu.WarpSize),
        StepSummaryArguments each => 2.0 * (CeilDiv(each.Branches.Lines, 8 * launch.Threads) + CeilDiv(each.Branches.Rows, 8 * launch.Threads)),
        { } sums when launch.Kernel.DeclaringType == typeof(ColumnSumGpu) => CeilDiv(IsFinish(launch) ? Chunks(sums) : Field(sums, "RowsPerChunk"), ColumnSumGpu.Together),
        { } parts when launch.Kernel.DeclaringType == typeof(DepthPartsGpu) => Field(parts, "Count"),
        _ => 2.0,
    };

    private static bool IsFinish(LaunchEntry launch) => launch.Kernel.DeclaringType == typeof(ColumnSumGpu) && launch.Kernel.Name == nameof(ColumnSumGpu.FinishKernel);

    private static int Chunks(object sums) => CeilDiv(Field(sums, "Rows"), Field(sums, "RowsPerChunk"));

    // Every array that a kernel was given, once for each batch; less where it does not read all.
    private double Bytes(LaunchEntry launch) => launch.Arguments switch
    {
        LogitPass pass => 4.0 * sizeof(float) * launch.Groups.Z * ((pass.Branches.Rows * (double)pass.ColumnRegions) + (pass.Branches.Columns * (double)pass.RowRegions)),
        { } sums when IsFinish(launch) => sizeof(double) * (double)Chunks(sums) * ColumnsOf(sums) * launch.Groups.Z,
        ColumnSumArguments<WeightedRows> sums => launch.Groups.Z * sums.Rows * ((sizeof(float) * (double)ColumnsOf(sums)) + (sums.Data.Weights.IsEmpty ? 0.0 : Sector)),
        PackArguments<FactorOperand> pack => PackedBytes(pack),
        PackArguments<TransposedFactorOperand> pack => PackedBytes(pack),
        _ => BytesOf(launch.Arguments, launch.Groups.Z),
    };

    private double PackedBytes<TOperand>(PackArguments<TOperand> pack)
        where TOperand : struct, IGemmOperand =>
        (sizeof(float) + sizeof(ushort)) * (double)GpuCostModel.Limit(pack.RowLimit, pack.Group, pack.Rows, kept) * GpuCostModel.Limit(pack.DepthLimit, pack.Group, pack.Depth, kept);

    private int ColumnsOf(object sums) =>
        GpuCostModel.Limit((DeviceLimit)sums.GetType().GetField("Limit")!.GetValue(sums)!, 0, Field(sums, "Columns"), kept);

    private static double BytesOf(object arguments, int batches) => arguments.GetType().GetFields(BindingFlags.Public | BindingFlags.Instance).Sum(field =>
        field.GetValue(arguments) switch
        {
            IArrayView view => view.LengthInBytes,
            BatchView<float> { Stride: > 0 } view => sizeof(float) * Math.Min(view.Data.Length, batches * view.Stride),
            { } value when field.FieldType is { IsValueType: true, IsPrimitive: false } => BytesOf(value, batches),
            _ => 0.0,
        });

    private static int Field(object arguments, string name) => (int)arguments.GetType().GetField(name)!.GetValue(arguments)!;

    private static int CeilDiv(int count, int size) => (count + size - 1) / size;
}
