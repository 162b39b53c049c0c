// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

/// <summary>How products of 16 x 16 by 16 x 32, and by 16 x 16, are made of matrix instructions.</summary>
internal interface IProductPrecision
{
    /// <summary>Whether <see cref="MultiplyAdd(TileRow, FragmentA, FragmentB)"/> is there; otherwise lanes add up products of what they read themselves.</summary>
    static abstract bool HasMatrixInstructions { get; }

    /// <summary>What an element of an operand becomes on its way into shared memory.</summary>
    static abstract float Rounded(float value);

    /// <summary>C + A B, accumulated in float32.</summary>
    static abstract TileRow MultiplyAdd(TileRow c, FragmentA a, FragmentB b);

    /// <inheritdoc cref="MultiplyAdd(TileRow, FragmentA, FragmentB)"/>
    static abstract TilePair MultiplyAdd(TilePair c, FragmentA a, FragmentPair b);
}

/// <summary>
/// The error of float32, by three tf32 products. The matrix instructions truncate when they add, always towards zero: they add up 16 terms only, and
/// ordinary additions, which round to nearest, do the rest.
/// </summary>
internal readonly struct StrictPrecision : IProductPrecision
{
    /// <inheritdoc/>
    public static bool HasMatrixInstructions => true;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Rounded(float value) => value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TileRow MultiplyAdd(TileRow c, FragmentA a, FragmentB b)
    {
        TileRow sum = Mma.Float32(a, b);
        c.T0 = Add(c.T0, sum.T0);
        c.T1 = Add(c.T1, sum.T1);
        c.T2 = Add(c.T2, sum.T2);
        c.T3 = Add(c.T3, sum.T3);
        return c;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TilePair MultiplyAdd(TilePair c, FragmentA a, FragmentPair b)
    {
        TilePair sum = Mma.Float32Pair(a, b);
        c.T0 = Add(c.T0, sum.T0);
        c.T1 = Add(c.T1, sum.T1);
        return c;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Add(Float4 x, Float4 y)
    {
        x.X += y.X;
        x.Y += y.Y;
        x.Z += y.Z;
        x.W += y.W;
        return x;
    }
}

/// <summary>Operands rounded to tf32: a relative error of 2^-11 each.</summary>
internal readonly struct Tf32Precision : IProductPrecision
{
    /// <inheritdoc/>
    public static bool HasMatrixInstructions => true;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Rounded(float value) => ILGPU.Interop.IntAsFloat(Rounding.ToTf32(value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TileRow MultiplyAdd(TileRow c, FragmentA a, FragmentB b) => Mma.Tf32Row(c, a, b);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TilePair MultiplyAdd(TilePair c, FragmentA a, FragmentPair b) => Mma.Tf32Pair(c, a, b);
}

/// <summary>Operands rounded to bf16: a relative error of 2^-8 each.</summary>
internal readonly struct Bf16Precision : IProductPrecision
{
    /// <inheritdoc/>
    public static bool HasMatrixInstructions => true;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Rounded(float value) => value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TileRow MultiplyAdd(TileRow c, FragmentA a, FragmentB b)
    {
        MmaOperands words = Words(a);
        c.T0 = MultiplyAdd(c.T0, words, b.B0);
        c.T1 = MultiplyAdd(c.T1, words, b.B1);
        c.T2 = MultiplyAdd(c.T2, words, b.B2);
        c.T3 = MultiplyAdd(c.T3, words, b.B3);
        return c;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TilePair MultiplyAdd(TilePair c, FragmentA a, FragmentPair b)
    {
        MmaOperands words = Words(a);
        c.T0 = MultiplyAdd(c.T0, words, b.B0);
        c.T1 = MultiplyAdd(c.T1, words, b.B1);
        return c;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static MmaOperands Words(FragmentA a)
    {
        MmaOperands words = default;
        words.X = Rounding.ToBf16Pair(a.Upper.X, a.Upper.Y);
        words.Y = Rounding.ToBf16Pair(a.Lower.X, a.Lower.Y);
        words.Z = Rounding.ToBf16Pair(a.Upper.Z, a.Upper.W);
        words.W = Rounding.ToBf16Pair(a.Lower.Z, a.Lower.W);
        return words;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 MultiplyAdd(Float4 c, MmaOperands words, Float4 b)
    {
        words.B0 = Rounding.ToBf16Pair(b.X, b.Y);
        words.B1 = Rounding.ToBf16Pair(b.Z, b.W);
        return Mma.Bf16(c, words);
    }
}

/// <summary>The error of float32 where there are no matrix instructions: on OpenCL devices.</summary>
internal readonly struct PortablePrecision : IProductPrecision
{
    /// <inheritdoc/>
    public static bool HasMatrixInstructions => false;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Rounded(float value) => value;

    /// <summary>Never called.</summary>
    public static TileRow MultiplyAdd(TileRow c, FragmentA a, FragmentB b) => c;

    /// <summary>Never called.</summary>
    public static TilePair MultiplyAdd(TilePair c, FragmentA a, FragmentPair b) => c;
}
