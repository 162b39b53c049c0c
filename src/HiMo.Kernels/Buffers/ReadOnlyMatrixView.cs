// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>A readable row-major float32 matrix over memory that the caller owns. The default value is empty: 0 x 0.</summary>
public readonly ref struct ReadOnlyMatrixView
{
    /// <summary>Wraps <paramref name="elements"/> as <paramref name="rows"/> x <paramref name="columns"/>, without a copy.</summary>
    /// <param name="elements">At least rows x columns values, row after row.</param>
    /// <param name="rows">Number of rows, 0 or more.</param>
    /// <param name="columns">Number of columns, 0 or more.</param>
    /// <exception cref="ArgumentException">The span is too short, or a size is negative.</exception>
    public ReadOnlyMatrixView(ReadOnlySpan<float> elements, int rows, int columns)
    {
        Elements = elements[..Guard.Length(elements.Length, rows, columns)];
        Shape = new MatrixShape(rows, columns);
    }

    /// <summary>All elements, row after row.</summary>
    public ReadOnlySpan<float> Elements { get; }

    /// <summary>Rows and columns.</summary>
    public MatrixShape Shape { get; }

    /// <summary>Number of rows.</summary>
    public int Rows => Shape.Rows;

    /// <summary>Number of columns.</summary>
    public int Columns => Shape.Columns;

    /// <summary>True for the default value and for every matrix without elements.</summary>
    public bool IsEmpty => Elements.IsEmpty;

    /// <summary>Row <paramref name="index"/> as a span of <see cref="Columns"/> values.</summary>
    /// <param name="index">From 0 to <see cref="Rows"/> - 1.</param>
    public ReadOnlySpan<float> Row(int index) => Elements.Slice(index * Columns, Columns);
}
