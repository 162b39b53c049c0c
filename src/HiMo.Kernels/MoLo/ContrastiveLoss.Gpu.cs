// SPDX-License-Identifier: Apache-2.0
// InfoNCE of both branches on N x N cosines that are in memory (the N <= d form).   L = 1/2 [mean_i CE_row(i) + mean_j CE_col(j)]
//            S = s C, or of the component branch with cosines s diag(r_q) B diag(r_k)
//            CE_row(i) = logsumexp_j S_ij - (1-eps) S_ii - (eps/N) sum_j S_ij        HiMo-CLIP, equations 2 and 3
//            D_ij = 1/(2N) [ R_ij + T_ij - 2 ((1-eps) I + eps/N) ]
// Words      of ILGPU: at the head of ContrastiveLoss.Gpu.Statistics.cs.
// Shapes     C: N x N, the global branch's A, then the component branch's B.
// Mapping    a warp a row or column: 4 N warps, in the order rows of A, columns of A, rows of B, columns of B.
// Precision  everything relative to the row's largest logit, so that nothing large cancels; exponentials of base 2; float32 sums of N terms, the N terms
//            of the loss in float64.
// Determinism  a lane adds every 32nd element in order, then the lanes by five exchanges: the order follows from N.
// Limits     N up to 3,840, as the eigenproblem's: A and B are in memory, and columns are read at a stride of N, which only the second-level cache makes good.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>The cosines of both branches with what the softmax over their rows and columns needs.</summary>
internal struct LogitStatistics
{
    /// <summary>log2 e.</summary>
    public const float Log2E = 1.44269504f;

    /// <summary>A, then B; N x N each.</summary>
    public BatchView<float> Cosines;

    /// <summary>r of the rows of B, what each is multiplied by; empty: 1.</summary>
    public BatchView<float> RowScale;

    /// <summary>r of its columns; empty: 1.</summary>
    public BatchView<float> ColumnScale;

    /// <summary>Largest logit of each row of A, column of A, row of B, column of B.</summary>
    public BatchView<float> Largest;

    /// <summary>1 / sum exp(S - largest), in the same order.</summary>
    public BatchView<float> Inverse;

    /// <summary>Cross entropy of each, in the same order.</summary>
    public BatchView<float> Loss;

    /// <summary>sum_j (R_ij - (1-eps) I_ij - eps/N) S_ij, 2 N times the line's own half of sum_j D_ij S_ij, in the same order.</summary>
    public BatchView<float> GradScale;

    /// <summary>Logit scale in log domain, one element.</summary>
    public BatchView<float> LogitScale;

    /// <summary>N.</summary>
    public int Size;

    /// <summary>1 / N: divisions take most of the time where D is made on the fly.</summary>
    public float InverseSize;

    /// <summary>eps.</summary>
    public float LabelSmoothing;

    /// <summary>Weight of the global branch.</summary>
    public float GlobalWeight;

    /// <summary>Weight of the component branch.</summary>
    public float Lambda;

    /// <summary>Both operands of a product get gradient.</summary>
    public int GatherWithGrad;

    /// <summary>s.</summary>
    public readonly float Scale => XMath.Exp(LogitScale[0]);

    /// <summary>exp(x) for x of 0 or less.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Exp(float x) => Exp2.Approximate(x * Log2E);

    /// <summary>C_ij of a branch, of the component branch without r.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Cosine(int branch, int row, int column) => Cosines[MatrixIndex.Of((branch * Size) + row, Size, column)];

    /// <summary>What an element of B is multiplied by.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float ComponentScale(int row, int column) => ScaleOf(RowScale, row) * ScaleOf(ColumnScale, column);

    /// <summary>r, without a branch around the load: where there is none, it falls on A, which an earlier launch has written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float ScaleOf(BatchView<float> scale, int index)
    {
        ArrayView<float> data = scale.IsEmpty ? Cosines.Own : scale.Own;
        float value = data[index];
        return scale.IsEmpty ? 1.0f : value;
    }

    /// <summary>
    /// D_ij of a branch, given C_ij with everything it is multiplied by, as it reaches the images (the row half, and the column half with <see cref="GatherWithGrad"/>) or the texts (the
    /// column half, and the row half with it).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Share(int branch, float cosine, int row, int column, float scale, bool isOfImages)
    {
        float logit = Rounding.Product(scale, cosine);
        int rows = 2 * branch * Size;
        int columns = rows + Size;
        float target = ((row == column ? 1.0f : 0.0f) * (1.0f - LabelSmoothing)) + (LabelSmoothing * InverseSize);
        float softmaxRow = Exp(logit - Largest[rows + row]) * Inverse[rows + row];
        float softmaxColumn = Exp(logit - Largest[columns + column]) * Inverse[columns + column];
        float weight = branch == 0 ? GlobalWeight : Lambda;
        float rowHalf = isOfImages ? 1.0f : GatherWithGrad;
        float columnHalf = isOfImages ? GatherWithGrad : 1.0f;
        return weight * 0.5f * InverseSize * ((rowHalf * (softmaxRow - target)) + (columnHalf * (softmaxColumn - target)));
    }
}

/// <summary>A row or column of logits.</summary>
internal struct LogitLine
{
    /// <summary>From the line's first element on.</summary>
    public ArrayView<float> Cosines;

    /// <summary>From one element to the next.</summary>
    public int Step;

    /// <summary>s.</summary>
    public float Scale;

    /// <summary>r of the line.</summary>
    public float OwnScale;

    /// <summary>r of the lines that it meets; empty: 1.</summary>
    public ArrayView<float> OtherScales;

    /// <summary>The logit at a place; no branch around a load.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Logit(int place)
    {
        bool isScaled = OtherScales.Length > 0;
        ArrayView<float> scales = isScaled ? OtherScales : Cosines;
        float cosine = Cosines[(long)place * Step];
        float other = scales[isScaled ? place : 0];
        return Rounding.Product(Scale, cosine * (OwnScale * (isScaled ? other : 1.0f)));
    }
}

/// <summary>The pass over the logits on the GPU.</summary>
internal static class ContrastiveLossGpu
{
    /// <summary>One row or column a warp.</summary>
    public static void Kernel(LogitStatistics p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int task = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        int n = p.Size;
        if (task >= 4 * n)
        {
            return; // a whole warp leaves
        }

        int own = task % n;
        bool isRow = task / n % 2 == 0;
        long start = ((long)(task / (2 * n)) * n * n) + (isRow ? (long)own * n : own);
        LogitLine line = new()
        {
            Cosines = p.Cosines.OwnFrom(start), Step = isRow ? 1 : n, Scale = p.Scale, OwnScale = 1.0f, OtherScales = isRow ? p.ColumnScale.Own : p.RowScale.Own,
        };
        if (task < 2 * n)
        {
            line.OtherScales = default;
        }
        else
        {
            line.OwnScale = isRow ? p.ScaleOf(p.RowScale, own) : p.ScaleOf(p.ColumnScale, own);
        }

        float largest = float.NegativeInfinity;
        for (int j = lane; j < n; j += Gpu.WarpSize)
        {
            largest = XMath.Max(largest, line.Logit(j));
        }

        largest = XMath.Max(largest, WarpLanes.Xor(largest, 16));
        largest = XMath.Max(largest, WarpLanes.Xor(largest, 8));
        largest = XMath.Max(largest, WarpLanes.Xor(largest, 4));
        largest = XMath.Max(largest, WarpLanes.Xor(largest, 2));
        largest = XMath.Max(largest, WarpLanes.Xor(largest, 1));
        float expSum = 0.0f;
        float weighted = 0.0f;
        float below = 0.0f; // sum of M - S_ij: what the label smoothing needs, without cancellation
        for (int j = lane; j < n; j += Gpu.WarpSize)
        {
            float relative = line.Logit(j) - largest;
            float exponential = LogitStatistics.Exp(relative);
            expSum += exponential;
            weighted += exponential == 0.0f ? 0.0f : exponential * relative;
            below -= relative;
        }

        expSum = GroupSum.Warp(expSum);
        weighted = GroupSum.Warp(weighted);
        below = GroupSum.Warp(below);
        if (lane == 0)
        {
            float target = largest - line.Logit(own);
            float smoothed = ((1.0f - p.LabelSmoothing) * target) + (p.LabelSmoothing / n * below);
            p.Largest[task] = largest;
            p.Inverse[task] = 1.0f / expSum;
            p.Loss[task] = XMath.Log(expSum) + smoothed;
            p.GradScale[task] = (weighted / expSum) + smoothed;
        }
    }
}
