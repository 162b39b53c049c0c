// SPDX-License-Identifier: Apache-2.0
// Lengths of reconstructed rows in the N x N form, their share of the gradient, and what a row's gradient has along the row itself.
//            r_j = 1 / |u'_j|,  |u'_j|^2 = (M x x^T M)_jj,      g_j = r_j^2 sum_i D_ij C_ij, C the scaled cosines
//            g . y = sum_k E1_ik A_ik + sum_k E2_ik (y y^T)_ik for a unit query y; a unit key's likewise, with columns of E1 and A
// Mapping    a warp a row of a side; Grid.Y: sides; for g . y both in Grid.X, and one warp more adds up the losses.
// Precision  lengths and g . y in float64, g_j in float32.
// Determinism  a lane adds every 32nd element, four at a time for g . y, then the lanes by five exchanges: the order follows from N.
// Limits     N up to 3,840, as the eigenproblem's; groups of whole warps, one on OpenCL.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Arguments of the kernels for reconstructed rows.</summary>
internal struct GramRowsArguments
{
    /// <summary>Of each side.</summary>
    public ReconstructedSide Sides;
    public LogitStatistics Logits;
}

/// <summary>Arguments of <see cref="GramRowsGpu.AlongKernel"/>.</summary>
internal struct GramAlongArguments
{
    public FeatureLeft Left;
    public LogitStatistics Logits;
    public StepSummary Summary;

    /// <summary>x x^T of the keys, then, where both sides are reconstructed, of the queries; N x N each.</summary>
    public BatchView<float> Gram;

    /// <summary>Receives g . y of the unit queries, then of the unit keys; N each.</summary>
    public BatchView<float> Along;
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
        int n = p.Sides.Size;
        if (row >= n)
        {
            return; // a whole warp leaves
        }

        long place = ((long)Grid.IdxY * n) + row;
        ArrayView<float> product = p.Sides.Product.OwnFrom(place * n);
        ArrayView<float> reconstruction = p.Sides.Reconstruction.OwnFrom(place * n);
        double square = 0.0;
        for (int k = lane; k < n; k += Gpu.WarpSize)
        {
            square += (double)product[k] * reconstruction[k];
        }

        square = GroupSum.Warp(square);
        if (lane == 0)
        {
            p.Sides.Scale[place] = square > MinSquare ? (float)(1.0 / XMath.Sqrt(square)) : 0.0f;
        }
    }

    /// <summary>g.</summary>
    public static void ShrinkKernel(GramRowsArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int own = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        int n = p.Sides.Size;
        if (own >= n)
        {
            return; // a whole warp leaves
        }

        bool isKeys = Grid.IdxY == 0; // their rows are the logits' columns
        long place = ((long)Grid.IdxY * n) + own;
        float scale = p.Logits.Scale;
        float sum = 0.0f;
        for (int k = lane; k < n; k += Gpu.WarpSize)
        {
            int row = isKeys ? k : own;
            int column = isKeys ? own : k;
            float cosine = p.Logits.Cosine(1, row, column);
            sum += cosine * p.Logits.Share(1, cosine, row, column, scale, isOfImages: !isKeys);
        }

        sum = GroupSum.Warp(sum);
        if (lane == 0)
        {
            p.Sides.Shrink[place] = p.Sides.Scale[place] * p.Sides.Scale[place] * sum;
        }
    }

    /// <summary>g . y of a row a warp; the first warp behind the 2 N rows adds up the losses.</summary>
    public static void AlongKernel(GramAlongArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int line = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        int n = p.Left.Size;
        if (line > 2 * n)
        {
            return; // a whole warp leaves
        }

        if (line == 2 * n)
        {
            p.Summary.Write(p.Logits, lane);
            return; // a whole warp leaves
        }

        int group = line < n ? 0 : 1;
        FeatureLeft left = p.Left;
        left.Select(group);
        double sum = 0.0;
        for (int k = lane; k < n; k += 4 * Gpu.WarpSize)
        {
            sum += Along(p, left, group, line, k) + Along(p, left, group, line, k + Gpu.WarpSize)
                + (Along(p, left, group, line, k + (2 * Gpu.WarpSize)) + Along(p, left, group, line, k + (3 * Gpu.WarpSize)));
        }

        sum = GroupSum.Warp(sum);
        if (lane == 0)
        {
            p.Along[line] = (float)sum;
        }
    }

    // One step of g . y, 0 behind the end; no branch around a load, so that four steps wait together.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Along(GramAlongArguments p, FeatureLeft left, int group, int line, int step)
    {
        int n = left.Size;
        int row = line - (group * n);
        int k = XMath.Min(step, n - 1);
        int side = p.Left.Sides == 2 ? 1 - group : 0;
        double first = left.Load(row, k);
        double second = left.Finish(left.Load(row, n + k), row, n + k);
        double cosine = p.Logits.Cosine(0, group == 0 ? row : k, group == 0 ? k : row);
        double gram = p.Gram[MatrixIndex.Of((side * n) + row, n, k)];
        double product = (first * cosine) + (second * gram);
        return step < n ? product : 0.0;
    }
}
