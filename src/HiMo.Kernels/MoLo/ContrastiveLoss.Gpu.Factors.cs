// SPDX-License-Identifier: Apache-2.0
// InfoNCE on factors, the structures of both passes (forward: ContrastiveLoss.Gpu.Statistics.cs, backward: ContrastiveLoss.Gpu.Gradient.cs;
// words of ILGPU: at the head of the former).
//            D_ij = w_r [R_ij - (1-eps) 1_t - eps/N] + w_c [T_ij - (1-eps) 1_t - eps/B],   R, T: softmax along rows, along columns
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Q or K of the branches; group 0 is the first branch, later ones are the second. Outer index: row of Q or K; depth: their column.</summary>
internal struct FactorOperand : IGemmOperand
{
    public ArrayView<float> First;
    public ArrayView<float> Second;

    /// <summary>Multiplies the rows of <see cref="First"/>; empty: 1.</summary>
    public ArrayView<float> FirstScale;

    /// <summary>Multiplies the rows of <see cref="Second"/>; empty: 1.</summary>
    public ArrayView<float> SecondScale;

    /// <summary>Elements from one row to the next.</summary>
    public int FirstPitch;

    /// <inheritdoc cref="FirstPitch"/>
    public int SecondPitch;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        First = group == 0 ? First : Second;
        FirstScale = group == 0 ? FirstScale : SecondScale;
        FirstPitch = group == 0 ? FirstPitch : SecondPitch;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => First[MatrixIndex.Of(outer, FirstPitch, depth)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        if (FirstScale.Length > 0)
        {
            value *= FirstScale[outer];
        }

        return value;
    }
}

/// <summary>Rows of Q, which are not scaled, from one on.</summary>
internal struct ShiftedFactorOperand : IGemmOperand
{
    public FactorOperand Factors;
    public int FirstRow;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => Factors.Select(group);

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Factors.Load(FirstRow + outer, depth);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>The same matrices with row and column exchanged.</summary>
internal struct TransposedFactorOperand : IGemmOperand
{
    public FactorOperand Factors;

    /// <summary>Added to the depth, the row of the factors.</summary>
    public int FirstRow;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group) => Factors.Select(group);

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Factors.Load(FirstRow + depth, outer);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => Factors.Finish(value, FirstRow + depth, outer);
}

/// <summary>What the forward pass leaves for the backward one, and the weights; every array a branch after the other.</summary>
internal struct BranchStatistics
{
    /// <summary>M with the target: of each row, then of each column.</summary>
    public ArrayView<float> Largest;

    /// <summary>1 / sum exp(S - M).</summary>
    public ArrayView<float> Inverse;

    /// <summary>1 - R_it, the share of all but the target.</summary>
    public ArrayView<float> Miss;

    /// <summary>logsumexp - target; the label smoothing's eps (target - mean S) comes from <see cref="Target"/> and <see cref="Total"/> in StepSummary.Gpu.cs.</summary>
    public ArrayView<float> Loss;

    /// <summary>sum_j R_ij S_ij - target.</summary>
    public ArrayView<float> GradScale;

    /// <summary>sum_j S_ij; in bf16 on warpgroup instructions only the sum of all of them over the rows is defined.</summary>
    public ArrayView<float> Total;

    /// <summary>S_i,t(i), B a branch.</summary>
    public ArrayView<float> Target;

    /// <summary>ln s, one element.</summary>
    public ArrayView<float> LogitScale;

    /// <summary>B.</summary>
    public int Rows;

    /// <summary>N.</summary>
    public int Columns;

    /// <summary>t(0).</summary>
    public int TargetOffset;

    /// <summary>eps.</summary>
    public float LabelSmoothing;

    /// <summary>Weight of the branch with group 0, over 2 B.</summary>
    public float FirstWeight;

    /// <summary>Weight of the branch with group 1, over 2 B.</summary>
    public float SecondWeight;

    /// <summary>1 if the column direction counts, else 0.</summary>
    public int HasColumns;

    /// <summary>Rows and columns.</summary>
    public readonly int Lines => Rows + Columns;

    /// <summary>s.</summary>
    public readonly float Scale => XMath.Exp(LogitScale[0]);

    /// <summary>w_r.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float RowWeight(int branch) => branch == 0 ? FirstWeight : SecondWeight;

    /// <summary>w_c.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float ColumnWeight(int branch) => HasColumns * RowWeight(branch);

    /// <summary>The row part of D_ij.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float RowPart(int branch, int row, int column, float logit) =>
        RowWeight(branch) * Share(((long)branch * Lines) + row, column == row + TargetOffset, logit, Columns);

    /// <summary>The column part of D_ij.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float ColumnPart(int branch, int row, int column, float logit)
    {
        float part = 0.0f;
        if (HasColumns != 0)
        {
            part = RowWeight(branch) * Share(((long)branch * Lines) + Rows + column, column == row + TargetOffset, logit, Rows);
        }

        return part;
    }

    // softmax - (1-eps) 1_t - eps/count; at the target from the share of the others, without cancellation
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly float Share(long line, bool isTarget, float logit, int count)
    {
        float share = LogitStatistics.Exp(logit - Largest[line]) * Inverse[line];
        share = isTarget ? LabelSmoothing - Miss[line] : share;
        return share - (LabelSmoothing / count);
    }
}

/// <summary>Arguments of the forward pass.</summary>
internal struct LogitPass
{
    public FactorOperand Queries;
    public FactorOperand Keys;
    public BranchStatistics Branches;

    /// <summary>w of each branch.</summary>
    public DeviceLimit Depths;

    /// <summary>Running numbers of every branch, region and line.</summary>
    public ArrayView<LineStatistics> Partial;

    /// <summary>Rows of a region, a multiple of the tile.</summary>
    public int RegionRows;

    /// <summary>Columns of a region, a multiple of the tile.</summary>
    public int RegionColumns;

    /// <summary>Regions down the rows.</summary>
    public int RowRegions;

    /// <summary>Regions along the columns.</summary>
    public int ColumnRegions;

    /// <summary>The same with as many regions of whole tiles as the sizes need.</summary>
    public readonly LogitPass WithRegions(int tile)
    {
        LogitPass pass = this;
        pass.RegionRows = Size(Branches.Rows);
        pass.RegionColumns = Size(Branches.Columns);
        pass.RowRegions = CeilDiv(Branches.Rows, pass.RegionRows);
        pass.ColumnRegions = CeilDiv(Branches.Columns, pass.RegionColumns);
        return pass;

        int Size(int lines) => CeilDiv(CeilDiv(lines, tile), LogitPassGpu.Splits) * tile;

        static int CeilDiv(int count, int size) => (count + size - 1) / size;
    }

    /// <summary>Where a line's numbers of one region are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long PartialIndex(int branch, int region, int line) => ((((long)branch * LogitPassGpu.Splits) + region) * Branches.Lines) + line;
}
