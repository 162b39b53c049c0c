// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// Row normalisation.  y_i = x_i / max(|x_i|, 1e-12)      as torch's normalize; HiMo-CLIP (arXiv:2511.06653), features before HiDe
// Backward   dx_i = scale (g_i + c mu_i - (. y_i) y_i) / |x_i|, with the rank-one terms that the step adds; rows at the clamp get 0
// Shapes     x, y, g, dx: N x d row-major; inverse: N.
// Mapping    blocks of rows over the pool; a row belongs to one thread.
// Precision  squares, norms and differences in float64 (WideRows): no float32 row overflows or underflows, and a row's gradient has no
//            cancellation left. What leaves float32's range on the way out is clamped to its largest value.
// Determinism  each row is summed in an order that depends on d alone.
internal static unsafe class L2NormalizeCpu
{
    private const double MinNorm = 1e-12;
    private const double MaxInverse = 1e12;

    /// <summary>Norms of all rows, unit rows where wanted, and their products with one direction where wanted.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="x">N x d.</param>
    /// <param name="rows">N.</param>
    /// <param name="columns">d.</param>
    /// <param name="inverse">Receives 1 / max(|x_i|, 1e-12): N values; NaN or 0 where a row is not finite.</param>
    /// <param name="y">Receives the unit rows, N x d; null: not wanted.</param>
    /// <param name="direction">d values; null: none.</param>
    /// <param name="dots">Receives y_i . direction, N values; null with the direction.</param>
    /// <returns>False if an element is NaN or infinite.</returns>
    public static bool Forward(
        WorkerPool pool, float* x, int rows, int columns, double* inverse, float* y, double* direction = null, double* dots = null)
    {
        Normalize work = new() { X = x, Rows = rows, Columns = columns, Inverse = inverse, Y = y, Direction = direction, Dots = dots };
        pool.Run(ref work, RowBlocks.Count(rows, columns));
        return TensorPrimitives.IsFiniteAll<double>(new ReadOnlySpan<double>(inverse, rows)) && TensorPrimitives.Min<double>(new ReadOnlySpan<double>(inverse, rows)) > 0.0;
    }

    /// <summary>Gradient of the rows before normalisation.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="x">N x d, the rows before normalisation.</param>
    /// <param name="rows">N.</param>
    /// <param name="columns">d.</param>
    /// <param name="inverse">As Forward gave it.</param>
    /// <param name="scale">Factor on the result.</param>
    /// <param name="grad">On entry the gradient of the unit rows over scale, N x d; on return that of x.</param>
    /// <param name="perRow">c: N weights of <paramref name="direction"/> to add to each row; null: none.</param>
    /// <param name="direction">d values.</param>
    /// <param name="constant">d values to add to every row; null: none.</param>
    /// <param name="scratch">d doubles a thread.</param>
    public static void Backward(
        WorkerPool pool, float* x, int rows, int columns, double* inverse, double scale, float* grad, float* perRow, double* direction, double* constant, double* scratch)
    {
        Differentiate work = new()
        {
            X = x, Rows = rows, Columns = columns, Inverse = inverse, Scale = scale, Grad = grad, PerRow = perRow, Direction = direction, Constant = constant, Scratch = scratch,
        };
        pool.Run(ref work, RowBlocks.Count(rows, columns));
    }

    /// <summary>The unit rows of a finite matrix, on the calling thread.</summary>
    public static void Forward(ReadOnlyMatrixView x, MatrixView y)
    {
        fixed (float* from = x.Elements, to = y.Elements)
        {
            double inverse;
            Normalize work = new() { Rows = 1, Columns = x.Columns, Inverse = &inverse };
            for (int i = 0; i < x.Rows; i++)
            {
                work.X = from + ((nint)i * x.Columns);
                work.Y = to + ((nint)i * x.Columns);
                work.Run(0, 0);
            }
        }
    }

    /// <summary>The gradient of the rows before normalisation, on the calling thread.</summary>
    public static void Backward(ReadOnlyMatrixView x, ReadOnlyMatrixView gradY, MatrixView gradX)
    {
        gradY.Elements.CopyTo(gradX.Elements);
        fixed (float* from = x.Elements, to = gradX.Elements)
        {
            double inverse;
            double[] scratch = new double[x.Columns];
            fixed (double* row = scratch)
            {
                Normalize lengths = new() { Rows = 1, Columns = x.Columns, Inverse = &inverse };
                Differentiate work = new() { Rows = 1, Columns = x.Columns, Inverse = &inverse, Scale = 1.0, Scratch = row };
                for (int i = 0; i < x.Rows; i++)
                {
                    lengths.X = work.X = from + ((nint)i * x.Columns);
                    work.Grad = to + ((nint)i * x.Columns);
                    lengths.Run(0, 0);
                    work.Run(0, 0);
                }
            }
        }
    }

    private struct Normalize : IParallelWork
    {
        public float* X;
        public int Rows;
        public int Columns;
        public double* Inverse;
        public float* Y;
        public double* Direction;
        public double* Dots;

        public readonly void Run(int task, int thread)
        {
            (int from, int to) = RowBlocks.Range(task, Rows, Columns);
            for (int i = from; i < to; i++)
            {
                float* source = X + ((nint)i * Columns);
                double norm = Math.Sqrt(WideRows.SumOfSquares(source, Columns));
                double inverse = norm <= MinNorm ? MaxInverse : 1.0 / norm;
                Inverse[i] = inverse;
                if (Y != null)
                {
                    double dot = WideRows.Scale(source, inverse, Direction, Y + ((nint)i * Columns), Columns);
                    if (Dots != null)
                    {
                        Dots[i] = dot;
                    }
                }
            }
        }
    }

    private struct Differentiate : IParallelWork
    {
        public float* X;
        public int Rows;
        public int Columns;
        public double* Inverse;
        public double Scale;
        public float* Grad;
        public float* PerRow;
        public double* Direction;
        public double* Constant;
        public double* Scratch;

        public readonly void Run(int task, int thread)
        {
            double* wide = Scratch + ((nint)thread * Columns);
            (int from, int to) = RowBlocks.Range(task, Rows, Columns);
            for (int i = from; i < to; i++)
            {
                float* row = Grad + ((nint)i * Columns);
                double inverse = Inverse[i];
                if (inverse == MaxInverse)
                {
                    new Span<float>(row, Columns).Clear();
                    continue;
                }

                float* source = X + ((nint)i * Columns);
                double along = WideRows.Complete(source, row, PerRow == null ? 0.0 : PerRow[i], Direction, Constant, wide, Columns);
                WideRows.Project(source, wide, along * inverse * inverse, Scale * inverse, row, Columns);
            }
        }
    }
}
