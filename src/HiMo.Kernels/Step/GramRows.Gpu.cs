// SPDX-License-Identifier: Apache-2.0
// Lengths of reconstructed rows in the N x N form, and their share of the gradient.
//            r_j = 1 / |u'_j|,  |u'_j|^2 = (M x x^T M)_jj,      g_j = r_j^2 sum_i D_ij C_ij, C the scaled cosines
// Mapping    a warp a row of a side.  Precision  sums over a warp, lengths in float64.
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Arguments of the kernels; one side.</summary>
internal struct GramRowsArguments
{
    public ReconstructedSide Side;
    public LogitStatistics Logits;

    /// <summary>1: the side is the keys, whose rows are the logits' columns.</summary>
    public int IsKeys;
}

/// <summary>Row kernels of the N x N form.</summary>
internal static class GramRowsGpu
{
    private const double MinSquare = 1.0 / (1 << 22); // below, float32 cannot tell a reconstructed row from zero

    /// <summary>r; a row without a direction gets 0.</summary>
    public static void ScaleKernel(GramRowsArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int row = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        int n = p.Side.Size;
        if (row >= n)
        {
            return; // a whole warp leaves
        }

        double square = 0.0;
        for (int k = lane; k < n; k += Gpu.WarpSize)
        {
            square += (double)p.Side.Product[((long)row * n) + k] * p.Side.Reconstruction[((long)row * n) + k];
        }

        square = GroupSum.Warp(square);
        if (lane == 0)
        {
            p.Side.Scale[row] = square > MinSquare ? (float)(1.0 / XMath.Sqrt(square)) : 0.0f;
        }
    }

    /// <summary>g.</summary>
    public static void ShrinkKernel(GramRowsArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int own = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        int n = p.Side.Size;
        if (own >= n)
        {
            return; // a whole warp leaves
        }

        float scale = p.Logits.Scale;
        float sum = 0.0f;
        for (int k = lane; k < n; k += Gpu.WarpSize)
        {
            int row = p.IsKeys != 0 ? k : own;
            int column = p.IsKeys != 0 ? own : k;
            float share = p.IsKeys != 0 ? p.Logits.TextShare(1, row, column, scale) : p.Logits.ImageShare(1, row, column, scale);
            sum += share * p.Logits.Cosines[((long)(n + row) * n) + column];
        }

        sum = GroupSum.Warp(sum);
        if (lane == 0)
        {
            p.Side.Shrink[own] = p.Side.Scale[own] * p.Side.Scale[own] * sum;
        }
    }
}
