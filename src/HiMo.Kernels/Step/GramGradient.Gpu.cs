// SPDX-License-Identifier: Apache-2.0
// The last product of the N x N form, and the step's numbers (docs of the form: TrainingStep.Gram.Gpu.cs).
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>First operand of the feature gradients, depth 2 N: (E1, E2) of the queries, (E1^T, E2) of the keys.</summary>
internal struct FeatureLeft : IGemmOperand
{
    /// <summary>The queries' E1, the keys' E1; N x N each.</summary>
    public BatchView<float> First;

    /// <summary>E2 of the keys, then, where both sides are reconstructed, of the queries; N x N each.</summary>
    public BatchView<float> Second;
    public int Size;

    /// <summary>Sides that are reconstructed.</summary>
    public int Sides;

    /// <summary>The group's E1 and E2, which <see cref="Select"/> has chosen; the host leaves them empty.</summary>
    public ArrayView<float> SelectedFirst;

    /// <inheritdoc cref="SelectedFirst"/>
    public ArrayView<float> SelectedSecond;

    /// <summary>1: E1 is read by its columns.</summary>
    public int IsTransposed;

    /// <summary>1: E2 is not there.</summary>
    public int HasNoSecond;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        long square = (long)Size * Size;
        long first = group == 1 ? square : 0;
        long second = group == 0 & Sides == 2 ? square : 0;
        SelectedFirst = First.Own.SubView(first, First.Own.Length - first);
        SelectedSecond = Second.Own.SubView(second, Second.Own.Length - second);
        IsTransposed = group;
        HasNoSecond = group == 0 & Sides == 1 ? 1 : 0;
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => depth >= Size & HasNoSecond != 0 ? 0.0f : value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isFirst = depth < Size; // no branch around a load
        bool isColumn = isFirst & IsTransposed != 0;
        ArrayView<float> data = isFirst ? SelectedFirst : SelectedSecond;
        return data[MatrixIndex.Of(outer, isColumn ? 1 : Size, isFirst ? depth : depth - Size, isColumn ? Size : 1)];
    }
}

/// <summary>Second operand of the feature gradients: k, then q, for the queries; q, then k, for the keys.</summary>
internal struct FeatureRight : IGemmOperand
{
    /// <summary>Unit queries, then unit keys, N x d each.</summary>
    public BatchView<float> Unit;
    public int Size;
    public int Columns;

    /// <summary>What <see cref="Select"/> was asked for.</summary>
    public int Group;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group) => Group = group;

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        int other = depth < Size ? Size + depth : depth - Size;
        int row = Group == 0 ? other : depth;
        return Unit[MatrixIndex.Of(row, Columns, outer)];
    }
}

/// <summary>Takes the gradient of unit rows back through the normalisation: (g - (g . y) y) / |x|, where g . y comes from <see cref="AlongLines"/>.</summary>
internal struct FeatureGradient : IGemmResult
{
    public FeatureRight Right;

    /// <summary>g . y of the unit queries, then of the unit keys; N each.</summary>
    public BatchView<float> Along;
    public BatchView<float> InverseNorm;
    public BatchView<float> GradQueries;
    public BatchView<float> GradKeys;

    /// <summary>Where the group's elements go; <see cref="SelectResult"/> chooses it, the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => Along[(group * Right.Size) + row];

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        Selected = group == 0 ? GradQueries.Own : GradKeys.Own;
        Right.Unit = Right.Unit.Own;
        InverseNorm = InverseNorm.Own;
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => Right.Unit[MatrixIndex.Of((group * Right.Size) + row, Right.Columns, column)];

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded)
    {
        float gradient = (value - (rowValue * loaded)) * InverseNorm[(group * Right.Size) + row]; // 0 at the clamp, and NaN of what is not finite
        Selected[MatrixIndex.Of(row, Right.Columns, column)] = Clamp(gradient);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Clamp(float value) =>
        value > float.MaxValue ? float.MaxValue : value < -float.MaxValue ? -float.MaxValue : value;
}

/// <summary>Where a step leaves its numbers.</summary>
internal struct StepSummary
{
    public const int Length = 6;

    /// <summary>Loss, global, component, dL/d logitScale, explained variance, relative gap.</summary>
    public BatchView<float> Numbers;

    /// <summary>Explained variance and relative gap as the eigensystem leaves them.</summary>
    public BatchView<float> Rank;

    /// <summary>Adds up the rows' losses in float64; all lanes of a warp call it, and one of them writes.</summary>
    public readonly void Write(LogitStatistics logits, int lane, bool writes)
    {
        int n = logits.Size;
        double global = 0.0;
        double component = 0.0;
        double gradScale = 0.0;
        for (int i = lane; i < 2 * n; i += 2 * Gpu.WarpSize)
        {
            int next = XMath.Min(i + Gpu.WarpSize, (2 * n) - 1);
            double weight = i + Gpu.WarpSize < 2 * n ? 1.0 : 0.0; // no branch around a load, so that both wait together
            global += logits.Loss[i] + (weight * logits.Loss[next]);
            component += logits.Loss[(2 * n) + i] + (weight * logits.Loss[(2 * n) + next]);
            gradScale += ((double)logits.GlobalWeight * (logits.GradScale[i] + (weight * logits.GradScale[next])))
                + ((double)logits.Lambda * (logits.GradScale[(2 * n) + i] + (weight * logits.GradScale[(2 * n) + next])));
        }

        global = GroupSum.Warp(global);
        component = GroupSum.Warp(component);
        gradScale = GroupSum.Warp(gradScale);
        if (writes)
        {
            double half = 0.5 / n;
            Numbers[0] = (float)(half * ((logits.GlobalWeight * global) + (logits.Lambda * component)));
            Numbers[1] = logits.GlobalWeight == 0.0f ? 0.0f : (float)(half * global);
            Numbers[2] = (float)(half * component);
            Numbers[3] = (float)(half * gradScale);
            Numbers[4] = Rank[0];
            Numbers[5] = Rank[1];
        }
    }
}
