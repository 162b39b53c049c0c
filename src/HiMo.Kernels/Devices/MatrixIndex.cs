// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

/// <summary>Places in row-major matrices, for the inner loops of kernels.</summary>
internal static class MatrixIndex
{
    /// <summary>Elements that a matrix has at most: the multiplication is one of 32 bits, a quarter of the instructions of one of 64.</summary>
    public const long MaxLength = uint.MaxValue;

    /// <summary>Place of an element; row, column and pitch 0 or more, the place below <see cref="MaxLength"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Of(int row, int pitch, int column) => ((uint)row * (uint)pitch) + (uint)column;

    /// <summary>The same for any two strides.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Of(int row, long rowStride, int column, long columnStride) => ((uint)row * (uint)rowStride) + ((uint)column * (uint)columnStride);
}
