// SPDX-License-Identifier: Apache-2.0
using System.Runtime.Intrinsics;

namespace HiMo.Kernels;

// C = alpha A B + beta C.                    Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008)
// Shapes       A: m x k, B: k x n, any strides (a transpose is a swap of two strides); C: m x n, row-major, overlapping neither.
// Mapping      C is cut into regions, shared by the threads; within one, A and B are packed into panels as the register tile reads them
//              (GemmPacking) and multiplied tile by tile (GemmTile). One job of the pool; a small product is not shared at all.
// Precision    float32, one fused multiply-add chain per element over at most BlockDepth terms, chains added in order.
// Determinism  An element's chain depends on k alone: same bits for any thread count, any width of vector with fused multiply-add,
//              and for the same rows and columns within a larger product of equal k.
// Limits       m, n, k >= 0. Nothing is allocated once the pool's scratch has grown to the shape.
internal static unsafe partial class Gemm
{
    /// <summary>C = alpha A B + beta C in float32.</summary>
    /// <param name="pool">Shares the work; one caller at a time uses a pool. Within a task of that pool the product runs on the task's thread.</param>
    /// <param name="m">Rows of A and C.</param>
    /// <param name="n">Columns of B and C.</param>
    /// <param name="k">Columns of A, rows of B.</param>
    /// <param name="alpha">Factor of the product; with 0 A and B are not read.</param>
    /// <param name="a">Element (i, j) of A is <c>a[i * aRow + j * aColumn]</c>.</param>
    /// <param name="aRow">Distance between rows of A.</param>
    /// <param name="aColumn">Distance between columns of A.</param>
    /// <param name="b">Element (i, j) of B is <c>b[i * bRow + j * bColumn]</c>.</param>
    /// <param name="bRow">Distance between rows of B.</param>
    /// <param name="bColumn">Distance between columns of B.</param>
    /// <param name="beta">Factor of what C holds; with 0 C is not read, so it may hold NaN.</param>
    /// <param name="c">Element (i, j) of C is <c>c[i * cRow + j]</c>.</param>
    /// <param name="cRow">Distance between rows of C.</param>
    /// <param name="triangle">Which part of C is wanted.</param>
    public static void Multiply(
        WorkerPool pool, int m, int n, int k, float alpha, float* a, nint aRow, nint aColumn, float* b, nint bRow, nint bColumn,
        float beta, float* c, nint cRow, GemmTriangle triangle = GemmTriangle.Full)
    {
        if (m <= 0 || n <= 0)
        {
            return;
        }

        if (k <= 0 || alpha == 0.0f)
        {
            Scale(m, n, beta, c, cRow);
        }
        else if (Vector512.IsHardwareAccelerated)
        {
            Multiply<Lanes512>(pool, m, n, k, alpha, a, aRow, aColumn, b, bRow, bColumn, beta, c, cRow, triangle);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Multiply<Lanes256>(pool, m, n, k, alpha, a, aRow, aColumn, b, bRow, bColumn, beta, c, cRow, triangle);
        }
        else
        {
            Multiply<Lanes128>(pool, m, n, k, alpha, a, aRow, aColumn, b, bRow, bColumn, beta, c, cRow, triangle);
        }
    }

    /// <summary>Copies the lower triangle of an n x n matrix onto the upper one.</summary>
    public static void MirrorLower(WorkerPool pool, float* c, int n, nint cRow)
    {
        MirrorWork work = new(c, n, cRow);
        pool.Run(ref work, (n + MirrorWork.Edge - 1) / MirrorWork.Edge);
    }

    private static void Scale(int m, int n, float beta, float* c, nint cRow)
    {
        for (int i = 0; i < m; i++)
        {
            Span<float> row = new(c + (i * cRow), n);
            if (beta == 0.0f)
            {
                row.Clear();
            }
            else
            {
                System.Numerics.Tensors.TensorPrimitives.Multiply(row, beta, row);
            }
        }
    }

    /// <summary>One task mirrors a band of rows of the upper triangle, square by square so that both sides stay in the cache.</summary>
    private readonly struct MirrorWork(float* c, int n, nint cRow) : IParallelWork
    {
        public const int Edge = 32;

        private readonly float* _c = c;

        public void Run(int task, int thread)
        {
            int first = task * Edge;
            int last = Math.Min(first + Edge, n);
            for (int start = first; start < n; start += Edge)
            {
                int end = Math.Min(start + Edge, n);
                for (int i = first; i < last; i++)
                {
                    for (int j = Math.Max(start, i + 1); j < end; j++)
                    {
                        _c[(i * cRow) + j] = _c[(j * cRow) + i];
                    }
                }
            }
        }
    }
}
