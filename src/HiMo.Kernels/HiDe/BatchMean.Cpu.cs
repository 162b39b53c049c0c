// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// Batch mean and centring of unit rows.  mu = (1/N) sum_i x_i,  X = x - 1 mu^T,  x_i = inverse_i source_i      HiMo-CLIP (arXiv:2511.06653), eq. 1
// Shapes     source, X: N x d; mu: d.
// Mapping    mean: chunks of columns; centring: blocks of rows.
// Precision  all in float64 up to the rounding of X itself: texts that differ by 1e-6 keep seven digits of their difference, which a
//            float32 x - mu, or a Gram matrix centred afterwards, would have lost.
// Determinism  a column is summed in order of its rows.
internal static unsafe class BatchMeanCpu
{
    private const int ColumnChunk = 64;

    /// <summary>mu and X of a batch, into its memory.</summary>
    public static void Forward(WorkerPool pool, in CenteredBatch batch)
    {
        WeightedSum(pool, batch.Source, batch.Rows, batch.Columns, batch.Inverse, 1.0 / batch.Rows, batch.Mean);
        Center work = new() { Batch = batch };
        pool.Run(ref work, RowBlocks.Count(batch.Rows, batch.Columns));
    }

    /// <summary>factor sum_i weight_i source_i; weights null: all 1.</summary>
    public static void WeightedSum(WorkerPool pool, float* source, int rows, int columns, double* weights, double factor, double* sum)
    {
        ColumnSums work = new() { Source = source, Rows = rows, Columns = columns, Weights = weights, Factor = factor, Sum = sum };
        pool.Run(ref work, RowBlocks.CeilDiv(columns, ColumnChunk));
    }

    /// <summary>dots_i = source_i . direction</summary>
    public static void Dots(WorkerPool pool, float* source, int rows, int columns, float* direction, float* dots)
    {
        RowDots work = new() { Source = source, Rows = rows, Columns = columns, Direction = direction, Result = dots };
        pool.Run(ref work, RowBlocks.Count(rows, columns));
    }

    private struct RowDots : IParallelWork
    {
        public float* Source;
        public int Rows;
        public int Columns;
        public float* Direction;
        public float* Result;

        public readonly void Run(int task, int thread)
        {
            (int from, int to) = RowBlocks.Range(task, Rows, Columns);
            for (int i = from; i < to; i++)
            {
                Result[i] = TensorPrimitives.Dot(new ReadOnlySpan<float>(Source + ((nint)i * Columns), Columns), new ReadOnlySpan<float>(Direction, Columns));
            }
        }
    }

    private struct ColumnSums : IParallelWork
    {
        public float* Source;
        public int Rows;
        public int Columns;
        public double* Weights;
        public double Factor;
        public double* Sum;

        public readonly void Run(int task, int thread)
        {
            int from = task * ColumnChunk;
            int count = Math.Min(ColumnChunk, Columns - from);
            Span<double> sum = new(Sum + from, count);
            sum.Clear();
            for (int i = 0; i < Rows; i++)
            {
                WideRows.AddScaled(Source + ((nint)i * Columns) + from, Weights == null ? 1.0 : Weights[i], Sum + from, count);
            }

            TensorPrimitives.Multiply(sum, Factor, sum);
        }
    }

    private struct Center : IParallelWork
    {
        public CenteredBatch Batch;

        public readonly void Run(int task, int thread)
        {
            int columns = Batch.Columns;
            (int from, int to) = RowBlocks.Range(task, Batch.Rows, columns);
            for (int i = from; i < to; i++)
            {
                WideRows.Center(Batch.Row(i), Batch.Factor(i), Batch.Mean, Batch.Centered + ((nint)i * columns), columns);
            }
        }
    }
}
