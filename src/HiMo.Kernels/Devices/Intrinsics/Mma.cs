// SPDX-License-Identifier: Apache-2.0
// Matrix instructions of a whole warp:  D = A B + C,  A 16 x 8 (tf32) or 16 x 16 (bf16), B 8 or 16 x 8, C and D 16 x 8 in float32.
// Layout     lane = 4 g + q.  C: X, Y in row g, columns 2q, 2q+1; Z, W in row g+8.
//            tf32  A: X (g, q), Y (g+8, q), Z (g, q+4), W (g+8, q+4);  B0 (row q, column g), B1 (row q+4, column g).
//            bf16  the same with pairs: word q holds k = 2q, 2q+1, the lower k in the lower half; Z, W and B1 hold k + 8.
// Sides      each method's C# body runs on ILGPU's CPU accelerator and defines the result; the Emit method beside it writes PTX.
// Precision  tf32 operands must already be rounded (Rounding.ToTf32): the hardware drops the low 13 bits, which biases a sum. It truncates its sums, too.
//            The order of the additions inside one instruction is the hardware's own: compare with a tolerance.
// Source     PTX ISA, sections mma.m16n8k8 and mma.m16n8k16.
using System.Runtime.CompilerServices;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;
using ILGPU;

namespace HiMo.Kernels;

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
    /// A B of 16 x 16 by 16 x 32 float32 operands at float32's error: each operand is split into two tf32 numbers and the three products that
    /// matter are added, the small ones first (3xTF32). One exchange of the warp an instruction on the CPU accelerator instead of three.
    /// </summary>
    [IntrinsicImplementation]
    public static TileRow Float32(FragmentA a, FragmentB b)
    {
        TileRow sum = default;
        sum.T0 = MultiplyAdd<SplitProduct>(MultiplyAdd<SplitProduct>(default, MmaOperands.First(a, b.B0)), MmaOperands.Second(a, b.B0));
        sum.T1 = MultiplyAdd<SplitProduct>(MultiplyAdd<SplitProduct>(default, MmaOperands.First(a, b.B1)), MmaOperands.Second(a, b.B1));
        sum.T2 = MultiplyAdd<SplitProduct>(MultiplyAdd<SplitProduct>(default, MmaOperands.First(a, b.B2)), MmaOperands.Second(a, b.B2));
        sum.T3 = MultiplyAdd<SplitProduct>(MultiplyAdd<SplitProduct>(default, MmaOperands.First(a, b.B3)), MmaOperands.Second(a, b.B3));
        return sum;
    }

    /// <summary>What <see cref="Float32"/> is on CUDA: instructions in an order in which four neighbours do not wait for each other.</summary>
    public static TileRow Float32OnCuda(FragmentA a, FragmentB b)
    {
        FragmentA highA = Tf32Split.High(a);
        FragmentA lowA = Tf32Split.Low(a, highA);
        FragmentB highB = Tf32Split.High(b);
        FragmentB lowB = Tf32Split.Low(b, highB);
        TileRow sum = default;
        sum = AddFirst(sum, lowA, highB);
        sum = AddSecond(sum, lowA, highB);
        sum = AddFirst(sum, highA, lowB);
        sum = AddSecond(sum, highA, lowB);
        sum = AddFirst(sum, highA, highB);
        return AddSecond(sum, highA, highB);
    }

    /// <summary><see cref="Float32"/> of 16 x 16 by 16 x 16.</summary>
    [IntrinsicImplementation]
    public static TilePair Float32Pair(FragmentA a, FragmentPair b)
    {
        TilePair sum = default;
        sum.T0 = MultiplyAdd<SplitProduct>(MultiplyAdd<SplitProduct>(default, MmaOperands.First(a, b.B0)), MmaOperands.Second(a, b.B0));
        sum.T1 = MultiplyAdd<SplitProduct>(MultiplyAdd<SplitProduct>(default, MmaOperands.First(a, b.B1)), MmaOperands.Second(a, b.B1));
        return sum;
    }

    /// <summary>What <see cref="Float32Pair"/> is on CUDA: the additions of <see cref="Float32OnCuda"/> in their order.</summary>
    public static TilePair Float32PairOnCuda(FragmentA a, FragmentPair b)
    {
        FragmentA highA = Tf32Split.High(a);
        FragmentA lowA = Tf32Split.Low(a, highA);
        FragmentPair highB = Tf32Split.High(b);
        FragmentPair lowB = Tf32Split.Low(b, highB);
        return Tf32Pair(Tf32Pair(Tf32Pair(default, lowA, highB), highA, lowB), highA, highB);
    }

    /// <summary>C + A B of 16 x 16 by 16 x 16 operands that are rounded to tf32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TilePair Tf32Pair(TilePair c, FragmentA a, FragmentPair b)
    {
        c.T0 = Tf32(c.T0, MmaOperands.First(a, b.B0));
        c.T1 = Tf32(c.T1, MmaOperands.First(a, b.B1));
        c.T0 = Tf32(c.T0, MmaOperands.Second(a, b.B0));
        c.T1 = Tf32(c.T1, MmaOperands.Second(a, b.B1));
        return c;
    }

    /// <summary>C + A B of 16 x 16 by 16 x 32 operands that are rounded to tf32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TileRow Tf32Row(TileRow c, FragmentA a, FragmentB b) => AddSecond(AddFirst(c, a, b), a, b);

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

    // The first half of the depth of four neighbours, then the second.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TileRow AddFirst(TileRow sum, FragmentA a, FragmentB b)
    {
        sum.T0 = Tf32(sum.T0, MmaOperands.First(a, b.B0));
        sum.T1 = Tf32(sum.T1, MmaOperands.First(a, b.B1));
        sum.T2 = Tf32(sum.T2, MmaOperands.First(a, b.B2));
        sum.T3 = Tf32(sum.T3, MmaOperands.First(a, b.B3));
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TileRow AddSecond(TileRow sum, FragmentA a, FragmentB b)
    {
        sum.T0 = Tf32(sum.T0, MmaOperands.Second(a, b.B0));
        sum.T1 = Tf32(sum.T1, MmaOperands.Second(a, b.B1));
        sum.T2 = Tf32(sum.T2, MmaOperands.Second(a, b.B2));
        sum.T3 = Tf32(sum.T3, MmaOperands.Second(a, b.B3));
        return sum;
    }

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

    // What the instructions see of a word.
    private static float Truncated(uint bits) => BitConverter.UInt32BitsToSingle(bits & 0xffffe000u);

    /// <summary>The product of two operand words as one instruction makes it.</summary>
    private interface IWordProduct
    {
        static abstract float Of(uint a, uint b);
    }

    private readonly struct TruncatedProduct : IWordProduct
    {
        public static float Of(uint a, uint b) => Truncated(a) * Truncated(b);
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
            float wholeA = Interop.IntAsFloat(a);
            float wholeB = Interop.IntAsFloat(b);
            float highA = Tf32Split.High(wholeA);
            float highB = Tf32Split.High(wholeB);
            float lowA = Truncated(Interop.FloatAsInt(wholeA - highA));
            float lowB = Truncated(Interop.FloatAsInt(wholeB - highB));
            return (highA * highB) + ((lowA * highB) + (highA * lowB));
        }
    }
}
