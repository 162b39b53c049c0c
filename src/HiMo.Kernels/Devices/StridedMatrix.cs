// SPDX-License-Identifier: Apache-2.0
using ILGPU;

namespace HiMo.Kernels;

/// <summary>A matrix in device memory as operand or result of a product; transposed by exchanging the strides.</summary>
internal struct StridedMatrix : IGemmOperand, IGemmResult
{
    /// <summary>All groups.</summary>
    public BatchView<float> Data;

    /// <summary>Elements from one group to the next.</summary>
    public long GroupStride;

    /// <summary>Elements from one outer index to the next: row of A, column of B, row of C.</summary>
    public long OuterStride;

    /// <summary>Elements from one depth index to the next, or from one column of C to the next.</summary>
    public long InnerStride;

    /// <summary>What <see cref="Select"/> has chosen; the host leaves it empty.</summary>
    public ArrayView<float> Selected;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => InnerStride == 1;

    /// <inheritdoc/>
    public void Select(int group) =>
        Selected = Data.Own.SubView(group * GroupStride, Data.Own.Length - (group * GroupStride));

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <summary>Rows of a row-major matrix are the outer index.</summary>
    public static StridedMatrix Rows(BatchView<float> data, int columns, long groupStride = 0) =>
        new() { Data = data, GroupStride = groupStride, OuterStride = columns, InnerStride = 1 };

    /// <summary>Columns of a row-major matrix are the outer index.</summary>
    public static StridedMatrix Columns(BatchView<float> data, int columns, long groupStride = 0) =>
        new() { Data = data, GroupStride = groupStride, OuterStride = 1, InnerStride = columns };

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) =>
        Selected[MatrixIndex.Of(outer, OuterStride, depth, InnerStride)];

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => 0.0f;

    /// <inheritdoc/>
    public void SelectResult(int group) => Select(group);

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded) => 
        Selected[MatrixIndex.Of(row, OuterStride, column, InnerStride)] = value;
}
