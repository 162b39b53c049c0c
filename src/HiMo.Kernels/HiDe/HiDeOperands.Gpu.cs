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
    public readonly float Load(int group, int outer, int depth) => Rows.Load(group, depth, outer);
}

/// <summary>First operand of the rows' gradient, depth 2 N: (M*, E2).</summary>
internal struct RowGradientLeft : IGemmOperand
{
    public ReconstructedSide Side;

    /// <summary>E2, N x N.</summary>
    public BatchView<float> Second;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public readonly float Load(int group, int outer, int depth)
    {
        float value;
        if (depth < Side.Size)
        {
            value = Side.Back(outer, depth);
        }
        else
        {
            value = Second[((long)outer * Side.Size) + depth - Side.Size];
        }

        return value;
    }
}

/// <summary>Second operand of the rows' gradient: dL/du', then x_i - x_0.</summary>
internal struct RowGradientRight : IGemmOperand
{
    /// <summary>dL/du', N x d.</summary>
    public BatchView<float> Gradient;
    public ShiftedRows Rows;

    /// <summary>N.</summary>
    public int Count;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public readonly float Load(int group, int outer, int depth)
    {
        float value;
        if (depth < Count)
        {
            value = Gradient[((long)depth * Rows.Rows.Columns) + outer];
        }
        else
        {
            value = Rows.Load(group, depth - Count, outer);
        }

        return value;
    }
}
