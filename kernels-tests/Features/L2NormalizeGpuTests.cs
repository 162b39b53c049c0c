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

    // Images and texts after each other.
    private static (float[] Y, float[] InverseNorm, float[] GradX) Run(float[] x, float[] gradY, int rows, int columns, float logitScale)
    {
        using Gpu gpu = TestGpu.Open(warps: 4);
        using MemoryBuffer1D<float, Stride1D.Dense> data = gpu.Accelerator.Allocate1D(x);
        using MemoryBuffer1D<float, Stride1D.Dense> gradient = gpu.Accelerator.Allocate1D(gradY);
        using MemoryBuffer1D<float, Stride1D.Dense> scale = gpu.Accelerator.Allocate1D([logitScale]);
        using MemoryBuffer1D<float, Stride1D.Dense> unit = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, x.Length).ToArray());
        using MemoryBuffer1D<float, Stride1D.Dense> inverseNorm = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, 2 * rows).ToArray());
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
        return (unit.GetAsArray1D(), inverseNorm.GetAsArray1D(), gradient.GetAsArray1D());
    }
}
