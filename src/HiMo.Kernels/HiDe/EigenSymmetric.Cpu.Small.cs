// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Small matrices: Jacobi rotations in float64. Blocks and float32 gain nothing at this size, and a subspace cut at a relative gap of 1e-5
// keeps the digits that a float32 reduction would lose.
internal sealed unsafe partial class EigenSymmetric
{
    private const int SmallSize = 32;

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
            }
        }

        JacobiRotationsCpu.Diagonalize(_smallMatrix, _smallVectors, n);
        for (int i = 0; i < n; i++)
        {
            _tridiagonal.Diagonal[i] = _smallMatrix[(i * n) + i];
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
