// SPDX-License-Identifier: Apache-2.0
// A lane's shares of the operands and of the result of a warp's products. A lane (g, q) has k = 4q to 4q + 3 of its rows of A and columns of B, one word of
// 16 bytes, where the matrix instructions name others: a permutation of the summation index, in both operands alike, which changes no sum.
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Four float32 words of one lane: its share of a 16 x 8 accumulator, or four neighbours of an operand.</summary>
internal struct Float4
{
    public float X;
    public float Y;
    public float Z;
    public float W;
}

/// <summary>One lane's share of a 16 x 16 accumulator: two instruction tiles side by side.</summary>
internal struct TilePair
{
    public Float4 T0;
    public Float4 T1;
}

/// <summary>One lane's share of a 16 x 32 accumulator: four instruction tiles side by side.</summary>
internal struct TileRow
{
    public Float4 T0;
    public Float4 T1;
    public Float4 T2;
    public Float4 T3;
}

/// <summary>One lane's share of a 16 x 16 operand, as float32: rows g and g + 8.</summary>
internal struct FragmentA
{
    public Float4 Upper;
    public Float4 Lower;
}

/// <summary>One lane's share of a 16 x 16 second operand, as float32: columns g and g + 8.</summary>
internal struct FragmentPair
{
    public Float4 B0;
    public Float4 B1;
}

/// <summary>One lane's share of a 16 x 32 operand, as float32: columns g, g + 8, g + 16 and g + 24.</summary>
internal struct FragmentB
{
    public Float4 B0;
    public Float4 B1;
    public Float4 B2;
    public Float4 B3;
}

/// <summary>One lane's share of the operands of one matrix instruction, as bits.</summary>
internal struct MmaOperands
{
    public uint X;
    public uint Y;
    public uint Z;
    public uint W;
    public uint B0;
    public uint B1;

    /// <summary>Two of a lane's k for the tf32 instruction.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MmaOperands First(FragmentA a, Float4 b) => Pack(a.Upper.X, a.Lower.X, a.Upper.Y, a.Lower.Y, b.X, b.Y);

    /// <summary>The other two.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MmaOperands Second(FragmentA a, Float4 b) => Pack(a.Upper.Z, a.Lower.Z, a.Upper.W, a.Lower.W, b.Z, b.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static MmaOperands Pack(float x, float y, float z, float w, float b0, float b1)
    {
        MmaOperands words = default;
        words.X = Interop.FloatAsInt(x);
        words.Y = Interop.FloatAsInt(y);
        words.Z = Interop.FloatAsInt(z);
        words.W = Interop.FloatAsInt(w);
        words.B0 = Interop.FloatAsInt(b0);
        words.B1 = Interop.FloatAsInt(b1);
        return words;
    }
}

/// <summary>
/// x = high + low, both for tf32 instructions. High is x rounded, to nearest and ties away from zero; low is the rest, exact: of its 13 bits the
/// instructions drop at most the last one, whatever its sign, and rounding it would be wrong by the same bit. A NaN stays one, in low.
/// </summary>
internal static class Tf32Split
{
    /// <summary>High.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float High(float x) => Interop.IntAsFloat((Interop.FloatAsInt(x) + 0x1000u) & 0xffffe000u);

    /// <inheritdoc cref="High(float)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FragmentA High(FragmentA a)
    {
        a.Upper = High(a.Upper);
        a.Lower = High(a.Lower);
        return a;
    }

    /// <inheritdoc cref="High(float)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FragmentB High(FragmentB b)
    {
        b.B0 = High(b.B0);
        b.B1 = High(b.B1);
        b.B2 = High(b.B2);
        b.B3 = High(b.B3);
        return b;
    }

    /// <summary>Low.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FragmentA Low(FragmentA a, FragmentA high)
    {
        a.Upper = Low(a.Upper, high.Upper);
        a.Lower = Low(a.Lower, high.Lower);
        return a;
    }

    /// <inheritdoc cref="Low(FragmentA, FragmentA)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FragmentB Low(FragmentB b, FragmentB high)
    {
        b.B0 = Low(b.B0, high.B0);
        b.B1 = Low(b.B1, high.B1);
        b.B2 = Low(b.B2, high.B2);
        b.B3 = Low(b.B3, high.B3);
        return b;
    }

    /// <inheritdoc cref="High(float)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FragmentPair High(FragmentPair b)
    {
        b.B0 = High(b.B0);
        b.B1 = High(b.B1);
        return b;
    }

    /// <inheritdoc cref="Low(FragmentA, FragmentA)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FragmentPair Low(FragmentPair b, FragmentPair high)
    {
        b.B0 = Low(b.B0, high.B0);
        b.B1 = Low(b.B1, high.B1);
        return b;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 High(Float4 x)
    {
        x.X = High(x.X);
        x.Y = High(x.Y);
        x.Z = High(x.Z);
        x.W = High(x.W);
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Low(Float4 x, Float4 high)
    {
        x.X -= high.X;
        x.Y -= high.Y;
        x.Z -= high.Z;
        x.W -= high.W;
        return x;
    }
}
