// SPDX-License-Identifier: Apache-2.0
// Columns less their means, in place:  X = H X,  H = I - 1 1^T / N.
// Shapes     X: n x columns, row-major.
// Mapping    a thread a column, so neighbouring threads read neighbouring addresses; two passes, the second from cache.
// Precision  float64 sums.
// Determinism  in the order of the rows.
// Limits     one thread goes down all rows, one after the other: for matrices of the eigenproblem, n up to 3,840, not for batches of any N.
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Arguments of <see cref="BatchMeanGpu.CenterKernel"/>.</summary>
internal struct CenterArguments
{
    public BatchView<float> Data;
    public int Rows;
    public int Columns;
}

/// <summary>Column means on the GPU.</summary>
internal static class BatchMeanGpu
{
    /// <summary>One column a thread.</summary>
    public static void CenterKernel(CenterArguments p)
    {
        int column = (Grid.IdxX * Group.DimX) + Group.IdxX;
        if (column >= p.Columns)
        {
            return;
        }

        double sum = 0.0;
        for (int i = 0; i < p.Rows; i++)
        {
            sum += p.Data[((long)i * p.Columns) + column];
        }

        float mean = (float)(sum / p.Rows);
        for (int i = 0; i < p.Rows; i++)
        {
            p.Data[((long)i * p.Columns) + column] -= mean;
        }
    }
}
