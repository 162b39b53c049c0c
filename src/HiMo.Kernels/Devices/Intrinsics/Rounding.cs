// SPDX-License-Identifier: Apache-2.0
// Conversions of float32 to the operand formats of matrix instructions, rounded as the hardware rounds them, and a product that is rounded itself.
// tf32  nearest, ties away from zero (cvt.rna): 10 explicit bits of the mantissa, the low 13 bits of the word are zero.
// bf16  nearest, ties to even (cvt.rn): 7 explicit bits; two numbers a word.
// Source     PTX ISA, section cvt.
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace HiMo.Kernels;

/// <summary>Rounding to tf32, bf16 and float32.</summary>
internal static class Rounding
{
    /// <summary>The nearest tf32 number, as the bits of a float32.</summary>
    [IntrinsicImplementation]
    public static uint ToTf32(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? 0x7fffffffu : (bits + 0x1000u) & 0xffffe000u;
    }

    /// <summary>Two bf16 numbers in a word, <paramref name="low"/> in the lower half.</summary>
    [IntrinsicImplementation]
    public static uint ToBf16Pair(float low, float high) => ToBf16(low) | (ToBf16(high) << 16);

    /// <summary>
    /// a b, rounded to float32 wherever it stands. The assembler would fuse an ordinary product into a subtraction behind it, and the largest logit
    /// less itself were not 0.
    /// </summary>
    [IntrinsicImplementation]
    public static float Product(float a, float b) => a * b;

    /// <summary>PTX of <see cref="ToTf32"/>.</summary>
    public static void EmitToTf32(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string value = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        PtxEmitter.Emit(generator, "cvt.rna.tf32.f32", $"{PtxEmitter.Leaves(generator, generator.Allocate(call))[0]}, {value}");
    }

    /// <summary>PTX of <see cref="Product"/>.</summary>
    public static void EmitProduct(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string a = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        string b = PtxEmitter.Leaves(generator, generator.Load(call[1]))[0];
        PtxEmitter.Emit(generator, "mul.rn.f32", $"{PtxEmitter.Leaves(generator, generator.Allocate(call))[0]}, {a}, {b}");
    }

    /// <summary>PTX of <see cref="ToBf16Pair"/>; the instruction names the upper half first.</summary>
    public static void EmitToBf16Pair(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string low = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        string high = PtxEmitter.Leaves(generator, generator.Load(call[1]))[0];
        PtxEmitter.Emit(generator, "cvt.rn.bf16x2.f32", $"{PtxEmitter.Leaves(generator, generator.Allocate(call))[0]}, {high}, {low}");
    }

    private static uint ToBf16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
    }
}
