// SPDX-License-Identifier: Apache-2.0
// Columns less their means, divided by the kept eigenvalues, in place:  X = H (X - diag(g) R)_m Lambda_m^{-1},  H = I - 1 1^T / n;  dropped columns become 0.
// Shapes     X: n x n, row-major.
// Mapping    Grid.Y: sides; a thread a column, so neighbouring threads read neighbouring addresses; two passes, the second from cache.
// Precision  float64 sums.
// Determinism  in the order of the rows.
// Limits     one thread goes down all rows, one after the other: for matrices of the eigenproblem, n up to 3,840, not for batches of any N.
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Arguments of <see cref="BatchMeanGpu.CenterKernel"/>.</summary>
internal struct CenterArguments
{
    /// <summary>X of each side; n x n each.</summary>
    public BatchView<float> Data;
    public Decomposition Decomposition;

    /// <summary>g of each side, n each; empty: 0.</summary>
    public BatchView<float> Shrink;

    /// <summary>R of each side, n x n each; empty with g.</summary>
    public BatchView<float> Shrunk;
}

/// <summary>Column means on the GPU.</summary>
internal static class BatchMeanGpu
{
    /// <summary>One column a thread.</summary>
    public static void CenterKernel(CenterArguments p)
    {
        int column = (Grid.IdxX * Group.DimX) + Group.IdxX;
        int side = Grid.IdxY;
        int n = p.Decomposition.Size;
        if (column >= n)
        {
            return;
        }

        ArrayView<float> data = p.Data.OwnFrom((long)side * n * n);
        p.Decomposition.Select(side);
        if (!p.Shrink.IsEmpty)
        {
            ArrayView<float> shrunk = p.Shrunk.OwnFrom((long)side * n * n);
            for (int i = 0; i < n; i++)
            {
                data[((long)i * n) + column] -= p.Shrink[(side * n) + i] * shrunk[((long)i * n) + column];
            }
        }

        double sum = 0.0;
        for (int i = 0; i < n; i++)
        {
            sum += data[((long)i * n) + column];
        }

        float mean = (float)(sum / n);
        float inverse = p.Decomposition.KeptInverse(column);
        for (int i = 0; i < n; i++)
        {
            float centred = data[((long)i * n) + column] - mean;
            data[((long)i * n) + column] = centred * inverse;
        }
    }
}
