// SPDX-License-Identifier: Apache-2.0
// Operands and results of the step's own products in the N x N form (docs of the form: TrainingStep.Gram.Gpu.cs).
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>
/// First operands of the Gram products. Group 0: q; then for each side that is reconstructed, keys first: rows less their first row; then
/// for each: rows.
/// </summary>
internal struct GramLeft : IGemmOperand
{
    /// <summary>Unit queries, then unit keys, N x d each.</summary>
    public BatchView<float> Unit;
    public int Size;
    public int Columns;

    /// <summary>Sides that are reconstructed.</summary>
    public int Sides;

    /// <summary>Number of the product; the group is added to it.</summary>
    public int Product;

    /// <summary>The product's rows, which <see cref="Select"/> has chosen; the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => SelectSide(group, 1);

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Selected[MatrixIndex.Of(outer, Columns, depth)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        float first = Selected[depth];
        return Product > 0 & Product <= Sides ? value - first : value;
    }

    /// <summary>Chooses the keys (side 0) or queries (side 1), given the side of the first product.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SelectSide(int group, int first)
    {
        Product += group;
        int side = Product == 0 ? first : (Product - 1) & (Sides - 1); // 1 or 2 sides
        long start = (1L - side) * Size * Columns;
        Selected = Unit.Own.SubView(start, Unit.Own.Length - start);
    }
}

/// <summary>Second operands of the Gram products: k, then the same as the first.</summary>
internal struct GramRight : IGemmOperand
{
    public GramLeft Left;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => Left.SelectSide(group, 0);

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Left.Load(outer, depth);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => Left.Finish(value, outer, depth);
}

/// <summary>Stores A where the statistics read it, the matrices of the eigensystems, and the plain Gram matrices.</summary>
internal struct GramResult : IGemmResult
{
    public BatchView<float> Cosines;

    /// <summary>K of each side.</summary>
    public BatchView<float> Matrices;

    /// <summary>x x^T of each side.</summary>
    public BatchView<float> Grams;
    public int Size;

    /// <summary>Sides that are reconstructed.</summary>
    public int Sides;

    /// <summary>Added to the group.</summary>
    public int FirstGroup;

    /// <summary>What <see cref="SelectResult"/> has chosen; the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        int product = group + FirstGroup;
        int side = product == 0 ? 0 : (product - 1) & (Sides - 1); // 1 or 2 sides
        ArrayView<float> data = product == 0 ? Cosines.Own : product <= Sides ? Matrices.Own : Grams.Own;
        long start = (long)side * Size * Size;
        Selected = data.SubView(start, data.Length - start);
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) =>
        Selected[MatrixIndex.Of(row, Size, column)] = value;
}

/// <summary>
/// Projections of the sides that are reconstructed, keys first, with their means, and what the cosine option adds; N x N a side where nothing else is
/// said. One side is what its first element is of, so this is also the keys', and <see cref="Side"/> gives the queries'.
/// </summary>
internal struct ReconstructedSide
{
    /// <summary>M = Q + 1 1^T / N.</summary>
    public BatchView<float> Reconstruction;

    /// <summary>M x x^T; empty: not cosine.</summary>
    public BatchView<float> Product;

    /// <summary>R = M x x^T W; empty: not cosine.</summary>
    public BatchView<float> TurnedProduct;

    /// <summary>r, N; empty: 1.</summary>
    public BatchView<float> Scale;

    /// <summary>s g, N; empty: 0.</summary>
    public BatchView<float> Shrink;

    /// <summary>1: the directions are constants.</summary>
    public int IsStopped;
    public int Size;

    /// <summary>A side and what is behind it; on the host.</summary>
    public readonly ReconstructedSide Side(int side)
    {
        long square = (long)side * Size * Size, rows = (long)side * Size;
        return this with
        {
            Reconstruction = Reconstruction.From(square), Product = Product.From(square), TurnedProduct = TurnedProduct.From(square), Scale = Scale.From(rows), Shrink = Shrink.From(rows),
        };
    }
}

/// <summary>
/// First operands of the products with D_c, its row and column divided by the lengths: the row part, the column part, the column part
/// transposed, the row part.
/// </summary>
internal struct CombineLeft : IGemmOperand
{
    public LogitStatistics Logits;

    /// <summary>What <see cref="Select"/> was asked for.</summary>
    public int Group;

    /// <summary>s, which <see cref="Select"/> finds.</summary>
    public float Scale;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group)
    {
        Group = group;
        Scale = Logits.Scale;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Logits.Cosine(1, Row(outer, depth), Column(outer, depth));

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        int row = Row(outer, depth);
        int column = Column(outer, depth);
        float component = Logits.ComponentScale(row, column);
        return component * Logits.Share(1, value * component, row, column, Scale, isOfImages: Group == 0 | Group == 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly int Row(int outer, int depth) => Group == 2 ? depth : outer;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly int Column(int outer, int depth) => Group == 2 ? outer : depth;
}

/// <summary>Second operands: M of the keys; what takes a gradient back to them; V of the keys, V of the queries.</summary>
internal struct CombineRight : IGemmOperand
{
    public ReconstructedSide Keys;

    /// <summary>V of the keys, then, where both sides are reconstructed, of the queries; N x N each.</summary>
    public BatchView<float> Turned;

    /// <summary>What <see cref="Select"/> has chosen; the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <summary>1: every element is 1 / N.</summary>
    public int IsMean;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group)
    {
        long start = group == 3 ? (long)Keys.Size * Keys.Size : 0;
        ArrayView<float> data = group < 2 ? Keys.Reconstruction.Own : Turned.Own;
        Selected = data.SubView(start, data.Length - start);
        IsMean = group == 1 & Keys.IsStopped != 0 ? 1 : 0;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Selected[MatrixIndex.Of(depth, Keys.Size, outer)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => IsMean != 0 ? 1.0f / Keys.Size : value;
}

/// <summary>Stores s (D_g + product) for both E1, or the bare product where the queries' M is still to come, and s times the product for both U.</summary>
internal struct CombineResult : IGemmResult
{
    public LogitStatistics Logits;

    /// <summary>The queries' E1, the keys' E1, U of the keys, U of the queries; N x N each.</summary>
    public BatchView<float> Data;

    /// <summary>Receives the first two products where <see cref="IsBare"/> is 1; N x N each.</summary>
    public BatchView<float> Bare;

    /// <summary>1: the queries' M is still to come.</summary>
    public int IsBare;

    /// <summary>Where the group's elements go; <see cref="SelectResult"/> chooses it, the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => Logits.Scale;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        ArrayView<float> data = group < 2 & IsBare != 0 ? Bare.Own : Data.Own;
        long start = (long)group * Logits.Size * Logits.Size;
        Selected = data.SubView(start, data.Length - start);
        Logits.Cosines = Logits.Cosines.Own;
        Logits.Largest = Logits.Largest.Own;
        Logits.Inverse = Logits.Inverse.Own;
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => Logits.Cosines[MatrixIndex.Of(row, Logits.Size, column)];

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded)
    {
        long index = MatrixIndex.Of(row, Logits.Size, column);
        if (group >= 2)
        {
            Selected[index] = rowValue * value;
        }
        else if (IsBare != 0)
        {
            Selected[index] = value;
        }
        else
        {
            Selected[index] = rowValue * (value + Logits.Share(0, loaded, row, column, rowValue, isOfImages: group == 0));
        }
    }
}
