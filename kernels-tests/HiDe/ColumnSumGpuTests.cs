// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Column sums by themselves: more rows than one chunk has.</summary>
[TestFixture]
internal sealed class ColumnSumGpuTests
{
    [TestCase(1, 1)]
    [TestCase(256, 3)]
    [TestCase(259, 130)]
    [TestCase(1030, 2)]
    public void Weighted_sums_of_all_chunks(int rows, int columns)
    {
        using Gpu gpu = TestGpu.Open(warps: 4);
        float[] values = Batch.Single(Batch.RandomMatrix(rows, columns, 1).Elements);
        float[] weights = Batch.Single(Batch.RandomMatrix(rows, 1, 2).Elements);
        using MemoryBuffer1D<float, Stride1D.Dense> data = gpu.Accelerator.Allocate1D(values);
        using MemoryBuffer1D<float, Stride1D.Dense> factors = gpu.Accelerator.Allocate1D(weights);
        using MemoryBuffer1D<double, Stride1D.Dense> partial = gpu.Accelerator.Allocate1D(Enumerable.Repeat(double.NaN, (int)ColumnSumGpu.PartialLength(columns)).ToArray());
        using MemoryBuffer1D<float, Stride1D.Dense> result = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, columns + 1).ToArray());

        ColumnSumGpu.Run(
            new BatchStream(gpu, gpu.Accelerator.DefaultStream, 1), new WeightedRows { Data = data.View.BaseView, Weights = factors.View.BaseView, Pitch = columns, WeightPitch = 1 },
            rows, columns, 0.5, partial.View.BaseView, result.View.BaseView);

        gpu.Accelerator.Synchronize();
        float[] sums = result.GetAsArray1D();
        for (int column = 0; column < columns; column++)
        {
            double expected = 0.5 * Enumerable.Range(0, rows).Sum(row => (double)(values[(row * columns) + column] * weights[row]));
            Assert.That(sums[column], Is.EqualTo(expected).Within(1e-6 * Math.Sqrt(rows)), $"column {column}");
        }

        Assert.That(sums[columns], Is.NaN, "guard");
    }
}
