// SPDX-License-Identifier: Apache-2.0
// What the products of the N x N form read and store besides plain matrices.
//            Q = W_m W_m^T,  M = Q + 1 1^T / N                       u' = M x       HiMo-CLIP (arXiv:2511.06653), equation 1
//            exact:    2 Z_ij = (Sh_ij + Sh_ji) / (lambda_i - lambda_j) for i <= m < j or j <= m < i, else 0
//            stopped:  W_m Lambda_m^{-1}, rows of P that are not defined left out
// Precision  a pair closer than 1e-6 lambda_1, or a kept lambda below it, contributes nothing: the direction is held constant there.
using System.Runtime.CompilerServices;

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

    /// <summary>W_ji where vector i is kept, else 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float KeptVector(int component, int i)
    {
        float value = Vectors[MatrixIndex.Of(component, Size, i)];
        return i < Kept[0] ? value : 0.0f;
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

/// <summary>W of a side a group with the dropped vectors zero: rows or, transposed, columns are the outer index.</summary>
internal struct KeptVectorsOperand : IGemmOperand
{
    public Decomposition Decomposition;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => Decomposition.Select(group);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Decomposition.KeptVector(outer, depth);
}

/// <summary>Stores a product plus 1/N, a side a group: M from Q.</summary>
internal struct MeanAddedResult : IGemmResult
{
    public BatchView<float> Data;
    public int Size;

    /// <inheritdoc/>
    public void SelectResult(int group) => Data = Data.OwnFrom((long)group * Size * Size);

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) =>
        Data[MatrixIndex.Of(row, Size, column)] = value + (1.0f / Size);

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;
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
