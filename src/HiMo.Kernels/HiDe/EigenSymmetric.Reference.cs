// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// Eigenvalues and eigenvectors of a symmetric matrix.  A = V^T diag(lambda) V, rows of V orthonormal, lambda descending
// Method     Householder reflections to a tridiagonal matrix, then implicit QR steps with Wilkinson's shift, rotations applied to the
//            rows of V (Golub and Van Loan, Matrix Computations, 8.3).
// Shapes     A, V: n x n; lambda: n. Only symmetry is assumed, not definiteness.
// Precision  float64; errors of eigenvalues are of the order of 1e-16 |A|. The matrix is scaled by its largest magnitude first.
internal static class EigenSymmetricReference
{
    private const double Negligible = 1.1e-16;            // unit roundoff: an off-diagonal this small beside its neighbours changes nothing
    private const double NegligibleBesideLargest = 1e-20; // the scaled matrix has largest magnitude 1
    private const int StepsPerValue = 60;                 // two or three are usual

    public static (double[] Values, ReferenceMatrix Vectors) Decompose(ReferenceMatrix symmetric)
    {
        int n = symmetric.Rows;
        double scale = n == 0 ? 0.0 : Math.Abs(TensorPrimitives.MaxMagnitude<double>(symmetric.Elements));
        if (scale == 0.0)
        {
            return (new double[n], ReferenceMatrix.Identity(n));
        }

        ReferenceMatrix work = new(n, n);
        TensorPrimitives.Divide(symmetric.Elements, scale, work.Elements);
        double[] offDiagonal = new double[n];
        double[] diagonal = new double[n];
        ReferenceMatrix vectors = Tridiagonalize(work, diagonal, offDiagonal);
        Diagonalize(diagonal, offDiagonal, vectors);
        TensorPrimitives.Multiply(diagonal, scale, diagonal);
        return Descending(diagonal, vectors);
    }

    // A = Q T Q^T with T tridiagonal; returns Q^T. Reflection k clears row k beyond the off-diagonal: H_k = I - beta_k v_k v_k^T.
    private static ReferenceMatrix Tridiagonalize(ReferenceMatrix a, double[] diagonal, double[] offDiagonal)
    {
        int n = a.Rows;
        double[] beta = new double[n];
        double[] w = new double[n];
        for (int k = 0; k < n - 1; k++)
        {
            diagonal[k] = a[k, k];
            Span<double> v = a.Row(k)[(k + 1)..];
            double tail = TensorPrimitives.SumOfSquares<double>(v[1..]);
            if (tail == 0.0)
            {
                offDiagonal[k] = v[0];
                continue;
            }

            double length = Math.Sqrt((v[0] * v[0]) + tail);
            offDiagonal[k] = v[0] > 0.0 ? -length : length;
            v[0] -= offDiagonal[k];
            beta[k] = 2.0 / ((v[0] * v[0]) + tail);

            // A' - v w^T - w v^T with p = beta A' v and w = p - beta/2 (p . v) v
            Span<double> p = w.AsSpan(k + 1);
            for (int i = 0; i < v.Length; i++)
            {
                p[i] = beta[k] * TensorPrimitives.Dot<double>(a.Row(k + 1 + i)[(k + 1)..], v);
            }

            double half = 0.5 * beta[k] * TensorPrimitives.Dot<double>(p, v);
            TensorPrimitives.MultiplyAdd(v, -half, p, p);
            for (int i = 0; i < v.Length; i++)
            {
                Span<double> row = a.Row(k + 1 + i)[(k + 1)..];
                TensorPrimitives.MultiplyAdd(p, -v[i], row, row);
                TensorPrimitives.MultiplyAdd(v, -p[i], row, row);
            }
        }

        diagonal[n - 1] = a[n - 1, n - 1];

        // Q^T = H_{n-2} ... H_0, built from the last reflection so that only the trailing block is touched
        ReferenceMatrix transposed = ReferenceMatrix.Identity(n);
        for (int k = n - 2; k >= 0; k--)
        {
            if (beta[k] != 0.0)
            {
                Span<double> v = a.Row(k)[(k + 1)..];
                for (int i = k + 1; i < n; i++)
                {
                    Span<double> row = transposed.Row(i)[(k + 1)..];
                    TensorPrimitives.MultiplyAdd(v, -beta[k] * TensorPrimitives.Dot<double>(row, v), row, row);
                }
            }
        }

        return transposed;
    }

    private static void Diagonalize(double[] d, double[] e, ReferenceMatrix vectors)
    {
        int stepsLeft = StepsPerValue * d.Length;
        for (int high = d.Length - 1; high > 0;)
        {
            if (IsNegligible(d, e, high - 1))
            {
                high--;
                continue;
            }

            int low = high - 1;
            while (low > 0 && !IsNegligible(d, e, low - 1))
            {
                low--;
            }

            if (stepsLeft-- == 0)
            {
                throw new InvalidOperationException($"EigenSymmetric: no convergence on a matrix of {d.Length} x {d.Length}; is it finite?");
            }

            QrStep(d, e, low, high, vectors);
        }
    }

    private static bool IsNegligible(double[] d, double[] e, int k) =>
        Math.Abs(e[k]) <= Math.Max(Negligible * (Math.Abs(d[k]) + Math.Abs(d[k + 1])), NegligibleBesideLargest);

    // One QR step on rows low to high of the tridiagonal matrix, as a chase of rotations from the top.
    private static void QrStep(double[] d, double[] e, int low, int high, ReferenceMatrix vectors)
    {
        double delta = 0.5 * (d[high - 1] - d[high]);
        double last = e[high - 1];
        double shift = d[high] - (last * (last / (delta + double.CopySign(double.Hypot(delta, last), delta))));
        double x = d[low] - shift;
        double z = e[low];
        for (int k = low; k < high; k++)
        {
            double r = double.Hypot(x, z);
            (double c, double s) = r == 0.0 ? (1.0, 0.0) : (x / r, z / r);
            if (k > low)
            {
                e[k - 1] = r;
            }

            (double a, double b, double q) = (d[k], e[k], d[k + 1]);
            d[k] = (c * c * a) + (2.0 * c * s * b) + (s * s * q);
            d[k + 1] = (s * s * a) - (2.0 * c * s * b) + (c * c * q);
            e[k] = (c * s * (q - a)) + (((c * c) - (s * s)) * b);
            if (k < high - 1)
            {
                x = e[k];
                z = s * e[k + 1];
                e[k + 1] *= c;
            }

            Rotate(vectors.Row(k), vectors.Row(k + 1), c, s);
        }
    }

    private static void Rotate(Span<double> first, Span<double> second, double c, double s)
    {
        for (int k = 0; k < first.Length; k++)
        {
            (first[k], second[k]) = ((c * first[k]) + (s * second[k]), (c * second[k]) - (s * first[k]));
        }
    }

    private static (double[] Values, ReferenceMatrix Vectors) Descending(double[] values, ReferenceMatrix vectors)
    {
        int[] order = [.. Enumerable.Range(0, values.Length).OrderByDescending(i => values[i])];
        ReferenceMatrix sorted = new(vectors.Rows, vectors.Columns);
        for (int i = 0; i < order.Length; i++)
        {
            vectors.Row(order[i]).CopyTo(sorted.Row(i));
        }

        return ([.. order.Select(i => values[i])], sorted);
    }
}
