// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The passes over factors by themselves: B local rows against N gathered ones, whose target is offset.</summary>
[TestFixture]
internal sealed class ContrastiveLossGpuTests
{
    private const float LogitScale = 3.0f;
    private const double LabelSmoothing = 0.1;

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open(warps: 8);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [TestCase(1, 2, 3, 1)]
    [TestCase(3, 65, 5, 62)]
    [TestCase(65, 70, 17, 3)]
    public void Rows_against_gathered_columns(int rows, int columns, int width, int offset)
    {
        ReferenceMatrix queries = L2NormalizeReference.Forward(Batch.RandomMatrix(rows, width, 1));
        ReferenceMatrix keys = L2NormalizeReference.Forward(Batch.RandomMatrix(columns, width, 2));
        CrossEntropyReference expected = ContrastiveLossReference.Run(queries, keys, offset, Math.Exp(LogitScale), LabelSmoothing, gradients: true);
        using MemoryBuffer1D<float, Stride1D.Dense> q = _gpu.Accelerator.Allocate1D(Batch.Single(queries.Elements));
        using MemoryBuffer1D<float, Stride1D.Dense> k = _gpu.Accelerator.Allocate1D(Batch.Single(keys.Elements));
        using MemoryBuffer1D<float, Stride1D.Dense> gradQ = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, rows * width).ToArray());
        using MemoryBuffer1D<float, Stride1D.Dense> gradK = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, columns * width).ToArray());
        using MemoryBuffer1D<float, Stride1D.Dense> scale = _gpu.Accelerator.Allocate1D(new[] { LogitScale });
        using MemoryBuffer1D<byte, Stride1D.Dense> memory = _gpu.Allocate<byte>(1 << 22);
        DeviceArena arena = new(memory.View.BaseView);
        int lines = rows + columns;
        BranchStatistics statistics = new()
        {
            Largest = arena.Floats(lines), Inverse = arena.Floats(lines), Miss = arena.Floats(lines), Loss = arena.Floats(lines), GradScale = arena.Floats(lines),
            Total = arena.Floats(lines), Target = arena.Floats(rows), LogitScale = scale.View.BaseView, Rows = rows, Columns = columns, TargetOffset = offset,
            LabelSmoothing = (float)LabelSmoothing, FirstWeight = 1.0f / rows, HasColumns = 0,
        };

        ContrastiveFactorsGpu.Run(_gpu, _gpu.Accelerator.DefaultStream, new FactorLoss
        {
            Branches = 1,
            Width = width,
            Pass = new()
            {
                Queries = new() { First = q.View.BaseView, FirstPitch = width }, Keys = new() { First = k.View.BaseView, FirstPitch = width }, Branches = statistics,
                Depths = new() { FirstGroup = 1, Before = width }, Partial = arena.Take<LineStatistics>((long)LogitPassGpu.Splits * lines),
            },
            Strip = new() { Data = arena.Floats(64 * columns), StripRows = 64, Parts = 1 },
            GradQueries = new() { First = gradQ.View.BaseView, FirstPitch = width },
            GradKeys = new() { First = gradK.View.BaseView, FirstPitch = width },
        }, GpuPrecision.Strict);
        _gpu.Accelerator.Synchronize();

        float[] losses = new float[rows];
        float[] gradScales = new float[rows];
        float[] targets = new float[rows];
        float[] totals = new float[rows];
        statistics.Loss.SubView(0, rows).CopyToCPU(_gpu.Accelerator.DefaultStream, losses);
        statistics.GradScale.SubView(0, rows).CopyToCPU(_gpu.Accelerator.DefaultStream, gradScales);
        statistics.Target.SubView(0, rows).CopyToCPU(_gpu.Accelerator.DefaultStream, targets);
        statistics.Total.SubView(0, rows).CopyToCPU(_gpu.Accelerator.DefaultStream, totals);
        double smoothing = LabelSmoothing * targets.Zip(totals, (target, total) => target - (total / (double)columns)).Average();
        Assert.Multiple(() =>
        {
            Expect.Loss(losses.Average(loss => (double)loss) + smoothing, expected.Loss, 5e-6, "loss");
            Expect.LogitScaleGradient(gradScales.Average(each => (double)each) + smoothing, expected.GradLogitScale, expected.Loss, 1e-3);
            Expect.Gradient(Scaled(gradQ), expected.GradQueries.Elements, 1e-3, "gradient of the rows");
            Expect.Gradient(Scaled(gradK), expected.GradKeys.Elements, 1e-3, "gradient of the columns");
        });

        static double[] Scaled(MemoryBuffer1D<float, Stride1D.Dense> gradient) => [.. gradient.GetAsArray1D().Select(value => Math.Exp(LogitScale) * value)];
    }
}
