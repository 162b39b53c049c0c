// SPDX-License-Identifier: Apache-2.0
// The last product of the N x N form, and the step's numbers (docs of the form: TrainingStep.Gram.Gpu.cs).
using System.Runtime.CompilerServices;
using ILGPU;

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

    /// <summary>What <see cref="Select"/> was asked for.</summary>
    public int Group;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => Group = group;

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isFirst = depth < Size;
        int across = isFirst ? depth : depth - Size;
        bool isTransposed = isFirst & Group == 1; // no branch around a load
        bool isLower = isTransposed | (!isFirst & Group == 0 & Sides == 2);
        int row = (isLower ? Size : 0) + (isTransposed ? across : outer);
        int column = isTransposed ? outer : across;
        BatchView<float> data = isFirst ? First : Second;
        float value = data[MatrixIndex.Of(row, Size, column)];
        return isFirst | Group == 1 | Sides == 2 ? value : 0.0f;
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

/// <summary>
/// Takes the gradient of unit rows back through the normalisation: (g - (g . y) y) / |x|, where g . y comes from N x N matrices. The
/// first row's group also adds up the losses.
/// </summary>
internal struct FeatureGradient : IGemmResult
{
    public FeatureLeft Left;
    public FeatureRight Right;
    public LogitStatistics Logits;
    public StepSummary Summary;

    /// <summary>x x^T of the keys, then, where both sides are reconstructed, of the queries; N x N each.</summary>
    public BatchView<float> Gram;
    public BatchView<float> InverseNorm;
    public BatchView<float> GradQueries;
    public BatchView<float> GradKeys;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row)
    {
        int n = Left.Size;
        if (group == 0 && Grid.IdxX == 0)
        {
            Summary.Write(Logits, row);
        }

        FeatureLeft left = Left;
        left.Select(group);
        double dot = 0.0;
        bool hasSecond = group == 1 | Left.Sides == 2;
        for (int k = 0; k < n; k += 4)
        {
            dot += Product(left, row, k, n, hasSecond) + Product(left, row, k + 1, n, hasSecond)
                + (Product(left, row, k + 2, n, hasSecond) + Product(left, row, k + 3, n, hasSecond));
        }

        return (float)dot;
    }

    // One step of g . y, 0 behind the end; no branch around a load, so that four steps wait together.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly double Product(FeatureLeft left, int row, int step, int n, bool hasSecond)
    {
        int k = step < n ? step : n - 1;
        double first = left.Load(row, k);
        double second = left.Load(row, n + k);
        double cosine = Logits.Cosines[left.Group == 0 ? MatrixIndex.Of(row, n, k) : MatrixIndex.Of(k, n, row)];
        double gram = Gram[MatrixIndex.Of((hasSecond ? (1 - left.Group) * n : 0) + row, n, k)];
        double product = (first * cosine) + (hasSecond ? second * gram : 0.0);
        return step < n ? product : 0.0;
    }

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue)
    {
        int n = Left.Size;
        float unit = Right.Unit[((long)((group * n) + row) * Right.Columns) + column];
        float inverse = InverseNorm[(group * n) + row];
        float gradient = inverse == 0.0f ? 0.0f : (value - (rowValue * unit)) * inverse;
        gradient = Clamp(gradient);
        long index = ((long)row * Right.Columns) + column;
        if (group == 0)
        {
            GradQueries[index] = gradient;
        }
        else
        {
            GradKeys[index] = gradient;
        }
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

    /// <summary>
    /// Adds up the rows' losses in float64. Called for every row by a thread of its own; those of the first warp share the work where there are enough.
    /// </summary>
    public readonly void Write(LogitStatistics logits, int row)
    {
        int n = logits.Size;
        int threads = GroupSum.WarpsMayPart && n >= Gpu.WarpSize ? Gpu.WarpSize : 1;
        if (row >= threads)
        {
            return; // a whole warp leaves
        }

        double global = 0.0;
        double component = 0.0;
        double gradScale = 0.0;
        for (int i = row; i < 2 * n; i += threads)
        {
            global += logits.Loss[i];
            component += logits.Loss[(2 * n) + i];
            gradScale += ((double)logits.GlobalWeight * logits.GradScale[i]) + ((double)logits.Lambda * logits.GradScale[(2 * n) + i]);
        }

        if (threads > 1)
        {
            global = GroupSum.Warp(global);
            component = GroupSum.Warp(component);
            gradScale = GroupSum.Warp(gradScale);
        }

        if (row == 0)
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
