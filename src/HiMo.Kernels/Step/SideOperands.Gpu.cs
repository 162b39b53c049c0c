// SPDX-License-Identifier: Apache-2.0
// What both sides and the cosine option add to the N x N form, in launches that they share (docs of the form: TrainingStep.Gram.Gpu.cs). Products are counted with both sides'
// first; one side begins behind them, at product 2.
//            crossed   M_k A^T; M_q A; then M x x^T of each side, keys first
//            turned    E1 of the queries, M*_q (D M_k), and of the keys, M_q (D M*_k); then Y of each side, from U - s diag(g) R
//            second    E2 = F W^T - s M* diag(g) M of each side
// A difference is one product of twice the depth, behind the first N with -s diag(g) in its first operand.
using ILGPU;

namespace HiMo.Kernels;

/// <summary>First operands of the crossed products: M of the keys and of the queries, once or twice.</summary>
internal struct CrossedLeft : IGemmOperand
{
    /// <summary>M of each side; N x N each.</summary>
    public BatchView<float> Reconstruction;
    public int Size;

    /// <summary>Sides that are reconstructed.</summary>
    public int Sides;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => Reconstruction = Reconstruction.OwnFrom((long)(group & (Sides - 1)) * Size * Size);

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Reconstruction[MatrixIndex.Of(outer, Size, depth)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>Second operands: A^T; A; x x^T of each side.</summary>
internal struct CrossedRight : IGemmOperand
{
    /// <summary>A.</summary>
    public BatchView<float> Cosines;

    /// <summary>x x^T of each side; N x N each.</summary>
    public BatchView<float> Grams;
    public int Size;

    /// <summary>Number of the first product.</summary>
    public int FirstProduct;

    /// <summary>The group's matrix and how its elements lie, which <see cref="Select"/> finds; the host leaves them empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc cref="Selected"/>
    public int OuterStride;

    /// <inheritdoc cref="Selected"/>
    public int DepthStride;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group)
    {
        int product = FirstProduct + group;
        long start = product < 2 ? 0 : (product - 2L) * Size * Size;
        ArrayView<float> data = product < 2 ? Cosines.Own : Grams.Own;
        Selected = data.SubView(start, data.Length - start);
        OuterStride = product == 0 ? Size : 1;
        DepthStride = product == 0 ? 1 : Size;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Selected[MatrixIndex.Of(outer, OuterStride, depth, DepthStride)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>Stores them where the products of <see cref="ComponentLeft"/> read them: M_q A before M_k A^T; M x x^T.</summary>
internal struct CrossedResult : IGemmResult
{
    /// <summary>M_q A, M_k A^T; N x N each.</summary>
    public BatchView<float> Crossed;

    /// <summary>M x x^T of each side; N x N each.</summary>
    public BatchView<float> Products;
    public int Size;

    /// <summary>Number of the first product.</summary>
    public int FirstProduct;

    /// <summary>Where the group's elements go; <see cref="SelectResult"/> chooses it, the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        int product = FirstProduct + group;
        long start = (product < 2 ? 1L - product : product - 2L) * Size * Size;
        ArrayView<float> data = product < 2 ? Crossed.Own : Products.Own;
        Selected = data.SubView(start, data.Length - start);
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) => Selected[MatrixIndex.Of(row, Size, column)] = value;
}

/// <summary>First operands of the turned products: what takes a gradient back to the queries; M of the queries; W^T of each side, twice.</summary>
internal struct TurnedLeft : IGemmOperand
{
    /// <summary>The queries'.</summary>
    public ReconstructedSide Queries;

    /// <summary>W of each side; N x N each.</summary>
    public BatchView<float> Vectors;

    /// <summary>s g of each side, N each; empty: W^T is there once.</summary>
    public BatchView<float> Shrink;
    public int Size;

    /// <summary>Number of the first product.</summary>
    public int FirstProduct;

    /// <summary>The group's matrix, and whether each of its elements is 1 / N; <see cref="Select"/> finds them, the host leaves them empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc cref="Selected"/>
    public int IsMean;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group)
    {
        int product = FirstProduct + group;
        int side = product < 2 ? 0 : product - 2;
        ArrayView<float> data = product < 2 ? Queries.Reconstruction.Own : Vectors.Own;
        Selected = data.SubView((long)side * Size * Size, data.Length - ((long)side * Size * Size));
        Shrink = Shrink.OwnFrom(Shrink.IsEmpty ? 0 : (long)side * Size);
        IsMean = product == 0 & Queries.IsStopped != 0 ? 1 : 0;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Selected[MatrixIndex.Of(depth < Size ? depth : depth - Size, Size, outer)]; // M is symmetric

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        float element = IsMean != 0 ? 1.0f / Size : value;
        return depth < Size ? element : -Shrink[depth - Size] * element;
    }
}

/// <summary>Second operands: D M_k; D M*_k; U, then R, of each side.</summary>
internal struct TurnedRight : IGemmOperand
{
    /// <summary>D M_k, D M*_k; N x N each.</summary>
    public BatchView<float> Bare;

    /// <summary>U of each side; N x N each.</summary>
    public BatchView<float> Turned;

    /// <summary>R of each side; N x N each; empty: not cosine.</summary>
    public BatchView<float> Shrunk;
    public int Size;

    /// <summary>Number of the first product.</summary>
    public int FirstProduct;

    /// <summary>The group's matrices, which <see cref="Select"/> finds; the host leaves them empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc cref="Selected"/>
    public ArrayView<float> SelectedShrunk;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group)
    {
        int product = FirstProduct + group;
        long start = (product < 2 ? product : product - 2L) * Size * Size;
        ArrayView<float> data = product < 2 ? Bare.Own : Turned.Own;
        ArrayView<float> shrunk = product < 2 | Shrunk.IsEmpty ? data : Shrunk.Own;
        Selected = data.SubView(start, data.Length - start);
        SelectedShrunk = shrunk.SubView(start, shrunk.Length - start);
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isFirst = depth < Size; // no branch around a load
        ArrayView<float> data = isFirst ? Selected : SelectedShrunk;
        return data[MatrixIndex.Of(isFirst ? depth : depth - Size, Size, outer)];
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>Stores both E1, then Y of each side.</summary>
internal struct TurnedResult : IGemmResult
{
    public CombineResult Combined;
    public CoupledResult Coupled;

    /// <summary>Number of the first product.</summary>
    public int FirstProduct;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => Combined.Prepare(group, row);

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        int product = FirstProduct + group;
        Combined.SelectResult(product < 2 ? product : 0);
        Coupled.SelectResult(product < 2 ? 0 : product - 2);
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => Combined.Load(group, row, column);

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded)
    {
        int product = FirstProduct + group;
        if (product < 2)
        {
            Combined.Store(product, row, column, value, rowValue, loaded);
        }
        else
        {
            Coupled.Store(product - 2, row, column, value, rowValue, loaded);
        }
    }
}

/// <summary>First operand of E2 with cosines, depth 2 N, a side a group: F, then -s M* diag(g).</summary>
internal struct SecondLeft : IGemmOperand
{
    /// <summary>F of each side; N x N each.</summary>
    public BatchView<float> Factor;
    public ReconstructedSide Reconstructed;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        long start = (long)group * Reconstructed.Size * Reconstructed.Size;
        Factor = Factor.OwnFrom(start);
        Reconstructed.Reconstruction = Reconstructed.Reconstruction.OwnFrom(start);
        Reconstructed.Shrink = Reconstructed.Shrink.OwnFrom((long)group * Reconstructed.Size);
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isFactor = depth < Reconstructed.Size; // no branch around a load
        ArrayView<float> data = isFactor ? Factor.Data : Reconstructed.Reconstruction.Data;
        return data[MatrixIndex.Of(outer, Reconstructed.Size, isFactor ? depth : depth - Reconstructed.Size)];
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        float back = Reconstructed.IsStopped != 0 ? 1.0f / Reconstructed.Size : value;
        return depth < Reconstructed.Size ? value : -Reconstructed.Shrink[depth - Reconstructed.Size] * back;
    }
}

/// <summary>Second operand: W, then M.</summary>
internal struct SecondRight : IGemmOperand
{
    /// <summary>W of each side; N x N each.</summary>
    public BatchView<float> Vectors;

    /// <summary>M of each side; N x N each.</summary>
    public BatchView<float> Reconstruction;
    public int Size;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        long start = (long)group * Size * Size;
        Vectors = Vectors.OwnFrom(start);
        Reconstruction = Reconstruction.OwnFrom(start);
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isVector = depth < Size; // no branch around a load
        ArrayView<float> data = isVector ? Vectors.Data : Reconstruction.Data;
        return data[MatrixIndex.Of(outer, Size, isVector ? depth : depth - Size)];
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}
