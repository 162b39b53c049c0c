// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>One branch on factors: B rows against N gathered ones, and how it is computed.</summary>
internal sealed record FactorLossCase(ReferenceMatrix Queries, ReferenceMatrix Keys, float LogitScale)
{
    public const double LabelSmoothing = 0.1;

    /// <summary>t(0).</summary>
    public int TargetOffset { get; init; }

    /// <summary>Whether the columns have a loss of their own, of the same weight; then B is N.</summary>
    public bool HasColumns { get; init; }

    public GpuPrecision Precision { get; init; } = GpuPrecision.Strict;

    /// <summary>Rows of D at a time.</summary>
    public int StripRows { get; init; } = 64;

    /// <summary>Unit rows whose elements bf16 can hold, if they shall be <paramref name="rounded"/>.</summary>
    public static ReferenceMatrix Unit(int rows, int width, int seed, bool rounded)
    {
        ReferenceMatrix unit = L2NormalizeReference.Forward(Batch.RandomMatrix(rows, width, seed));
        return rounded ? new([.. unit.Elements.Select(value => (double)BFloat16Stored.Widen(BFloat16Stored.Narrow((float)value)))], rows, width) : unit;
    }

    /// <summary>What the reference says.</summary>
    public CrossEntropyReference Expected()
    {
        CrossEntropyReference rows = ContrastiveLossReference.Run(Queries, Keys, TargetOffset, Math.Exp(LogitScale), LabelSmoothing, gradients: true);
        if (!HasColumns)
        {
            return rows;
        }

        CrossEntropyReference columns = ContrastiveLossReference.Run(Keys, Queries, 0, Math.Exp(LogitScale), LabelSmoothing, gradients: true);
        return new(
            0.5 * (rows.Loss + columns.Loss), 0.5 * (rows.GradQueries + columns.GradKeys), 0.5 * (rows.GradKeys + columns.GradQueries),
            0.5 * (rows.GradLogitScale + columns.GradLogitScale));
    }
}

/// <summary>A case on a device: memory, both passes, and what they leave. Outputs begin as NaN.</summary>
internal sealed class FactorLossRun : IDisposable
{
    private readonly Gpu _gpu;
    private readonly FactorLossCase _case;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _queries;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _keys;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _gradQueries;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _gradKeys;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _scale;
    private readonly MemoryBuffer1D<byte, Stride1D.Dense> _memory;

    public FactorLossRun(Gpu gpu, FactorLossCase given)
    {
        (int rows, int columns, int width) = (given.Queries.Rows, given.Keys.Rows, given.Keys.Columns);
        _gpu = gpu;
        _case = given;
        _queries = gpu.Accelerator.Allocate1D(Batch.Single(given.Queries.Elements));
        _keys = gpu.Accelerator.Allocate1D(Batch.Single(given.Keys.Elements));
        _gradQueries = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, rows * width).ToArray());
        _gradKeys = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, columns * width).ToArray());
        _scale = gpu.Accelerator.Allocate1D(new[] { given.LogitScale });
        _memory = gpu.Allocate<byte>(1 << 22);
        DeviceArena arena = new(_memory.View.BaseView);
        int lines = rows + columns;
        bool isPacked = given.Precision == GpuPrecision.Bf16 && gpu.HasWarpgroups;
        Factors = new FactorLoss
        {
            Branches = 1,
            Width = width,
            Pass = new()
            {
                Queries = new() { First = _queries.View.BaseView, FirstPitch = width }, Keys = new() { First = _keys.View.BaseView, FirstPitch = width },
                Depths = new() { FirstGroup = 1, Before = width }, Partial = arena.Take<LineStatistics>((long)LogitPassGpu.Splits * lines),
                Branches = new()
                {
                    Largest = arena.Floats(lines), Inverse = arena.Floats(lines), Miss = arena.Floats(lines), Loss = arena.Floats(lines), GradScale = arena.Floats(lines),
                    Total = arena.Floats(lines), Target = arena.Floats(rows), LogitScale = _scale.View.BaseView, Rows = rows, Columns = columns,
                    TargetOffset = given.TargetOffset, LabelSmoothing = (float)FactorLossCase.LabelSmoothing,
                    FirstWeight = (given.HasColumns ? 0.5f : 1.0f) / rows, HasColumns = given.HasColumns ? 1 : 0,
                },
            },
            Packed = isPacked ? PackedLoss.Take(arena, rows, columns, width, secondWidth: 0) with { StripRows = given.StripRows } : default,
            Strip = isPacked ? default : new() { Data = arena.Floats((long)given.StripRows * columns), StripRows = given.StripRows, Parts = 1 },
            GradQueries = new() { First = _gradQueries.View.BaseView, FirstPitch = width },
            GradKeys = new() { First = _gradKeys.View.BaseView, FirstPitch = width },
        };
    }

    /// <summary>What both passes work on.</summary>
    public FactorLoss Factors { get; }

    /// <summary>Runs both passes and compares with the reference.</summary>
    public void IsNear(double lossTolerance, double gradientTolerance)
    {
        ContrastiveFactorsGpu.Run(_gpu, _gpu.Accelerator.DefaultStream, Factors, _case.Precision);
        _gpu.Accelerator.Synchronize();
        BranchStatistics statistics = Factors.Pass.Branches;
        int lines = _case.HasColumns ? statistics.Lines : statistics.Rows;
        double smoothing = FactorLossCase.LabelSmoothing
            * Read(statistics.Target, statistics.Rows).Zip(Read(statistics.Total, statistics.Rows), (target, total) => target - (total / (double)statistics.Columns)).Average();
        CrossEntropyReference expected = _case.Expected();
        Assert.Multiple(() =>
        {
            Expect.Loss(Read(statistics.Loss, lines).Average(loss => (double)loss) + smoothing, expected.Loss, lossTolerance, "loss");
            Expect.LogitScaleGradient(Read(statistics.GradScale, lines).Average(each => (double)each) + smoothing, expected.GradLogitScale, expected.Loss, gradientTolerance);
            Expect.Gradient(Scaled(_gradQueries), expected.GradQueries.Elements, gradientTolerance, "gradient of the rows");
            Expect.Gradient(Scaled(_gradKeys), expected.GradKeys.Elements, gradientTolerance, "gradient of the columns");
        });
    }

    /// <summary>The first elements of an array.</summary>
    public float[] Read(ArrayView<float> view, int count)
    {
        float[] values = new float[count];
        view.SubView(0, count).CopyToCPU(_gpu.Accelerator.DefaultStream, values);
        return values;
    }

    public void Dispose()
    {
        _queries.Dispose();
        _keys.Dispose();
        _gradQueries.Dispose();
        _gradKeys.Dispose();
        _scale.Dispose();
        _memory.Dispose();
    }

    private double[] Scaled(MemoryBuffer1D<float, Stride1D.Dense> gradient) => [.. gradient.GetAsArray1D().Select(value => Math.Exp(_case.LogitScale) * value)];
}
