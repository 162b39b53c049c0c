// SPDX-License-Identifier: Apache-2.0
// What the products of the step's form for N > d read and store (the form: TrainingStep.Covariance.Gpu.cs).
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>
/// Unit rows of one side less their mean: (x_i - x_0) - mean_j (x_j - x_0), so that nearly equal rows do not cancel. As an operand: outer
/// index column, depth row, X^T.
/// </summary>
internal struct CentredRows : IGemmOperand
{
    /// <summary>x, N x d.</summary>
    public BatchView<float> Unit;

    /// <summary>mean_j (x_j - x_0), d.</summary>
    public BatchView<float> Delta;

    /// <summary>mu, d.</summary>
    public BatchView<float> Mean;
    public int Columns;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly void Select(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Raw(depth, outer);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => Centred(value, outer);

    /// <summary>x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Raw(int row, int column) => Unit[MatrixIndex.Of(row, Columns, column)];

    /// <summary>X from x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float Centred(float value, int column) => value - Unit[column] - Delta[column];
}

/// <summary>x_i - x_0: outer index row, depth column.</summary>
internal struct ShiftedRows : IGemmOperand
{
    public CentredRows Rows;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public readonly void Select(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Rows.Raw(outer, depth);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value - Rows.Unit[depth];
}

/// <summary>The basis of a side's components, mu, w_1, w_2, ...: outer index vector, depth component.</summary>
internal struct BasisOperand : IGemmOperand
{
    public CentredRows Rows;
    public Decomposition Decomposition;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly void Select(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isMean = outer == 0;
        ArrayView<float> data = isMean ? Rows.Mean.Own : Decomposition.Vectors.Own;
        return data[MatrixIndex.Of(depth, isMean ? 1 : Decomposition.Size, isMean ? 0 : outer - 1, 1)];
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>The same basis: outer index component, depth vector.</summary>
internal struct TransposedBasisOperand : IGemmOperand
{
    public BasisOperand Basis;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public readonly void Select(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Basis.Load(depth, outer);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;
}

/// <summary>What is expressed in the basis. Group 0: the queries, whose row N is of no use; group 1: the centred keys, with mu behind them as row N.</summary>
internal struct ProjectedRows : IGemmOperand
{
    /// <summary>Queries, N x d.</summary>
    public BatchView<float> Queries;
    public CentredRows Keys;

    /// <summary>N.</summary>
    public int Rows;

    /// <summary>Added to the group that is asked for.</summary>
    public int Group;

    /// <summary>What <see cref="Select"/> has chosen; the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        Group += group;
        Selected = Group == 0 ? Queries.Own : Keys.Unit.Own;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) =>
        Selected[MatrixIndex.Of(outer < Rows ? outer : 0, Keys.Columns, depth)]; // mu is the keys' first row and its delta

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        bool isQuery = Group == 0;
        float unit = Keys.Unit[depth];
        float delta = Keys.Delta[depth];
        float row = value - (isQuery ? 0.0f : unit) - (isQuery ? 0.0f : delta);
        return outer < Rows ? row : value + delta;
    }
}

/// <summary>Coordinates in the basis: of the queries (V, with the bias q . mu as column 0), of the keys (Y, with 1 as column 0).</summary>
internal struct Coordinates : IGemmResult
{
    /// <summary>V, and mu's coordinates as row N; rows of d + 1.</summary>
    public BatchView<float> Queries;

    /// <summary>Y, N rows of d + 1.</summary>
    public BatchView<float> Keys;

    /// <summary>N.</summary>
    public int Rows;

    /// <summary>d + 1.</summary>
    public int Pitch;

    /// <summary>Added to the group.</summary>
    public int FirstGroup;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        Queries = Queries.Own;
        Keys = Keys.Own;
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded)
    {
        long index = MatrixIndex.Of(row, Pitch, column);
        bool isQuery = group + FirstGroup == 0;
        if (isQuery != (row == Rows))
        {
            Queries[index] = value;
        }
        else if (!isQuery)
        {
            Keys[index] = column == 0 ? 1.0f : value;
        }
    }
}

/// <summary>Stores a symmetric product, of which the blocks on and below the diagonal are made.</summary>
internal struct SymmetricResult : IGemmResult
{
    public BatchView<float> Data;
    public int Size;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group) => Data = Data.Own;

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded)
    {
        if (column <= row)
        {
            Data[((long)row * Size) + column] = value;
            Data[((long)column * Size) + row] = value;
        }
    }
}

/// <summary>Adds a product, and a constant row, to what is there.</summary>
internal struct AddedResult : IGemmResult
{
    public BatchView<float> Data;

    /// <summary>Added to every row; empty: nothing.</summary>
    public BatchView<float> Constant;
    public int Columns;

    /// <summary>0: nothing is there yet.</summary>
    public int IsAdded;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group)
    {
        Data = Data.Own;
        Constant = Constant.Own;
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column)
    {
        ArrayView<float> data = Data.Own; // read in vain where there is nothing: no branch around a load
        float constant = (Constant.IsEmpty ? data : Constant.Own)[column];
        float there = data[MatrixIndex.Of(row, Columns, column)];
        return (Constant.IsEmpty ? 0.0f : constant) + (IsAdded != 0 ? there : 0.0f);
    }

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) => Data[MatrixIndex.Of(row, Columns, column)] = value + loaded;
}

/// <summary>Rows of a matrix, each times a weight, and beside them those of a second one as they are: outer index row, depth column.</summary>
internal struct WeightedRows : IGemmOperand
{
    public BatchView<float> Data;

    /// <summary>Weight of row i at i WeightPitch; empty: 1.</summary>
    public BatchView<float> Weights;

    /// <summary>What follows behind <see cref="Columns"/>.</summary>
    public BatchView<float> Beside;
    public int Columns;
    public int Pitch;
    public int WeightPitch;
    public int BesidePitch;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public readonly void Select(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isBeside = depth >= Columns;
        BatchView<float> rows = isBeside ? Beside : Data;
        float value = rows[MatrixIndex.Of(outer, isBeside ? BesidePitch : Pitch, isBeside ? depth - Columns : depth)];
        if (!Weights.IsEmpty)
        {
            float weight = Weights[MatrixIndex.Of(outer, WeightPitch, 0)];
            value *= isBeside ? 1.0f : weight;
        }

        return value;
    }
}
