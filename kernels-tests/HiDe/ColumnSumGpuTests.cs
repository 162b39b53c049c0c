// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Column sums by themselves: more rows than one chunk has.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class ColumnSumGpuTests
{
    [TestCase(1, 1)]
    [TestCase(7, 2)]
    [TestCase(10, 1)]
    [TestCase(12, 1)]
    [TestCase(13, 1)]
    [TestCase(256, 3)]
    [TestCase(259, 130)]
    [TestCase(1030, 2)]
    public void Weighted_sums_of_all_chunks_and_plain_ones_beside_them_up_to_m(int rows, int columns)
    {
        int m = (columns + 1) / 2;
        using Gpu gpu = TestGpu.Open(warps: 4);
        float[] values = Batch.Single(Batch.RandomMatrix(rows, columns, 1).Elements);
        float[] weights = Batch.Single(Batch.RandomMatrix(rows, 1, 2).Elements);
        using MemoryBuffer1D<float, Stride1D.Dense> data = gpu.Accelerator.Allocate1D(values);
        using MemoryBuffer1D<float, Stride1D.Dense> factors = gpu.Accelerator.Allocate1D(weights);
        using MemoryBuffer1D<double, Stride1D.Dense> partial = gpu.Accelerator.Allocate1D(Enumerable.Repeat(double.NaN, (int)ColumnSumGpu.PartialLength(rows, 2 * columns)).ToArray());
        using MemoryBuffer1D<int, Stride1D.Dense> kept = gpu.Accelerator.Allocate1D([m]);
        using MemoryBuffer1D<float, Stride1D.Dense> result = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, (2 * columns) + 1).ToArray());

        ColumnSumGpu.Run(
            new BatchStream(gpu, gpu.Accelerator.DefaultStream, 1), new WeightedRows
            {
                Data = data.View.BaseView, Weights = factors.View.BaseView, Beside = data.View.BaseView, Columns = columns, Pitch = columns, WeightPitch = 1, BesidePitch = columns,
            },
            rows, 2 * columns, 0.5, partial.View.BaseView, result.View.BaseView, new DeviceLimit { Kept = kept.View.BaseView, Extra = columns });

        gpu.Accelerator.Synchronize();
        float[] sums = result.GetAsArray1D();
        for (int column = 0; column < columns + m; column++)
        {
            double expected = 0.5 * Enumerable.Range(0, rows).Sum(row => (double)values[(row * columns) + (column % columns)] * (column < columns ? weights[row] : 1.0f));
            Assert.That(sums[column], Is.EqualTo(expected).Within(1e-6 * Math.Sqrt(rows)), $"column {column}");
        }

        Assert.That(sums[(columns + m)..], Is.All.NaN, "behind m");
    }
}
