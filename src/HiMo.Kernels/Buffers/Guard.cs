// SPDX-License-Identifier: Apache-2.0
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
}
