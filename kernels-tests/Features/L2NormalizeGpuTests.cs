// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Normalisation by itself: rows of every length modulo what a warp loads together, on both sides, at and beyond the clamp.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class L2NormalizeGpuTests
{
    private const int Guard = 8;

    [TestCase(1, 1)]
    [TestCase(5, 17)]
    [TestCase(2, 64)]
    [TestCase(3, 100)]
    [TestCase(2, 257)]
    [TestCase(1, 515)]
    public void Equals_the_reference_on_both_sides(int rows, int columns)
    {
        const double LogitScale = 0.75;
        float[] x = Batch.Single(Batch.RandomMatrix(2 * rows, columns, 31).Elements);
        float[] gradY = Batch.Single(Batch.RandomMatrix(2 * rows, columns, 32).Elements);
        (float[] y, float[] inverseNorm, float[] gradX) = Run(x, gradY, rows, columns, (float)LogitScale);

        ReferenceMatrix wide = new(Batch.Widen(x), 2 * rows, columns);
        ReferenceMatrix expected = L2NormalizeReference.Forward(wide);
        ReferenceMatrix expectedGrad = L2NormalizeReference.Backward(wide, expected, new(Batch.Widen(gradY), 2 * rows, columns));
        Assert.Multiple(() =>
        {
            Expect.Gradient(Batch.Widen(y), expected.Elements, 1e-6, "y");
            Expect.Gradient(Batch.Widen(gradX), [.. expectedGrad.Elements.Select(value => value * Math.Exp(LogitScale))], 1e-5, "dx");
            Assert.That(inverseNorm, Is.EqualTo(Enumerable.Range(0, 2 * rows).Select(i => (float)(1.0 / Math.Sqrt(wide.Row(i).ToArray().Sum(value => value * value))))).Within(1e-6).Percent);
        });
    }

    [Test]
    public void Zero_and_tiny_rows_get_no_gradient_and_large_gradients_are_clamped()
    {
        (float[] y, float[] inverseNorm, float[] gradX) = Run([0f, 0f, 1e-45f, 0f, 1e-11f, 0f, 3e38f, 3e38f], [1f, 1f, 1f, 1f, 0f, 1e30f, 0f, 0f], 2, 2, 0f);
        Assert.Multiple(() =>
        {
            Assert.That(y[..4], Is.All.EqualTo(0f).Within(1e-30f));
            Assert.That(y[4..], Is.EqualTo(new[] { 1f, 0f, MathF.Sqrt(0.5f), MathF.Sqrt(0.5f) }).Within(1e-6f));
            Assert.That(inverseNorm[..2], Is.All.Zero);
            Assert.That(gradX, Is.EqualTo(new[] { 0f, 0f, 0f, 0f, 0f, float.MaxValue, 0f, 0f }));
        });
    }

    [TestCase(1, 1, 0)]
    [TestCase(5, 17, 0)]
    [TestCase(3, 65, 4, Description = "rows with gaps")]
    public void The_face_equals_the_reference_and_later_passes_neither_allocate_nor_read(int rows, int columns, int gap)
    {
        int stride = columns + gap;
        MatrixShape shape = new(rows, columns);
        ReferenceMatrix x = new(Batch.Widen(Batch.Single(Batch.RandomMatrix(rows, columns, 31).Elements)), rows, columns);
        ReferenceMatrix gradY = new(Batch.Widen(Batch.Single(Batch.RandomMatrix(rows, columns, 32).Elements)), rows, columns);
        ReferenceMatrix expected = L2NormalizeReference.Forward(x);
        using Gpu gpu = TestGpu.Open(warps: 4);
        using MemoryBuffer1D<float, Stride1D.Dense> data = gpu.Accelerator.Allocate1D(Spread(x)), gradient = gpu.Accelerator.Allocate1D(Spread(gradY));
        using MemoryBuffer1D<float, Stride1D.Dense> unit = gpu.Accelerator.Allocate1D(Unset((rows * stride) + Guard)), result = gpu.Accelerator.Allocate1D(Unset((rows * stride) + Guard));
        gpu.Log.Reset();
        using L2NormalizeGpuWorkspace workspace = L2Normalize.CreateWorkspace(gpu, shape);
        Assert.That((workspace.Bytes, gpu.Log.AllocatedBytes), Is.EqualTo((L2Normalize.WorkspaceBytes(shape), L2Normalize.WorkspaceBytes(shape))), "what the workspace took");
        gpu.Log.Reset();
        Pass();
        Assert.That(gpu.Log.AllocatedBytes, Is.EqualTo(gap == 0 ? 0 : 2 * workspace.BytesPerConversion), "rows and results");
        float[] first = [.. BeforeGuard(unit), .. BeforeGuard(result)];
        gpu.Log.Reset();
        Pass();

        Assert.That((gpu.Log.Allocations, gpu.Log.HostCopies, gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)));
        Assert.Multiple(() =>
        {
            Assert.That(BeforeGuard(unit).Concat(BeforeGuard(result)), Is.EqualTo(first), "the same bits");
            Expect.Gradient(Gathered(unit), expected.Elements, 1e-6, "y");
            Expect.Gradient(Gathered(result), L2NormalizeReference.Backward(x, expected, gradY).Elements, 1e-5, "dx");
            Assert.That(first.Where((_, i) => i % stride >= columns), Is.All.NaN, "between the rows");
        });

        void Pass()
        {
            L2Normalize.Backward(Matrix(data), Matrix(gradient), Matrix(result), workspace);
            L2Normalize.Forward(Matrix(data), Matrix(unit), workspace);
            gpu.Accelerator.Synchronize();
        }

        GpuMatrix Matrix(MemoryBuffer1D<float, Stride1D.Dense> memory) => new(memory.View.BaseView, rows, columns, stride);

        float[] Spread(ReferenceMatrix matrix) => [.. Enumerable.Range(0, rows * stride).Select(i => i % stride < columns ? (float)matrix.Row(i / stride)[i % stride] : float.NaN)];

        double[] Gathered(MemoryBuffer1D<float, Stride1D.Dense> memory) => Batch.Widen([.. BeforeGuard(memory).Where((_, i) => i % stride < columns)]);
    }

    [Test]
    public void Wrong_arguments_are_named_before_anything_runs()
    {
        using Gpu gpu = TestGpu.Open(warps: 4);
        using MemoryBuffer1D<float, Stride1D.Dense> memory = gpu.Accelerator.Allocate1D<float>(6);
        GpuMatrix good = new(memory.View.BaseView, 2, 3), turned = new(memory.View.BaseView, 3, 2);
        using L2NormalizeGpuWorkspace workspace = L2Normalize.CreateWorkspace(gpu, good.Shape);
        gpu.Log.Reset();
        Assert.Multiple(() =>
        {
            Refused("x is 3 x 2; it must be 2 x 3, as its workspace", () => L2Normalize.Forward(turned, good, workspace));
            Refused("y is 0 x 0", () => L2Normalize.Forward(good, default, workspace));
            Refused("gradY is 3 x 2", () => L2Normalize.Backward(good, turned, good, workspace));
            Refused("gradX is 0 x 0", () => L2Normalize.Backward(good, good, default, workspace));
            Refused("shape must have", () => L2Normalize.CreateWorkspace(gpu, new MatrixShape(0, 3)));
            Refused("shape must have", () => L2Normalize.WorkspaceBytes(new MatrixShape(3, 0)));
            Assert.That(gpu.Log.Launches, Is.Empty);
        });
        workspace.Dispose();
        workspace.Dispose();
        Assert.That(() => L2Normalize.Forward(good, good, workspace), Throws.InstanceOf<ObjectDisposedException>());

        static void Refused(string message, Action call) => Assert.That(call, Throws.ArgumentException.With.Message.Contains(message));
    }

    // Images and texts after each other.
    private static (float[] Y, float[] InverseNorm, float[] GradX) Run(float[] x, float[] gradY, int rows, int columns, float logitScale)
    {
        using Gpu gpu = TestGpu.Open(warps: 4);
        using MemoryBuffer1D<float, Stride1D.Dense> data = gpu.Accelerator.Allocate1D(x);
        using MemoryBuffer1D<float, Stride1D.Dense> gradient = gpu.Accelerator.Allocate1D([.. gradY, .. Unset(Guard)]);
        using MemoryBuffer1D<float, Stride1D.Dense> scale = gpu.Accelerator.Allocate1D([logitScale]);
        using MemoryBuffer1D<float, Stride1D.Dense> unit = gpu.Accelerator.Allocate1D(Unset(x.Length + Guard));
        using MemoryBuffer1D<float, Stride1D.Dense> inverseNorm = gpu.Accelerator.Allocate1D(Unset((2 * rows) + Guard));
        BatchStream stream = new(gpu, gpu.Accelerator.DefaultStream, 1);
        ArrayView<float> images = data.View.BaseView, gradients = gradient.View.BaseView;
        int half = rows * columns;
        stream.Lines(L2NormalizeGpu.Kernel, 2 * rows, new L2NormalizeArguments
        {
            Images = images.SubView(0, half), Texts = images.SubView(half, half), Unit = unit.View.BaseView, InverseNorm = inverseNorm.View.BaseView,
            Rows = rows, TotalRows = 2 * rows, Columns = columns,
        });
        stream.Lines(L2NormalizeGpu.BackwardKernel, 2 * rows, new L2NormalizeBackwardArguments
        {
            First = gradients.SubView(0, half), Second = gradients.SubView(half, half), Unit = unit.View.BaseView, InverseNorm = inverseNorm.View.BaseView,
            LogitScale = scale.View.BaseView, Rows = rows, TotalRows = 2 * rows, Columns = columns,
        });
        gpu.Accelerator.Synchronize();
        return (BeforeGuard(unit), BeforeGuard(inverseNorm), BeforeGuard(gradient));
    }

    private static float[] Unset(int length) => [.. Enumerable.Repeat(float.NaN, length)];

    private static float[] BeforeGuard(MemoryBuffer1D<float, Stride1D.Dense> memory)
    {
        float[] all = memory.GetAsArray1D();
        Assert.That(all[^Guard..], Is.All.NaN, "guard behind an output");
        return all[..^Guard];
    }
}
