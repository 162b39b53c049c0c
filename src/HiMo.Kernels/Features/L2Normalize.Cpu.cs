// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// Row normalisation.  y_i = x_i / max(|x_i|, 1e-12)      as torch's normalize; HiMo-CLIP (arXiv:2511.06653), features before HiDe
// Backward   dx_i = scale (g_i + c mu_i - (. y_i) y_i) / |x_i|, with the rank-one terms that the step adds; rows at the clamp get 0
// Shapes     x, y, g, dx: N x d row-major; inverse: N.
// Mapping    blocks of rows over the pool; a row belongs to one thread.
// Precision  squares, norms and differences in float64: no float32 row overflows or underflows, and a row's gradient has no
//            cancellation left. What leaves float32's range on the way out is clamped to its largest value.
// Determinism  each row is summed in an order that depends on d alone.
internal static unsafe class L2NormalizeCpu
{
    private const double MinNorm = 1e-12;
    private const double MaxInverse = 1e12;

    /// <summary>Norms of all rows, unit rows where wanted, and sums of blocks of unit rows where wanted.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="x">N x d.</param>
    /// <param name="rows">N.</param>
    /// <param name="columns">d.</param>
    /// <param name="inverse">Receives 1 / max(|x_i|, 1e-12): N values; NaN or 0 where a row is not finite.</param>
    /// <param name="y">Receives the unit rows, N x d; null: not wanted.</param>
    /// <param name="scratch">d doubles a thread.</param>
    /// <returns>False if an element is NaN or infinite.</returns>
    public static bool Forward(WorkerPool pool, float* x, int rows, int columns, double* inverse, float* y, double* scratch)
    {
        Normalize work = new() { X = x, Rows = rows, Columns = columns, Inverse = inverse, Y = y, Scratch = scratch };
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
    /// <param name="scratch">2 d doubles a thread.</param>
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
            double[] inverse = new double[1];
            double[] scratch = new double[x.Columns];
            fixed (double* norm = inverse, row = scratch)
            {
                Normalize work = new() { Rows = 1, Columns = x.Columns, Inverse = norm, Scratch = row };
                for (int i = 0; i < x.Rows; i++)
                {
                    work.X = from + ((nint)i * x.Columns);
                    work.Y = to + ((nint)i * x.Columns);
                    work.Run(0, 0);
                }
            }
        }
    }

    /// <summary>The gradient of the rows before normalisation, on the calling thread.</summary>
    public static void Backward(ReadOnlyMatrixView x, ReadOnlyMatrixView gradY, MatrixView gradX)
    {
        gradY.Elements.CopyTo(gradX.Elements);
        fixed (float* from = x.Elements, to = gradX.Elements)
        {
            double[] inverse = new double[1];
            double[] scratch = new double[2 * x.Columns];
            fixed (double* norm = inverse, row = scratch)
            {
                Normalize lengths = new() { Rows = 1, Columns = x.Columns, Inverse = norm, Scratch = row };
                Differentiate work = new() { Rows = 1, Columns = x.Columns, Inverse = norm, Scale = 1.0, Scratch = row };
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

    /// <summary>inverse x row in float64.</summary>
    public static void UnitRow(float* x, int columns, double inverse, Span<double> unit)
    {
        TensorPrimitives.ConvertTruncating(new ReadOnlySpan<float>(x, columns), unit);
        TensorPrimitives.Multiply(unit, inverse, unit);
    }

    private struct Normalize : IParallelWork
    {
        public float* X;
        public int Rows;
        public int Columns;
        public double* Inverse;
        public float* Y;
        public double* Scratch;

        public readonly void Run(int task, int thread)
        {
            Span<double> row = new(Scratch + ((nint)thread * Columns), Columns);
            (int from, int to) = RowBlocks.Range(task, Rows, Columns);
            for (int i = from; i < to; i++)
            {
                float* source = X + ((nint)i * Columns);
                TensorPrimitives.ConvertTruncating(new ReadOnlySpan<float>(source, Columns), row);
                double norm = Math.Sqrt(TensorPrimitives.SumOfSquares<double>(row));
                double inverse = norm <= MinNorm ? MaxInverse : 1.0 / norm;
                Inverse[i] = inverse;
                if (Y != null)
                {
                    TensorPrimitives.Multiply(row, inverse, row);
                    TensorPrimitives.ConvertTruncating<double, float>(row, new Span<float>(Y + ((nint)i * Columns), Columns));
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
            Span<double> unit = new(Scratch + ((nint)2 * thread * Columns), Columns);
            Span<double> grad = new(Scratch + ((((nint)2 * thread) + 1) * Columns), Columns);
            (int from, int to) = RowBlocks.Range(task, Rows, Columns);
            for (int i = from; i < to; i++)
            {
                Span<float> row = new(Grad + ((nint)i * Columns), Columns);
                if (Inverse[i] == MaxInverse)
                {
                    row.Clear();
                    continue;
                }

                UnitRow(X + ((nint)i * Columns), Columns, Inverse[i], unit);
                TensorPrimitives.ConvertTruncating<float, double>(row, grad);
                if (PerRow != null)
                {
                    TensorPrimitives.MultiplyAdd(new ReadOnlySpan<double>(Direction, Columns), PerRow[i], grad, grad);
                }

                if (Constant != null)
                {
                    TensorPrimitives.Add(grad, new ReadOnlySpan<double>(Constant, Columns), grad);
                }

                double along = TensorPrimitives.Dot<double>(grad, unit);
                TensorPrimitives.MultiplyAdd(unit, -along, grad, grad);
                TensorPrimitives.Multiply(grad, Scale * Inverse[i], grad);
                TensorPrimitives.Clamp(grad, -float.MaxValue, float.MaxValue, grad);
                TensorPrimitives.ConvertTruncating<double, float>(grad, row);
            }
        }
    }
}
