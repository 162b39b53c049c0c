// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

/// <summary>Checks of arguments; every message names the argument, what it is and what it must be.</summary>
internal static class Guard
{
    public static int Length(int available, int rows, int columns, [CallerMemberName] string member = "")
    {
        if (rows < 0 || columns < 0)
        {
            throw new ArgumentException($"{member}: a matrix of {rows} x {columns} does not exist; sizes must be 0 or more.");
        }

        long wanted = (long)rows * columns;
        return wanted <= available
            ? (int)wanted
            : throw new ArgumentException($"{member}: a matrix of {rows} x {columns} needs {wanted} elements, the span has {available}.");
    }

    public static void That<T>(bool condition, T value, string must, [CallerArgumentExpression(nameof(value))] string name = "")
    {
        if (!condition)
        {
            throw new ArgumentException(FormattableString.Invariant($"{name} {must}; it is {value}."), name);
        }
    }
    /// <summary>NaN and infinity are refused before anything is written; the message names the first one's row and column.</summary>
    public static void Finite(ReadOnlyMatrixView matrix, [CallerArgumentExpression(nameof(matrix))] string name = "") =>
        Finite(matrix.Elements, matrix.Columns, name);

    public static void Finite<T>(ReadOnlySpan<T> elements, int columns, [CallerArgumentExpression(nameof(elements))] string name = "")
        where T : IFloatingPointIeee754<T>
    {
        if (elements.IsEmpty || TensorPrimitives.IsFiniteAll(elements))
        {
            return;
        }

        int at = 0;
        while (T.IsFinite(elements[at]))
        {
            at++;
        }

        (int row, int column) = Math.DivRem(at, columns);
        throw new ArgumentException(
            FormattableString.Invariant($"{name} holds {elements[at]} at row {row}, column {column}; every value must be finite."), name);
    }

    public static void Shape(
        MatrixShape shape, MatrixShape wanted, [CallerArgumentExpression(nameof(shape))] string name = "", [CallerArgumentExpression(nameof(wanted))] string wantedName = "")
    {
        if (shape != wanted)
        {
            throw new ArgumentException($"{name} is {shape}; it must be {wanted}, as {wantedName}.", name);
        }
    }

    public static void Apart(
        MatrixView output, ReadOnlyMatrixView input, [CallerArgumentExpression(nameof(output))] string name = "", [CallerArgumentExpression(nameof(input))] string inputName = "")
    {
        if (((ReadOnlySpan<float>)output.Elements).Overlaps(input.Elements))
        {
            throw new ArgumentException($"{name} overlaps {inputName} in memory; give it memory of its own.", name);
        }
    }
}
