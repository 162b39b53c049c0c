// SPDX-License-Identifier: Apache-2.0
// What the products of HiDe alone read for N <= d (the form: HiDe.Gpu.cs).
using ILGPU;

namespace HiMo.Kernels;

/// <summary>x_i - x_0: outer index column, depth row.</summary>
internal struct ShiftedColumns : IGemmOperand
{
    public ShiftedRows Rows;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly void Select(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Rows.Load(depth, outer);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => Rows.Finish(value, depth, outer);
}

/// <summary>First operand of the rows' gradient, depth 2 N: (M*, E2).</summary>
internal struct RowGradientLeft : IGemmOperand
{
    public ReconstructedSide Side;

    /// <summary>E2, N x N.</summary>
    public BatchView<float> Second;

    /// <summary>The batch's M and E2, which <see cref="Select"/> finds; the host leaves them empty.</summary>
    public ArrayView<float> SelectedBack;

    /// <inheritdoc cref="SelectedBack"/>
    public ArrayView<float> SelectedSecond;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group)
    {
        SelectedBack = Side.Reconstruction.Own;
        SelectedSecond = Second.Own;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isBack = depth < Side.Size; // no branch around a load
        ArrayView<float> data = isBack ? SelectedBack : SelectedSecond;
        return data[MatrixIndex.Of(outer, Side.Size, isBack ? depth : depth - Side.Size)];
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) =>
        depth < Side.Size & Side.IsStopped != 0 ? 1.0f / Side.Size : value;
}

/// <summary>Second operand of the rows' gradient: dL/du', then x_i - x_0.</summary>
internal struct RowGradientRight : IGemmOperand
{
    /// <summary>dL/du', N x d.</summary>
    public BatchView<float> Gradient;
    public ShiftedRows Rows;

    /// <summary>N.</summary>
    public int Count;

    /// <summary>The batch's dL/du' and x, which <see cref="Select"/> finds; the host leaves them empty.</summary>
    public ArrayView<float> SelectedGradient;

    /// <inheritdoc cref="SelectedGradient"/>
    public ArrayView<float> SelectedRows;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group)
    {
        SelectedGradient = Gradient.Own;
        SelectedRows = Rows.Rows.Unit.Own;
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth)
    {
        bool isGradient = depth < Count; // no branch around a load
        ArrayView<float> data = isGradient ? SelectedGradient : SelectedRows;
        return data[MatrixIndex.Of(isGradient ? depth : depth - Count, Rows.Rows.Columns, outer)];
    }

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth)
    {
        float shifted = Rows.Finish(value, depth - Count, outer);
        return depth < Count ? value : shifted;
    }
}
