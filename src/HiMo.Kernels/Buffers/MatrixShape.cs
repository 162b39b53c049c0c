// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>Rows and columns of a row-major matrix; N x d for a batch of N embeddings of width d.</summary>
/// <param name="Rows">Number of rows, 0 or more.</param>
/// <param name="Columns">Number of columns, 0 or more.</param>
public readonly record struct MatrixShape(int Rows, int Columns)
{
    /// <summary>Number of elements; a 64-bit product, because N x d may pass 2^31.</summary>
    public long Length => (long)Rows * Columns;

    /// <summary>The shape as messages show it, for example <c>1024 x 512</c>.</summary>
    public override string ToString() => $"{Rows} x {Columns}";
}
