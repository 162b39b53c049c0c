// SPDX-License-Identifier: Apache-2.0
// Columns less their means, divided by the kept eigenvalues, in place:  X = H (X - diag(g) R)_m Lambda_m^{-1},  H = I - 1 1^T / n;  dropped columns become 0.
// Shapes     X: n x n, row-major.
// Mapping    Grid.Y: sides; a warp a column, whose neighbours read the other words of its sectors; two passes, the second from cache.
// Precision  float64 sums.
// Determinism  as LineSum: the order follows from n.
// Limits     for matrices of the eigenproblem, n up to 3,840: every load of a lane is a sector of its own.
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
    /// <summary>One column a warp.</summary>
    public static void CenterKernel(CenterArguments p)
    {
        int column = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        int side = Grid.IdxY;
        int n = p.Decomposition.Size;
        if (column >= n)
        {
            return; // a whole warp leaves
        }

        p.Decomposition.Select(side);
        long start = ((long)side * n * n) + column;
        ShrunkColumn data = new() { Data = p.Data.OwnFrom(start), Shrunk = p.Data.OwnFrom(start), Shrink = p.Data.OwnFrom(start), Step = n };
        if (!p.Shrink.IsEmpty)
        {
            data.Shrunk = p.Shrunk.OwnFrom(start);
            data.Shrink = p.Shrink.OwnFrom((long)side * n);
            data.IsLess = 1;
        }

        double mean = LineSum.Of(data, n) / n;
        float inverse = p.Decomposition.KeptInverse(column);
        for (int i = Group.IdxX % Gpu.WarpSize; i < n; i += Gpu.WarpSize)
        {
            data.Data[(long)i * n] = (float)(data.At(i) - mean) * inverse;
        }
    }
}

/// <summary>A column of X - diag(g) R.</summary>
internal struct ShrunkColumn : ILineTerm
{
    /// <summary>From X's first element on.</summary>
    public ArrayView<float> Data;

    /// <summary>From R's first element on.</summary>
    public ArrayView<float> Shrunk;

    /// <summary>g.</summary>
    public ArrayView<float> Shrink;

    /// <summary>From one row to the next.</summary>
    public int Step;

    /// <summary>0: there is no R, and what is read in its place is left.</summary>
    public int IsLess;

    /// <inheritdoc/>
    public readonly double At(int place)
    {
        double value = Data[(long)place * Step];
        double less = (double)Shrink[IsLess != 0 ? place : 0] * Shrunk[(long)place * Step];
        return IsLess != 0 ? value - less : value;
    }
}
