// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

/// <summary>One lane's share of a 16 x 16 operand, as float32: rows g and g + 8, columns q, q + 4, q + 8, q + 12.</summary>
internal struct FragmentA
{
    public float Upper0;
    public float Upper4;
    public float Upper8;
    public float Upper12;
    public float Lower0;
    public float Lower4;
    public float Lower8;
    public float Lower12;
}

/// <summary>One lane's share of a 16 x 8 operand, as float32: column g, rows q, q + 4, q + 8, q + 12.</summary>
internal struct FragmentB
{
    public float K0;
    public float K4;
    public float K8;
    public float K12;
}

/// <summary>
/// How a product of 16 x 16 by 16 x 8 is made of matrix instructions. An instruction for pairs gets k = q and q + 4 in a word instead of
/// its own 2q and 2q + 1, in both operands alike: a permutation of the summation index, which changes no sum.
/// </summary>
internal interface IProductPrecision
{
    /// <summary>C + A B, accumulated in float32.</summary>
    static abstract Float4 MultiplyAdd(Float4 c, FragmentA a, FragmentB b);
}

/// <summary>The error of float32, by three tf32 products.</summary>
internal readonly struct StrictPrecision : IProductPrecision
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 MultiplyAdd(Float4 c, FragmentA a, FragmentB b)
    {
        c = Mma.Float32(c, Words.First(a, b));
        return Mma.Float32(c, Words.Second(a, b));
    }
}

/// <summary>Operands rounded to tf32: a relative error of 2^-11 each.</summary>
internal readonly struct Tf32Precision : IProductPrecision
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 MultiplyAdd(Float4 c, FragmentA a, FragmentB b)
    {
        c = Mma.Tf32(c, Words.Rounded(Words.First(a, b)));
        return Mma.Tf32(c, Words.Rounded(Words.Second(a, b)));
    }
}

/// <summary>Operands rounded to bf16: a relative error of 2^-8 each.</summary>
internal readonly struct Bf16Precision : IProductPrecision
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 MultiplyAdd(Float4 c, FragmentA a, FragmentB b)
    {
        MmaOperands words = default;
        words.X = Rounding.ToBf16Pair(a.Upper0, a.Upper4);
        words.Y = Rounding.ToBf16Pair(a.Lower0, a.Lower4);
        words.Z = Rounding.ToBf16Pair(a.Upper8, a.Upper12);
        words.W = Rounding.ToBf16Pair(a.Lower8, a.Lower12);
        words.B0 = Rounding.ToBf16Pair(b.K0, b.K4);
        words.B1 = Rounding.ToBf16Pair(b.K8, b.K12);
        return Mma.Bf16(c, words);
    }
}

/// <summary>Bits of fragments as the tf32 instructions take them: k from 0 to 7, then from 8 to 15.</summary>
internal static class Words
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MmaOperands First(FragmentA a, FragmentB b) => Pack(a.Upper0, a.Lower0, a.Upper4, a.Lower4, b.K0, b.K4);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MmaOperands Second(FragmentA a, FragmentB b) => Pack(a.Upper8, a.Lower8, a.Upper12, a.Lower12, b.K8, b.K12);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static MmaOperands Rounded(MmaOperands words)
    {
        MmaOperands rounded = default;
        rounded.X = Rounding.ToTf32(ILGPU.Interop.IntAsFloat(words.X));
        rounded.Y = Rounding.ToTf32(ILGPU.Interop.IntAsFloat(words.Y));
        rounded.Z = Rounding.ToTf32(ILGPU.Interop.IntAsFloat(words.Z));
        rounded.W = Rounding.ToTf32(ILGPU.Interop.IntAsFloat(words.W));
        rounded.B0 = Rounding.ToTf32(ILGPU.Interop.IntAsFloat(words.B0));
        rounded.B1 = Rounding.ToTf32(ILGPU.Interop.IntAsFloat(words.B1));
        return rounded;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static MmaOperands Pack(float x, float y, float z, float w, float b0, float b1)
    {
        MmaOperands words = default;
        words.X = ILGPU.Interop.FloatAsInt(x);
        words.Y = ILGPU.Interop.FloatAsInt(y);
        words.Z = ILGPU.Interop.FloatAsInt(z);
        words.W = ILGPU.Interop.FloatAsInt(w);
        words.B0 = ILGPU.Interop.FloatAsInt(b0);
        words.B1 = ILGPU.Interop.FloatAsInt(b1);
        return words;
    }
}
