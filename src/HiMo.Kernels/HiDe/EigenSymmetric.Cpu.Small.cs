// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Small matrices: cyclic Jacobi rotations (Golub and Van Loan, 8.5) in float64. Blocks and float32 gain nothing at this size, and a subspace cut
// at a relative gap of 1e-5 keeps the digits that a float32 reduction would lose.
internal sealed unsafe partial class EigenSymmetric
{
    private const int SmallSize = 32;
    private const int MaxJacobiSweeps = 40;
    private const double JacobiTolerance = 1e-17;         // of the largest entry, which is about 1: far below float32's rounding of the result

    private readonly double[] _smallMatrix = [];
    private readonly double[] _smallVectors = [];

    /// <summary>Diagonal and eigenvectors (rows of _smallVectors) of the scaled matrix.</summary>
    private void RotateSmall()
    {
        int n = _n;
        float* lower = _reducedBuffer.Floats(0);
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                _smallMatrix[(i * n) + j] = lower[((nint)Math.Max(i, j) * _stride) + Math.Min(i, j)];
                _smallVectors[(i * n) + j] = i == j ? 1.0 : 0.0;
            }
        }

        bool rotated = true;
        for (int sweep = 0; rotated; sweep++)
        {
            if (sweep == MaxJacobiSweeps)
            {
                throw new ArithmeticException($"EigenSymmetric: no convergence on a matrix of {n} x {n} in {MaxJacobiSweeps} sweeps; is it finite?");
            }

            rotated = false;
            for (int p = 0; p < n - 1; p++)
            {
                for (int q = p + 1; q < n; q++)
                {
                    if (Math.Abs(_smallMatrix[(p * n) + q]) > JacobiTolerance)
                    {
                        rotated = true;
                        Annihilate(p, q);
                    }
                }
            }
        }

        for (int i = 0; i < n; i++)
        {
            _tridiagonal.Diagonal[i] = _smallMatrix[(i * n) + i];
        }
    }

    /// <summary>One rotation that makes entry (p, q) zero.</summary>
    private void Annihilate(int p, int q)
    {
        int n = _n;
        double[] a = _smallMatrix;
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
        double[] v = _smallVectors;
        for (int k = 0; k < n; k++)
        {
            (v[(p * n) + k], v[(q * n) + k]) = ((c * v[(p * n) + k]) - (s * v[(q * n) + k]), (s * v[(p * n) + k]) + (c * v[(q * n) + k]));
        }
    }

    private void CopySmall(int count, float* vectors)
    {
        for (int i = 0; i < count; i++)
        {
            for (int j = 0; j < _n; j++)
            {
                vectors[(i * _n) + j] = (float)_smallVectors[(_order[i] * _n) + j];
            }
        }
    }
}
