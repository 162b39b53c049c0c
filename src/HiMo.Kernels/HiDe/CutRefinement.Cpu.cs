// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

// The eigenvectors beside a narrow cut, again in float64. A float32 product knows directions only to 6e-8 lambda_1 over their gap, and the exact gradient
// divides by the gap: at a gap of 1e-6 nothing would be left of the term that turns the subspace.
// Method     Rayleigh-Ritz (Parlett, The Symmetric Eigenvalue Problem, chapter 11): with V the k vectors nearest to the cut, made orthonormal, B = X^T V or
//            X V, and B^T B = R^T diag(theta) R, the vectors become R V and their eigenvalues theta. What V misses of the true subspace enters squared.
// Shapes     V: k x n, B: k x max(N, d), k at most 4, rows of zeros up to that. X comes from the batch itself: its float32 form is rounded again.
// Mapping    B by chunks of columns or blocks of rows; the rest on one thread.
// Precision  float64 up to the rounding of the vectors; eigenvalues stay float64.
// Determinism  independent of the number of threads.
internal static unsafe class CutRefinementCpu
{
    /// <summary>A cut narrower than this is refined, in lambda_1: beyond it float32 keeps five digits.</summary>
    public const double Narrow = 1.0 / 32;

    /// <summary>Most vectors taken on one side of the cut; a long flat spectrum has more of them near.</summary>
    private const int MostOnASide = 2;

    private const int Most = 2 * MostOnASide;             // what the two products below hold in registers
    private const int Chunk = 64;

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
    /// <param name="count">k, 2 to 4.</param>
    /// <param name="values">k eigenvalues, descending, also on return.</param>
    /// <param name="vectors">Their eigenvectors as rows, k x min(N, d).</param>
    /// <param name="memory"><see cref="Doubles"/> of them.</param>
    public static void Refine(WorkerPool pool, in CenteredBatch batch, GramSide side, int count, double* values, float* vectors, double* memory)
    {
        int size = Math.Min(batch.Rows, batch.Columns);
        int width = Math.Max(batch.Rows, batch.Columns);
        double* products = memory + (Most * size);
        TensorPrimitives.ConvertTruncating(new ReadOnlySpan<float>(vectors, count * size), new Span<double>(memory, count * size));
        Orthonormalize(memory, count, size);
        new Span<double>(memory + (count * size), (Most - count) * size).Clear();
        ProductWork work = new() { Batch = batch, Side = side, Vectors = memory, Products = products };
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

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Add(Vector<double> lower, Vector<double> upper, double weight, double* sum)
        {
            Vector.MultiplyAddEstimate(lower, new(weight), Vector.Load(sum)).Store(sum);
            Vector.MultiplyAddEstimate(upper, new(weight), Vector.Load(sum + Vector<double>.Count)).Store(sum + Vector<double>.Count);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Dot(Vector<double> lower, Vector<double> upper, double* weights, ref Vector<double> low, ref Vector<double> high)
        {
            low = Vector.MultiplyAddEstimate(lower, Vector.Load(weights), low);
            high = Vector.MultiplyAddEstimate(upper, Vector.Load(weights + Vector<double>.Count), high);
        }

        // B_a = sum_i V_ai x_i, a chunk of columns of it: row by row, so that memory is read in its order
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Columns(int from)
        {
            int n = Batch.Rows;
            int d = Batch.Columns;
            int to = Math.Min(d, from + Chunk);
            double* mean = Batch.Mean;
            double* b0 = Products, b1 = b0 + d, b2 = b1 + d, b3 = b2 + d;
            for (int a = 0; a < Most; a++)
            {
                new Span<double>(Products + ((nint)a * d) + from, to - from).Clear();
            }

            for (int i = 0; i < n; i++)
            {
                double v0 = Vectors[i], v1 = Vectors[n + i], v2 = Vectors[(2 * n) + i], v3 = Vectors[(3 * n) + i];
                float* x = Batch.Row(i);
                double factor = Batch.Factor(i);
                int k = from;
                for (; k + Vector<float>.Count <= to; k += Vector<float>.Count)
                {
                    CenteredBatch.Load(x + k, factor, mean + k, out Vector<double> lower, out Vector<double> upper);
                    Add(lower, upper, v0, b0 + k);
                    Add(lower, upper, v1, b1 + k);
                    Add(lower, upper, v2, b2 + k);
                    Add(lower, upper, v3, b3 + k);
                }

                for (; k < to; k++)
                {
                    double element = (x[k] * factor) - mean[k];
                    b0[k] += v0 * element;
                    b1[k] += v1 * element;
                    b2[k] += v2 * element;
                    b3[k] += v3 * element;
                }
            }
        }

        // B_ai = V_a . x_i
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Rows(int task)
        {
            nint n = Batch.Rows;
            int d = Batch.Columns;
            double* mean = Batch.Mean;
            double* v = Vectors;
            double* b = Products;
            (int from, int to) = RowBlocks.Range(task, Batch.Rows, d);
            for (int i = from; i < to; i++)
            {
                Vector<double> low0 = Vector<double>.Zero, low1 = low0, low2 = low0, low3 = low0;
                Vector<double> high0 = low0, high1 = low0, high2 = low0, high3 = low0;
                float* x = Batch.Row(i);
                double factor = Batch.Factor(i);
                int k = 0;
                for (; k + Vector<float>.Count <= d; k += Vector<float>.Count)
                {
                    CenteredBatch.Load(x + k, factor, mean + k, out Vector<double> lower, out Vector<double> upper);
                    Dot(lower, upper, v + k, ref low0, ref high0);
                    Dot(lower, upper, v + d + k, ref low1, ref high1);
                    Dot(lower, upper, v + (2 * d) + k, ref low2, ref high2);
                    Dot(lower, upper, v + (3 * d) + k, ref low3, ref high3);
                }

                b[i] = Vector.Sum(low0 + high0);
                b[n + i] = Vector.Sum(low1 + high1);
                b[(2 * n) + i] = Vector.Sum(low2 + high2);
                b[(3 * n) + i] = Vector.Sum(low3 + high3);
                for (; k < d; k++)
                {
                    double element = (x[k] * factor) - mean[k];
                    for (int a = 0; a < Most; a++)
                    {
                        b[(a * n) + i] += v[(a * d) + k] * element;
                    }
                }
            }
        }
    }
}
