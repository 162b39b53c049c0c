// SPDX-License-Identifier: Apache-2.0
// Matrix instructions of a whole warp:  D = A B + C,  A 16 x 8 (tf32) or 16 x 16 (bf16), B 8 or 16 x 8, C and D 16 x 8 in float32.
// Layout     lane = 4 g + q.  C: X, Y in row g, columns 2q, 2q+1; Z, W in row g+8.
//            tf32  A: X (g, q), Y (g+8, q), Z (g, q+4), W (g+8, q+4);  B0 (row q, column g), B1 (row q+4, column g).
//            bf16  the same with pairs: word q holds k = 2q, 2q+1, the lower k in the lower half; Z, W and B1 hold k + 8.
// Sides      each method's C# body runs on ILGPU's CPU accelerator and defines the result; the Emit method beside it writes PTX.
// Precision  tf32 operands must already be rounded (Rounding.ToTf32): the hardware drops the low 13 bits, which biases a sum.
//            The order of the additions inside one instruction is the hardware's own: compare with a tolerance.
// Source     PTX ISA, sections mma.m16n8k8 and mma.m16n8k16.
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Four float32 words of one lane: its share of a 16 x 8 accumulator.</summary>
internal struct Float4
{
    public float X;
    public float Y;
    public float Z;
    public float W;
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
}

/// <summary>The matrix instructions.</summary>
internal static unsafe class Mma
{
    /// <summary>D = A B + C with tf32 operands.</summary>
    [IntrinsicImplementation]
    public static Float4 Tf32(Float4 c, MmaOperands words) => MultiplyAdd<TruncatedProduct>(c, words);

    /// <summary>D = A B + C with pairs of bf16.</summary>
    [IntrinsicImplementation]
    public static Float4 Bf16(Float4 c, MmaOperands words) => MultiplyAdd<PairProduct>(c, words);

    /// <summary>
    /// D = A B + C with float32 operands at float32's error: each operand is split into two tf32 numbers and the three products that
    /// matter are added, smallest first (3xTF32). One exchange of the warp on the CPU accelerator instead of three.
    /// </summary>
    [IntrinsicImplementation]
    public static Float4 Float32(Float4 c, MmaOperands words) => MultiplyAdd<SplitProduct>(c, words);

    /// <summary>What <see cref="Float32"/> is on CUDA: three matrix instructions.</summary>
    public static Float4 Float32OnCuda(Float4 c, MmaOperands words)
    {
        MmaOperands high = default;
        high.X = Rounding.ToTf32(Interop.IntAsFloat(words.X));
        high.Y = Rounding.ToTf32(Interop.IntAsFloat(words.Y));
        high.Z = Rounding.ToTf32(Interop.IntAsFloat(words.Z));
        high.W = Rounding.ToTf32(Interop.IntAsFloat(words.W));
        high.B0 = Rounding.ToTf32(Interop.IntAsFloat(words.B0));
        high.B1 = Rounding.ToTf32(Interop.IntAsFloat(words.B1));
        MmaOperands mixed = high;
        mixed.X = Rest(words.X, high.X);
        mixed.Y = Rest(words.Y, high.Y);
        mixed.Z = Rest(words.Z, high.Z);
        mixed.W = Rest(words.W, high.W);
        c = Tf32(c, mixed);
        mixed = high;
        mixed.B0 = Rest(words.B0, high.B0);
        mixed.B1 = Rest(words.B1, high.B1);
        c = Tf32(c, mixed);
        return Tf32(c, high);
    }

    /// <summary>PTX of <see cref="Tf32"/>.</summary>
    public static void EmitTf32(PTXBackend backend, PTXCodeGenerator generator, Value call) =>
        Emit("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", generator, call);

    /// <summary>PTX of <see cref="Bf16"/>.</summary>
    public static void EmitBf16(PTXBackend backend, PTXCodeGenerator generator, Value call) =>
        Emit("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", generator, call);

    private static void Emit(string instruction, PTXCodeGenerator generator, Value call)
    {
        string[] c = PtxEmitter.Leaves(generator, generator.Load(call[0]));
        string[] words = PtxEmitter.Leaves(generator, generator.Load(call[1]));
        string[] d = PtxEmitter.Leaves(generator, generator.Allocate(call));
        PtxEmitter.Emit(
            generator, instruction,
            $"{{{string.Join(',', d)}}}, {{{string.Join(',', words[..4])}}}, {{{string.Join(',', words[4..])}}}, {{{string.Join(',', c)}}}");
    }

    private static uint Rest(uint whole, uint high) => Rounding.ToTf32(Interop.IntAsFloat(whole) - Interop.IntAsFloat(high));

    // What a lane's four sums are, from the words of the lanes of its row g and its columns 2q and 2q + 1.
    private static Float4 MultiplyAdd<TProduct>(Float4 c, MmaOperands words)
        where TProduct : struct, IWordProduct
    {
        MmaOperands* lanes = WarpExchange.Publish(words);
        int g = Warp.LaneIdx >> 2;
        int q = Warp.LaneIdx & 3;
        for (int s = 0; s < 4; s++)
        {
            MmaOperands a = lanes[(4 * g) + s];
            MmaOperands left = lanes[(8 * q) + s];
            MmaOperands right = lanes[(8 * q) + 4 + s];
            c.X += TProduct.Of(a.X, left.B0) + TProduct.Of(a.Z, left.B1);
            c.Y += TProduct.Of(a.X, right.B0) + TProduct.Of(a.Z, right.B1);
            c.Z += TProduct.Of(a.Y, left.B0) + TProduct.Of(a.W, left.B1);
            c.W += TProduct.Of(a.Y, right.B0) + TProduct.Of(a.W, right.B1);
        }

        return c;
    }

    /// <summary>The product of two operand words as one instruction makes it.</summary>
    private interface IWordProduct
    {
        static abstract float Of(uint a, uint b);
    }

    private readonly struct TruncatedProduct : IWordProduct
    {
        public static float Of(uint a, uint b) => Truncated(a) * Truncated(b);

        private static float Truncated(uint bits) => BitConverter.UInt32BitsToSingle(bits & 0xffffe000u);
    }

    private readonly struct PairProduct : IWordProduct
    {
        public static float Of(uint a, uint b) => (Low(a) * Low(b)) + (High(a) * High(b));

        private static float Low(uint pair) => BitConverter.UInt32BitsToSingle(pair << 16);

        private static float High(uint pair) => BitConverter.UInt32BitsToSingle(pair & 0xffff0000u);
    }

    private readonly struct SplitProduct : IWordProduct
    {
        public static float Of(uint a, uint b)
        {
            float highA = Interop.IntAsFloat(Rounding.ToTf32(Interop.IntAsFloat(a)));
            float highB = Interop.IntAsFloat(Rounding.ToTf32(Interop.IntAsFloat(b)));
            float lowA = Interop.IntAsFloat(Rounding.ToTf32(Interop.IntAsFloat(a) - highA));
            float lowB = Interop.IntAsFloat(Rounding.ToTf32(Interop.IntAsFloat(b) - highB));
            return (highA * highB) + ((lowA * highB) + (highA * lowB));
        }
    }
}
