// SPDX-License-Identifier: Apache-2.0
// The products of the N x N form behind the projections: component cosines, and what the gradient needs of the other branch in the basis' coordinates
// (docs of the form: TrainingStep.Gram.Gpu.cs). Group 0: M_q A M_k; then for each side that is reconstructed, keys first: V; x x^T W; and, with cosines, R.
using ILGPU;

namespace HiMo.Kernels;

/// <summary>First operands: M_q A; M_q A, and of the queries M_k A^T; x x^T of each side; M x x^T of each side.</summary>
internal struct ComponentLeft : IGemmOperand
{
    /// <summary>M_q A and, where both sides are reconstructed, M_k A^T; N x N each.</summary>
    public BatchView<float> Crossed;

    /// <summary>x x^T of each side; N x N each.</summary>
    public BatchView<float> Grams;

    /// <summary>M x x^T of each side; N x N each; empty: not cosine.</summary>
    public BatchView<float> Products;
    public int Size;

    /// <summary>Sides that are reconstructed.</summary>
    public int Sides;

    /// <summary>What <see cref="Select"/> has chosen; the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        int side = group == 0 ? 0 : (group - 1) & (Sides - 1); // 1 or 2 sides
        ArrayView<float> data = group <= Sides ? Crossed.Own : group <= 2 * Sides ? Grams.Own : Products.Own;
        long start = (long)side * Size * Size;
        Selected = data.SubView(start, data.Length - start);
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Selected[MatrixIndex.Of(outer, Size, depth)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>Second operands: M_k; then W of each side, twice or three times.</summary>
internal struct ComponentRight : IGemmOperand
{
    /// <summary>M of the keys, N x N.</summary>
    public BatchView<float> Keys;

    /// <summary>W of each side; N x N each.</summary>
    public BatchView<float> Vectors;
    public int Size;

    /// <summary>Sides that are reconstructed.</summary>
    public int Sides;

    /// <summary>What <see cref="Select"/> has chosen; the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group)
    {
        int side = group == 0 ? 0 : (group - 1) & (Sides - 1); // 1 or 2 sides
        ArrayView<float> data = group == 0 ? Keys.Own : Vectors.Own;
        long start = (long)side * Size * Size;
        Selected = data.SubView(start, data.Length - start);
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Selected[MatrixIndex.Of(depth, Size, outer)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>Stores the component cosines, before their rows and columns are divided by lengths; V, x x^T W and R of each side.</summary>
internal struct ComponentResult : IGemmResult
{
    public BatchView<float> Cosines;

    /// <summary>V of each side, then x x^T W of each, then R of each; N x N each.</summary>
    public BatchView<float> Turned;
    public int Size;

    /// <summary>Where the group's elements go; <see cref="SelectResult"/> chooses it, the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        long start = group == 0 ? 0 : (group - 1L) * Size * Size;
        ArrayView<float> data = group == 0 ? Cosines.Own : Turned.Own;
        Selected = data.SubView(start, data.Length - start);
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) => Selected[MatrixIndex.Of(row, Size, column)] = value;
}
