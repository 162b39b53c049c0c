// SPDX-License-Identifier: Apache-2.0
// What is done with every element of a WarpgroupTile. ILGPU never unrolls a loop and indexes no registers, so the sixteen fields are named here, once.
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Sees or changes four elements: X and Y of the upper row, Z and W of the lower one.</summary>
internal interface ITileVisitor
{
    /// <summary>Called for every field in order.</summary>
    /// <param name="value">The elements.</param>
    /// <param name="field">Number of the field, 0 to 15: a constant in every call.</param>
    void Visit(ref Float4 value, int field);
}

internal static class WarpgroupTileVisits
{
    /// <summary>
    /// The thread's upper row within the tile; the lower one is 8 further. By bits, here and wherever a thread of a warpgroup kernel finds its place: of a signed
    /// division the assembler makes a long sequence, and rather than repeat it keeps its results in local memory from tile to tile.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Row() => (Group.IdxX >> 5 << 4) + ((Group.IdxX >> 2) & 7);

    /// <summary>Column of X and Z of a field within the tile; Y and W follow.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Column(int field) => (8 * field) + ((Group.IdxX & 3) << 1);

    /// <summary>Visits all fields.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Visit<TVisitor>(ref WarpgroupTile tile, ref TVisitor visitor)
        where TVisitor : struct, ITileVisitor
    {
        visitor.Visit(ref tile.T0, 0);
        visitor.Visit(ref tile.T1, 1);
        visitor.Visit(ref tile.T2, 2);
        visitor.Visit(ref tile.T3, 3);
        visitor.Visit(ref tile.T4, 4);
        visitor.Visit(ref tile.T5, 5);
        visitor.Visit(ref tile.T6, 6);
        visitor.Visit(ref tile.T7, 7);
        visitor.Visit(ref tile.T8, 8);
        visitor.Visit(ref tile.T9, 9);
        visitor.Visit(ref tile.T10, 10);
        visitor.Visit(ref tile.T11, 11);
        visitor.Visit(ref tile.T12, 12);
        visitor.Visit(ref tile.T13, 13);
        visitor.Visit(ref tile.T14, 14);
        visitor.Visit(ref tile.T15, 15);
    }
}
