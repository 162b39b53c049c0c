// SPDX-License-Identifier: Apache-2.0
// Operands and results of the step's own products in the N x N form (docs of the form: TrainingStep.Gpu.cs).
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>First operands of the Gram products: v; the texts less their first row; the texts.</summary>
internal struct GramLeft : IGemmOperand
{
    /// <summary>Unit images, then unit texts, N x d each.</summary>
    public ArrayView<float> Unit;
    public int Size;
    public int Columns;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public readonly float Load(int group, int outer, int depth)
    {
        long texts = (long)Size * Columns;
        long own = ((long)outer * Columns) + depth;
        float value = Unit[group == 0 ? own : texts + own];
        return group == 1 ? value - Unit[texts + depth] : value;
    }
}

/// <summary>Second operands of the Gram products: the texts; the texts less their first row; the texts.</summary>
internal struct GramRight : IGemmOperand
{
    public GramLeft Left;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public readonly float Load(int group, int outer, int depth) => Left.Load(group == 1 ? 1 : 2, outer, depth);
}

/// <summary>
/// First operands of the three products with D: D_c for the images' E1, D_c for the texts' E1, and A^T (exact) or D_c^T (stopped).
/// </summary>
internal struct CombineLeft : IGemmOperand
{
    public LogitStatistics Logits;
    public int IsStopped;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly float Load(int group, int outer, int depth)
    {
        float scale = Logits.Scale;
        if (group == 0)
        {
            return Logits.ImageShare(1, outer, depth, scale);
        }

        if (group == 1)
        {
            return Logits.TextShare(1, outer, depth, scale);
        }

        return IsStopped != 0 ? Logits.TextShare(1, depth, outer, scale) : Logits.Cosines[((long)depth * Logits.Size) + outer];
    }
}

/// <summary>Second operands: M; M (exact) or 1/N (stopped); D_c (exact) or A (stopped).</summary>
internal struct CombineRight : IGemmOperand
{
    public LogitStatistics Logits;

    /// <summary>M, N x N.</summary>
    public ArrayView<float> Reconstruction;
    public int IsStopped;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly float Load(int group, int outer, int depth)
    {
        int n = Logits.Size;
        if (group == 2)
        {
            return IsStopped != 0 ? Logits.Cosines[((long)depth * n) + outer] : Logits.TextShare(1, depth, outer, Logits.Scale);
        }

        return group == 1 && IsStopped != 0 ? 1.0f / n : Reconstruction[((long)depth * n) + outer];
    }
}

/// <summary>Stores s (D_g + product) for both E1, and s times the third product.</summary>
internal struct CombineResult : IGemmResult
{
    public LogitStatistics Logits;

    /// <summary>The images' E1, the texts' E1, T; N x N each.</summary>
    public ArrayView<float> Data;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => Logits.Scale;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue)
    {
        float direct = 0.0f;
        if (group == 0)
        {
            direct = Logits.ImageShare(0, row, column, rowValue);
        }

        if (group == 1)
        {
            direct = Logits.TextShare(0, row, column, rowValue);
        }

        Data[((long)group * Logits.Size * Logits.Size) + ((long)row * Logits.Size) + column] = rowValue * (direct + value);
    }
}

/// <summary>First operand of the feature gradients, depth 2 N: (E1, 0) for the images, (E1^T, E2) for the texts.</summary>
internal struct FeatureLeft : IGemmOperand
{
    /// <summary>The images' E1, the texts' E1; N x N each.</summary>
    public ArrayView<float> First;

    /// <summary>E2, N x N.</summary>
    public ArrayView<float> Second;
    public int Size;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public readonly float Load(int group, int outer, int depth)
    {
        int n = Size;
        if (depth >= n)
        {
            return group == 0 ? 0.0f : Second[((long)outer * n) + depth - n];
        }

        return group == 0 ? First[((long)outer * n) + depth] : First[((long)(n + depth) * n) + outer];
    }
}

/// <summary>Second operand of the feature gradients: x for the images; v, then x, for the texts.</summary>
internal struct FeatureRight : IGemmOperand
{
    /// <summary>Unit images, then unit texts, N x d each.</summary>
    public ArrayView<float> Unit;
    public int Size;
    public int Columns;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly float Load(int group, int outer, int depth)
    {
        int row = group == 0 ? Size + (depth % Size) : depth;
        return Unit[((long)row * Columns) + outer];
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

    /// <summary>x x^T, N x N.</summary>
    public ArrayView<float> Gram;
    public ArrayView<float> InverseNorm;
    public ArrayView<float> GradImages;
    public ArrayView<float> GradTexts;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row)
    {
        int n = Left.Size;
        if (group == 0 && row == 0 && Grid.IdxX == 0)
        {
            Summary.Write(Logits);
        }

        double dot = 0.0;
        for (int k = 0; k < n; k++)
        {
            dot += group == 0
                ? (double)Left.Load(0, row, k) * Logits.Cosines[((long)row * n) + k]
                : ((double)Left.Load(1, row, k) * Logits.Cosines[((long)k * n) + row]) + ((double)Left.Load(1, row, n + k) * Gram[((long)row * n) + k]);
        }

        return (float)dot;
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
            GradImages[index] = gradient;
        }
        else
        {
            GradTexts[index] = gradient;
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
    public ArrayView<float> Numbers;

    /// <summary>Explained variance and relative gap as the eigensystem leaves them.</summary>
    public ArrayView<float> Rank;

    /// <summary>Adds up the rows' losses in float64; called by one thread.</summary>
    public readonly void Write(LogitStatistics logits)
    {
        int n = logits.Size;
        double global = 0.0;
        double component = 0.0;
        double gradScale = 0.0;
        for (int i = 0; i < 2 * n; i++)
        {
            global += logits.Loss[i];
            component += logits.Loss[(2 * n) + i];
            gradScale += ((double)logits.GlobalWeight * logits.GradScale[i]) + ((double)logits.Lambda * logits.GradScale[(2 * n) + i]);
        }

        double half = 0.5 / n;
        Numbers[0] = (float)(half * ((logits.GlobalWeight * global) + (logits.Lambda * component)));
        Numbers[1] = logits.GlobalWeight == 0.0f ? 0.0f : (float)(half * global);
        Numbers[2] = (float)(half * component);
        Numbers[3] = (float)(half * gradScale);
        Numbers[4] = Rank[0];
        Numbers[5] = Rank[1];
    }
}

/// <summary>Stores A where the statistics read it, K and x x^T where the eigensystem and the normalisation's backward pass do.</summary>
internal struct GramResult : IGemmResult
{
    public ArrayView<float> Grams;
    public ArrayView<float> Cosines;
    public int Size;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue)
    {
        long index = ((long)row * Size) + column;
        if (group == 0)
        {
            Cosines[index] = value;
        }
        else
        {
            Grams[((long)(group - 1) * Size * Size) + index] = value;
        }
    }
}

/// <summary>Stores twice the product.</summary>
internal struct DoubledResult : IGemmResult
{
    public ArrayView<float> Data;
    public int Size;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue) => Data[((long)row * Size) + column] = 2.0f * value;
}
