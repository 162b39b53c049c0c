// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// Products of float32's error, 16 x 16 by 16 x 32 and by 16 x 16, whose fragments are the library's own: lane (g, q) has four neighbours along the depth from 4 q on.
/// </summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class MmaFloat32GpuTests
{
    private const int Rows = 16, Depth = 16, Columns = 32;

    [Test]
    public void An_element_of_A_meets_its_row_of_B()
    {
        double[] b = [.. Enumerable.Range(1, Depth * Columns).Select(each => (double)each)];
        double[][] results = Multiply(Kernel, [.. Enumerable.Range(0, Rows * Depth).Select(place => Enumerable.Range(0, Rows * Depth).Select(i => i == place ? 2.0 : 0.0).ToArray())], b);
        for (int place = 0; place < Rows * Depth; place++)
        {
            double[] expected = [.. Enumerable.Range(0, Rows * Columns).Select(i => i / Columns == place / Depth ? 2.0 * b[(place % Depth * Columns) + (i % Columns)] : 0.0)];
            Assert.That(results[place], Is.EqualTo(expected), $"A has a 2 in row {place / Depth}, column {place % Depth}");
        }
    }

    [Test]
    public void Bodies_and_what_they_are_on_CUDA_have_the_error_of_float32()
    {
        Random random = new(5);
        double[] a = [.. Enumerable.Range(0, Rows * Depth).Select(_ => (double)((2 * random.NextSingle()) - 1))];
        double[] b = [.. Enumerable.Range(0, Depth * Columns).Select(_ => (double)((2 * random.NextSingle()) - 1))];
        foreach (Action<Arguments> kernel in new Action<Arguments>[] { Kernel, CudaKernel, PairKernel, CudaPairKernel })
        {
            double[] actual = Multiply(kernel, [a], b)[0];
            for (int i = 0; i < actual.Length; i++)
            {
                double[] terms = [.. Enumerable.Range(0, Depth).Select(k => a[(i / Columns * Depth) + k] * b[(k * Columns) + (i % Columns)])];

                // The product of the low parts, 2^-22, is left out, of each low part a bit; the rest are sums, which the hardware truncates.
                Expect.AtMost(Math.Abs(actual[i] - terms.Sum()), terms.Sum(Math.Abs) * Math.ScaleB(1.0, TestGpu.IsReal ? -19 : -21), $"{kernel.Method.Name}, element {i}");
            }
        }
    }

    internal struct Arguments
    {
        public ArrayView<FragmentA> A;
        public ArrayView<FragmentB> B;
        public ArrayView<TileRow> C;
    }

    internal static void Kernel(Arguments p)
    {
        for (int i = Group.IdxX; i < p.A.IntLength; i += Gpu.WarpSize)
        {
            p.C[i] = Mma.Float32(p.A[i], p.B[Group.IdxX]);
        }
    }

    internal static void CudaKernel(Arguments p) => p.C[Group.IdxX] = Mma.Float32OnCuda(p.A[Group.IdxX], p.B[Group.IdxX]);

    internal static void PairKernel(Arguments p)
    {
        FragmentB b = p.B[Group.IdxX];
        TilePair left = Mma.Float32Pair(p.A[Group.IdxX], Pair(b.B0, b.B1));
        TilePair right = Mma.Float32Pair(p.A[Group.IdxX], Pair(b.B2, b.B3));
        p.C[Group.IdxX] = Side(left, right);
    }

    internal static void CudaPairKernel(Arguments p)
    {
        FragmentB b = p.B[Group.IdxX];
        TilePair left = Mma.Float32PairOnCuda(p.A[Group.IdxX], Pair(b.B0, b.B1));
        TilePair right = Mma.Float32PairOnCuda(p.A[Group.IdxX], Pair(b.B2, b.B3));
        p.C[Group.IdxX] = Side(left, right);
    }

    private static FragmentPair Pair(Float4 b0, Float4 b1)
    {
        FragmentPair pair = default;
        pair.B0 = b0;
        pair.B1 = b1;
        return pair;
    }

    private static TileRow Side(TilePair left, TilePair right)
    {
        TileRow row = default;
        row.T0 = left.T0;
        row.T1 = left.T1;
        row.T2 = right.T0;
        row.T3 = right.T1;
        return row;
    }

    // C of several A by one B, in one launch.
    private static double[][] Multiply(Action<Arguments> kernel, double[][] a, double[] b)
    {
        using Gpu gpu = IntrinsicRun.Open(warps: 1);
        using MemoryBuffer1D<FragmentA, Stride1D.Dense> left = gpu.Accelerator.Allocate1D(a.SelectMany(each => Enumerable.Range(0, Gpu.WarpSize)
            .Select(lane => new FragmentA { Upper = Four(k => each[(lane / 4 * Depth) + (lane % 4 * 4) + k]), Lower = Four(k => each[(((lane / 4) + 8) * Depth) + (lane % 4 * 4) + k]) })).ToArray());
        using MemoryBuffer1D<FragmentB, Stride1D.Dense> right = gpu.Accelerator.Allocate1D(Enumerable.Range(0, Gpu.WarpSize)
            .Select(lane => new FragmentB { B0 = OfB(lane, 0), B1 = OfB(lane, 8), B2 = OfB(lane, 16), B3 = OfB(lane, 24) }).ToArray());
        using MemoryBuffer1D<TileRow, Stride1D.Dense> result = gpu.Accelerator.Allocate1D(new TileRow[Gpu.WarpSize * a.Length]);
        gpu.Launch(gpu.Accelerator.DefaultStream, kernel, new Index3D(1, 1, 1), Gpu.WarpSize, new Arguments { A = left.View.BaseView, B = right.View.BaseView, C = result.View.BaseView });
        gpu.Accelerator.Synchronize();
        return [.. result.GetAsArray1D().Chunk(Gpu.WarpSize).Select(warp =>
        {
            double[] c = new double[Rows * Columns];
            for (int lane = 0; lane < warp.Length; lane++)
            {
                Float4[] tiles = [warp[lane].T0, warp[lane].T1, warp[lane].T2, warp[lane].T3];
                for (int tile = 0; tile < tiles.Length; tile++)
                {
                    int place = (lane / 4 * Columns) + (8 * tile) + (2 * (lane % 4));
                    (c[place], c[place + 1]) = (tiles[tile].X, tiles[tile].Y);
                    (c[place + (8 * Columns)], c[place + (8 * Columns) + 1]) = (tiles[tile].Z, tiles[tile].W);
                }
            }

            return c;
        })];

        Float4 OfB(int lane, int column) => Four(k => b[(((lane % 4 * 4) + k) * Columns) + column + (lane / 4)]);
    }

    private static Float4 Four(Func<int, double> of) => new() { X = (float)of(0), Y = (float)of(1), Z = (float)of(2), W = (float)of(3) };
}
