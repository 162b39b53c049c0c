// SPDX-License-Identifier: Apache-2.0
// What the products of the N x N form read and store besides plain matrices.
//            Q = W_m W_m^T,  M = Q + 1 1^T / N                       u' = M x       HiMo-CLIP (arXiv:2511.06653), equation 1
//            exact:    2 Z_ij = (Sh_ij + Sh_ji) / (lambda_i - lambda_j) for i <= m < j or j <= m < i, else 0
//            stopped:  W_m Lambda_m^{-1}, rows of P that are not defined left out
// Precision  a pair closer than 1e-6 lambda_1, or a kept lambda below it, contributes nothing: the direction is held constant there.
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Decomposition of one batch, in device memory.</summary>
internal struct Decomposition
{
    private const float RelativeFloor = 1e-6f;

    /// <summary>lambda, n; of all sides until <see cref="Select"/> has chosen one, as what follows.</summary>
    public BatchView<float> Values;

    /// <summary>W, element (j, i) is component j of vector i; n x n.</summary>
    public BatchView<float> Vectors;

    /// <summary>m, one element.</summary>
    public BatchView<int> Kept;

    /// <summary>n.</summary>
    public int Size;

    /// <summary>The smallest lambda whose vector has a row of P.</summary>
    public readonly float Floor
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => RelativeFloor * Values[0];
    }

    /// <summary>Finds the batch's arrays of a side once; in a kernel.</summary>
    public void Select(int side)
    {
        Values = Values.OwnFrom((long)side * Size);
        Vectors = Vectors.OwnFrom((long)side * Size * Size);
        Kept = Kept.OwnFrom(side);
    }

    /// <summary>Whether vector i is kept and has a row of P.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly bool IsDefined(int i) => i < Kept[0] & Values[i] > Floor;

    /// <summary>1 / lambda_i where vector i is kept and has a row of P, else 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float KeptInverse(int i) => IsDefined(i) ? 1.0f / Values[i] : 0.0f;

    /// <summary>1 / (lambda_i - lambda_j) for a kept and a dropped vector, the kept one first; else 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Coupling(int i, int j)
    {
        int first = i < j ? i : j;
        int last = i < j ? j : i;
        float difference = Values[first] - Values[last];
        bool isAcross = first < Kept[0] && last >= Kept[0] && difference > Floor;
        return isAcross ? 1.0f / difference : 0.0f;
    }
}

/// <summary>First operands of M, a side a group: W with the dropped vectors zero; then of x x^T W: x x^T.</summary>
internal struct ReconstructionLeft : IGemmOperand
{
    /// <summary>Of all sides.</summary>
    public Decomposition Decomposition;

    /// <summary>x x^T of each side; n x n each.</summary>
    public BatchView<float> Grams;

    /// <summary>1 or 2.</summary>
    public int Sides;

    /// <summary>The group's matrix and its columns that count, which <see cref="Select"/> finds; the host leaves them empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc cref="Selected"/>
    public int Limit;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        int side = group & (Sides - 1);
        long start = (long)side * Decomposition.Size * Decomposition.Size;
        ArrayView<float> data = group < Sides ? Decomposition.Vectors.Own : Grams.Own;
        Selected = data.SubView(start, data.Length - start);
        Limit = group < Sides ? Decomposition.Kept[side] : Decomposition.Size;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Selected[MatrixIndex.Of(outer, Decomposition.Size, depth)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => depth < Limit ? value : 0.0f;
}

/// <summary>Second operands: the same W, which meets itself by rows and x x^T by columns.</summary>
internal struct ReconstructionRight : IGemmOperand
{
    /// <summary>Of all sides.</summary>
    public Decomposition Decomposition;

    /// <summary>1 or 2.</summary>
    public int Sides;

    /// <summary>The group's W and how its elements lie, which <see cref="Select"/> finds; the host leaves them empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc cref="Selected"/>
    public int OuterStride;

    /// <inheritdoc cref="Selected"/>
    public int DepthStride;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        long start = (long)(group & (Sides - 1)) * Decomposition.Size * Decomposition.Size;
        Selected = Decomposition.Vectors.OwnFrom(start);
        OuterStride = group < Sides ? Decomposition.Size : 1;
        DepthStride = group < Sides ? 1 : Decomposition.Size;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Selected[MatrixIndex.Of(outer, OuterStride, depth, DepthStride)];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>Stores M = Q + 1 1^T / N of each side, then x x^T W.</summary>
internal struct ReconstructionResult : IGemmResult
{
    /// <summary>M, n x n a side.</summary>
    public BatchView<float> Reconstruction;

    /// <summary>x x^T W, n x n a side.</summary>
    public BatchView<float> TurnedGrams;
    public int Size;

    /// <summary>1 or 2.</summary>
    public int Sides;

    /// <summary>Where the group's elements go, and what is added to each; <see cref="SelectResult"/> finds them, the host leaves them empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc cref="Selected"/>
    public float Mean;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        long start = (long)(group & (Sides - 1)) * Size * Size;
        ArrayView<float> data = group < Sides ? Reconstruction.Own : TurnedGrams.Own;
        Selected = data.SubView(start, data.Length - start);
        Mean = group < Sides ? 1.0f / Size : 0.0f;
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) =>
        Selected[MatrixIndex.Of(row, Size, column)] = value + Mean;
}

/// <summary>Stores a product times the coupling of its row's and column's vectors, a side a group: 2 Z from Sh + Sh^T, or Y from Sh.</summary>
internal struct CoupledResult : IGemmResult
{
    public BatchView<float> Data;
    public Decomposition Decomposition;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        Data = Data.OwnFrom((long)group * Decomposition.Size * Decomposition.Size);
        Decomposition.Select(group);
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) =>
        Data[MatrixIndex.Of(row, Decomposition.Size, column)] = value * Decomposition.Coupling(row, column);

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;
}

/// <summary>Y + Y^T of a square matrix a group.</summary>
internal struct SymmetrizedOperand : IGemmOperand
{
    public BatchView<float> Data;
    public int Size;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => Data = Data.OwnFrom((long)group * Size * Size);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Data[MatrixIndex.Of(outer, Size, depth)] + Data[MatrixIndex.Of(depth, Size, outer)];
}
