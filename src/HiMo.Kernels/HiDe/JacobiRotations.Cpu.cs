// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Eigenvalues and eigenvectors of small symmetric matrices.  A = V^T diag(lambda) V, rows of V orthonormal, in no order
// Method     cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, 8.5).
// Shapes     A, V: n x n row-major.
// Precision  float64.
internal static class JacobiRotationsCpu
{
    private const int MaxSweeps = 40;
    private const double Tolerance = 1e-17;               // of the largest entry, which is about 1: far below float32's rounding of the result

    /// <summary>Rotates until the matrix is diagonal.</summary>
    /// <param name="a">On entry the matrix, its largest magnitude about 1; on return its diagonal holds the eigenvalues.</param>
    /// <param name="v">Receives the eigenvectors as rows.</param>
    /// <param name="n">Rows and columns.</param>
    /// <exception cref="ArithmeticException">No convergence, which finite input does not show.</exception>
    public static void Diagonalize(Span<double> a, Span<double> v, int n)
    {
        v[..(n * n)].Clear();
        for (int i = 0; i < n; i++)
        {
            v[(i * n) + i] = 1.0;
        }

        bool rotated = true;
        for (int sweep = 0; rotated; sweep++)
        {
            if (sweep == MaxSweeps)
            {
                throw new ArithmeticException($"JacobiRotations: no convergence on a matrix of {n} x {n} in {MaxSweeps} sweeps; is it finite?");
            }

            rotated = false;
            for (int p = 0; p < n - 1; p++)
            {
                for (int q = p + 1; q < n; q++)
                {
                    if (Math.Abs(a[(p * n) + q]) > Tolerance)
                    {
                        rotated = true;
                        Annihilate(a, v, n, p, q);
                    }
                }
            }
        }
    }

    /// <summary>One rotation that makes entry (p, q) zero.</summary>
    private static void Annihilate(Span<double> a, Span<double> v, int n, int p, int q)
    {
        double theta = (a[(q * n) + q] - a[(p * n) + p]) / (2.0 * a[(p * n) + q]);
        double t = Math.CopySign(1.0, theta) / (Math.Abs(theta) + Math.Sqrt((theta * theta) + 1.0));
        double c = 1.0 / Math.Sqrt((t * t) + 1.0);
        double s = t * c;
        for (int k = 0; k < n; k++)
        {
            (a[(k * n) + p], a[(k * n) + q]) = ((c * a[(k * n) + p]) - (s * a[(k * n) + q]), (s * a[(k * n) + p]) + (c * a[(k * n) + q]));
        }

        for (int k = 0; k < n; k++)
        {
            (a[(p * n) + k], a[(q * n) + k]) = ((c * a[(p * n) + k]) - (s * a[(q * n) + k]), (s * a[(p * n) + k]) + (c * a[(q * n) + k]));
        }

        a[(p * n) + q] = 0.0;
        a[(q * n) + p] = 0.0;
        for (int k = 0; k < n; k++)
        {
            (v[(p * n) + k], v[(q * n) + k]) = ((c * v[(p * n) + k]) - (s * v[(q * n) + k]), (s * v[(p * n) + k]) + (c * v[(q * n) + k]));
        }
    }
}
