// SPDX-License-Identifier: Apache-2.0
// What the products of HiDe's derivative by the covariance read and store (the equations: CovarianceBasis.Gpu.cs).

using ILGPU;

namespace HiMo.Kernels;

/// <summary>One factor of J^T q + L^T X: depth runs over the rows of q, then of X. Outer index: component.</summary>
internal struct CouplingComponents : IGemmOperand
{
    /// <summary>q, N x d.</summary>
    public BatchView<float> Queries;
    public CentredRows Keys;

    /// <summary>N.</summary>
    public int Rows;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly void Select(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        ArrayView<float> rows = depth < Rows ? Queries.Own : Keys.Unit.Own;
        return rows[MatrixIndex.Of(depth < Rows ? depth : depth - Rows, Keys.Columns, outer)];
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        float centred = Keys.Centred(value, outer);
        return depth < Rows ? value : centred;
    }
}

/// <summary>The other factor: the rows of J, then of L. Outer index: vector.</summary>
internal struct CouplingVectors : IGemmOperand
{
    /// <summary>J, N rows of d + 1.</summary>
    public BatchView<float> First;

    /// <summary>L, N rows of d + 1.</summary>
    public BatchView<float> Second;

    /// <summary>N.</summary>
    public int Rows;

    /// <summary>d + 1.</summary>
    public int Pitch;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly void Select(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        ArrayView<float> rows = depth < Rows ? First.Own : Second.Own;
        return rows[MatrixIndex.Of(depth < Rows ? depth : depth - Rows, Pitch, outer + 1)];
    }
}

/// <summary>Stores T^T, component by vector, from their product: with cosines plus mu h^T.</summary>
internal struct CouplingResult : IGemmResult
{
    /// <summary>T, d x d.</summary>
    public BatchView<float> Data;

    /// <summary>mu, d.</summary>
    public BatchView<float> Mean;

    /// <summary>h, d + 1, column 0 not used; empty: 0.</summary>
    public BatchView<float> Shrunk;
    public int Size;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => Mean[row];

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        Data = Data.Own;
        Shrunk = Shrunk.Own;
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded)
    {
        if (!Shrunk.IsEmpty)
        {
            value += rowValue * Shrunk[column + 1];
        }

        Data[MatrixIndex.Of(row, Size, column)] = value;
    }
}

/// <summary>F = L + X A^T over the kept vectors, L only where a vector is defined, from X A^T; it takes the place of L.</summary>
internal struct RowGradient : IGemmResult
{
    /// <summary>L, N rows of d + 1; column 0 is not used.</summary>
    public BatchView<float> Direct;
    public Decomposition Decomposition;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        Direct = Direct.Own;
        Decomposition.Select(0); // the host has chosen the side
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => Direct[MatrixIndex.Of(row, Decomposition.Size + 1, column + 1)];

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) =>
        Direct[MatrixIndex.Of(row, Decomposition.Size + 1, column + 1)] = (Decomposition.IsDefined(column) ? loaded : 0.0f) + value;
}

/// <summary>The gradient of the centred rows, F W_m^T + Y A over 2 m terms, its first factor: outer index row, depth F's kept vectors, then Y's.</summary>
internal struct GradientCoordinates : IGemmOperand
{
    /// <summary>F, with a stopped basis L; N rows of d + 1.</summary>
    public BatchView<float> Direct;

    /// <summary>Y, N rows of d + 1.</summary>
    public BatchView<float> Coordinates;

    /// <summary>1: with a stopped basis, L counts where a vector is defined.</summary>
    public int IsStopped;
    public Decomposition Decomposition;

    /// <summary>m, which <see cref="Select"/> finds.</summary>
    public int Kept;

    /// <inheritdoc cref="Decomposition.Floor"/>
    public float Floor;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        Kept = Decomposition.Kept[0];
        Floor = Decomposition.Floor;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        ArrayView<float> rows = depth < Kept ? Direct.Own : Coordinates.Own;
        return rows[MatrixIndex.Of(outer, Decomposition.Size + 1, (depth < Kept ? depth : depth - Kept) + 1)];
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        if (IsStopped != 0)
        {
            value = Decomposition.Values[depth] > Floor ? value : 0.0f; // all are kept
        }

        return value;
    }
}

/// <summary>Its second factor: outer index component, depth the kept vectors' W, then A.</summary>
internal struct GradientDirections : IGemmOperand
{
    /// <summary>A^T, d x d.</summary>
    public BatchView<float> Coupled;
    public Decomposition Decomposition;

    /// <summary>m, which <see cref="Select"/> finds.</summary>
    public int Kept;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => Kept = Decomposition.Kept[0];

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        ArrayView<float> data = depth < Kept ? Decomposition.Vectors.Own : Coupled.Own;
        return data[MatrixIndex.Of(outer, Decomposition.Size, depth < Kept ? depth : depth - Kept)];
    }
}
