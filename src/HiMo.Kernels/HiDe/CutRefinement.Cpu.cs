// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// The eigenvectors beside a narrow cut, again in float64. A float32 product knows directions only to 6e-8 lambda_1 over their gap, and the exact gradient
// divides by the gap: at a gap of 1e-6 nothing would be left of the term that turns the subspace.
// Method     Rayleigh-Ritz (Parlett, The Symmetric Eigenvalue Problem, chapter 11): with V the k vectors nearest to the cut, made orthonormal, B = X^T V or
//            X V, and B^T B = R^T diag(theta) R, the vectors become R V and their eigenvalues theta. What V misses of the true subspace enters squared.
// Shapes     V: k x n, B: k x max(N, d), k at most 8. X comes from the batch itself: its float32 form has float32's rounding again.
// Mapping    B by chunks of columns or blocks of rows; the rest on one thread.
// Precision  float64 up to the rounding of the vectors; eigenvalues stay float64.
// Determinism  independent of the number of threads.
internal static unsafe class CutRefinementCpu
{
    /// <summary>Most vectors taken on one side of the cut; a long flat spectrum has more of them near.</summary>
    private const int MostOnASide = 4;

    private const int Most = 2 * MostOnASide;
    private const double Narrow = 1e-2;                   // of lambda_1: beyond it float32 keeps five digits
    private const int Chunk = 128;

    /// <summary>The vectors that the cut's width asks for: the first and how many; none where the cut is wide or lies in rounding noise.</summary>
    public static (int First, int Count) Range(double* values, int size, in ExplainedRank cut)
    {
        int m = cut.M;
        if (m == size || cut.Defined < m || cut.RelativeGap >= Narrow)
        {
            return (0, 0);
        }

        double near = Narrow * values[0];
        int first = m - 1;
        while (first > Math.Max(0, m - MostOnASide) && values[first - 1] - values[m] < near)
        {
            first--;
        }

        int end = m + 1;
        while (end < Math.Min(size, m + MostOnASide) && values[m - 1] - values[end] < near)
        {
            end++;
        }

        return (first, end - first);
    }

    /// <summary>Doubles of memory that <see cref="Refine"/> needs at most.</summary>
    public static long Doubles(in CenteredBatch batch) => Most * ((long)batch.Rows + batch.Columns);

    /// <summary>Replaces some eigenvalues and eigenvectors.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="batch">X, N x d.</param>
    /// <param name="side">Whether the vectors belong to X X^T or to X^T X.</param>
    /// <param name="count">k, 1 to 8.</param>
    /// <param name="values">k eigenvalues, descending, also on return.</param>
    /// <param name="vectors">Their eigenvectors as rows, k x min(N, d).</param>
    /// <param name="memory"><see cref="Doubles"/> of them.</param>
    public static void Refine(WorkerPool pool, in CenteredBatch batch, GramSide side, int count, double* values, float* vectors, double* memory)
    {
        int size = Math.Min(batch.Rows, batch.Columns);
        int width = Math.Max(batch.Rows, batch.Columns);
        double* products = memory + (count * size);
        TensorPrimitives.ConvertTruncating(new ReadOnlySpan<float>(vectors, count * size), new Span<double>(memory, count * size));
        Orthonormalize(memory, count, size);
        ProductWork work = new() { Batch = batch, Side = side, Count = count, Vectors = memory, Products = products };
        pool.Run(ref work, side == GramSide.Gram ? RowBlocks.CeilDiv(width, Chunk) : RowBlocks.Count(batch.Rows, batch.Columns));

        Span<double> quotient = stackalloc double[Most * Most];
        Span<double> rotation = stackalloc double[Most * Most];
        Span<double> ritz = stackalloc double[Most];
        Span<int> order = stackalloc int[Most];
        double largest = 0.0;
        for (int a = 0; a < count; a++)
        {
            for (int b = 0; b <= a; b++)
            {
                quotient[(a * count) + b] = quotient[(b * count) + a] = TensorPrimitives.Dot<double>(Row(products, a, width), Row(products, b, width));
            }

            largest = Math.Max(largest, quotient[(a * count) + a]);
            order[a] = a;
        }

        if (largest == 0.0)
        {
            return;
        }

        TensorPrimitives.Divide(quotient, largest, quotient);
        JacobiRotationsCpu.Diagonalize(quotient, rotation, count);
        for (int a = 0; a < count; a++)
        {
            ritz[a] = -quotient[(a * count) + a];
        }

        ritz[..count].Sort(order[..count]);
        Span<double> rotated = new(products, size);       // B has served
        for (int a = 0; a < count; a++)
        {
            values[a] = Math.Max(0.0, -ritz[a] * largest);
            rotated.Clear();
            for (int b = 0; b < count; b++)
            {
                TensorPrimitives.MultiplyAdd(Row(memory, b, size), rotation[(order[a] * count) + b], rotated, rotated);
            }

            TensorPrimitives.ConvertTruncating<double, float>(rotated, new Span<float>(vectors + ((nint)a * size), size));
        }
    }

    private static Span<double> Row(double* matrix, int row, int columns) => new(matrix + ((nint)row * columns), columns);

    // Modified Gram-Schmidt: rows that are orthonormal up to float32's rounding become so up to its square and float64's.
    private static void Orthonormalize(double* vectors, int count, int size)
    {
        for (int a = 0; a < count; a++)
        {
            Span<double> own = Row(vectors, a, size);
            for (int b = 0; b < a; b++)
            {
                ReadOnlySpan<double> other = Row(vectors, b, size);
                TensorPrimitives.MultiplyAdd(other, -TensorPrimitives.Dot<double>(other, own), own, own);
            }

            TensorPrimitives.Divide(own, TensorPrimitives.Norm<double>(own), own);
        }
    }

    private struct ProductWork : IParallelWork
    {
        public CenteredBatch Batch;
        public GramSide Side;
        public int Count;
        public double* Vectors;
        public double* Products;

        public readonly void Run(int task, int thread)
        {
            if (Side == GramSide.Gram)
            {
                Columns(task * Chunk);
            }
            else
            {
                Rows(task);
            }
        }

        // B_a = sum_i V_ai x_i, a chunk of it
        private readonly void Columns(int from)
        {
            Span<double> wide = stackalloc double[Math.Min(Chunk, Batch.Columns - from)];
            for (int a = 0; a < Count; a++)
            {
                Row(Products, a, Batch.Columns).Slice(from, wide.Length).Clear();
            }

            for (int i = 0; i < Batch.Rows; i++)
            {
                Batch.Widen(i, from, wide);
                for (int a = 0; a < Count; a++)
                {
                    Span<double> sum = Row(Products, a, Batch.Columns).Slice(from, wide.Length);
                    TensorPrimitives.MultiplyAdd(wide, Vectors[((nint)a * Batch.Rows) + i], sum, sum);
                }
            }
        }

        // B_ai = V_a . x_i
        private readonly void Rows(int task)
        {
            Span<double> room = stackalloc double[Chunk];
            (int start, int end) = RowBlocks.Range(task, Batch.Rows, Batch.Columns);
            for (int i = start; i < end; i++)
            {
                for (int from = 0; from < Batch.Columns; from += Chunk)
                {
                    Span<double> wide = room[..Math.Min(Chunk, Batch.Columns - from)];
                    Batch.Widen(i, from, wide);
                    for (int a = 0; a < Count; a++)
                    {
                        double part = TensorPrimitives.Dot<double>(Row(Vectors, a, Batch.Columns).Slice(from, wide.Length), wide);
                        ref double sum = ref Products[((nint)a * Batch.Rows) + i];
                        sum = from == 0 ? part : sum + part;
                    }
                }
            }
        }
    }
}
