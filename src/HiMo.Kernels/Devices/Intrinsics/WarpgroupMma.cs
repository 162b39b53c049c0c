// SPDX-License-Identifier: Apache-2.0
// A tile of a bf16 product by Hopper's warpgroup instructions:  C = A B^T,  A 128 x k, B 128 x k, C 128 x 128 in float32.
// Operands   PackedMatrix: tiles of 128 x 64, each 16 KiB in one piece and already swizzled as the instructions want it, so that a stage is two bulk
//            copies of the copy engine, which one thread asks for and an mbarrier answers.
// Mapping    group of 256 threads = 2 warpgroups, 64 rows each, wgmma m64n128k16. Stages of 64 in a ring of three: while one is multiplied two are on
//            their way; one group barrier a stage says that a slot is free again.
// Layout     thread t: rows 64 (t / 128) + 16 (t / 32 % 4) + lane / 4 and + 8; field T<j>: columns 8 j + 2 (lane % 4) and + 1; X, Y upper row, Z, W lower row.
// Sides      the C# body runs on ILGPU's CPU accelerator, where every thread multiplies its own elements; the PTX needs sm_90a. For CUDA a call of X becomes one of
//            XOnCuda (of Multiply: OnCuda), compiled like all code, which makes addresses of views, each in its view's own address space, and calls XAt, in whose
//            place EmitX (of MultiplyAt: Emit) writes PTX: XAt has no body of use.
// Phases     stage number before + k of all calls of a group lies in slot number % 3, whose mbarrier it completes in phase number / 3; number 0 initialises them.
// Precision  products of bf16 numbers exact, sums in float32, truncated by the hardware as it adds.
// Source     PTX ISA, sections wgmma.mma_async, matrix descriptors, cp.async.bulk, mbarrier.
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace HiMo.Kernels;

/// <summary>One thread's share of a 128 x 128 tile: 16 columns of 8 side by side.</summary>
internal struct WarpgroupTile
{
    public Float4 T0;
    public Float4 T1;
    public Float4 T2;
    public Float4 T3;
    public Float4 T4;
    public Float4 T5;
    public Float4 T6;
    public Float4 T7;
    public Float4 T8;
    public Float4 T9;
    public Float4 T10;
    public Float4 T11;
    public Float4 T12;
    public Float4 T13;
    public Float4 T14;
    public Float4 T15;
}

/// <summary>The product of packed tiles.</summary>
internal static class WarpgroupMma
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 256;

    /// <summary>Rows and columns of C.</summary>
    public const int Tile = 128;

    /// <summary>Words of dynamic shared memory: three stages, their barriers, and room to align them.</summary>
    public const int SharedLength = ((Stages * StageBytes) + 1024 + 64) / sizeof(uint);

    private const int Stages = 3;
    private const int StageBytes = 2 * PackedMatrix.TileLength * sizeof(uint);

    /// <summary>Asks for the first stages of a product, which arrive while the group does something else. It begins with a barrier; <see cref="Multiply"/> must follow.</summary>
    /// <inheritdoc cref="Multiply"/>
    [IntrinsicImplementation]
    public static void Begin(ArrayView<uint> shared, ArrayView<uint> a, long firstA, ArrayView<uint> b, long firstB, int tiles, int before) => GroupBarrier.Wait();

    /// <summary>
    /// C of some tiles of 64 along the depth, whose first stages <see cref="Begin"/> has asked for with the same arguments. Every thread of the group calls
    /// both, with the same ones; a barrier is in it.
    /// </summary>
    /// <param name="shared"><see cref="SharedLength"/> words that nobody else uses, the same at every call.</param>
    /// <param name="a">Packed tiles of A.</param>
    /// <param name="firstA">Word where the first one begins.</param>
    /// <param name="b">Packed tiles of B.</param>
    /// <param name="firstB">Word where the first one begins.</param>
    /// <param name="tiles">Tiles along the depth, 1 or more.</param>
    /// <param name="before">Tiles of all calls before this one in the same group: where the ring stands.</param>
    [IntrinsicImplementation]
    public static WarpgroupTile Multiply(ArrayView<uint> shared, ArrayView<uint> a, long firstA, ArrayView<uint> b, long firstB, int tiles, int before)
    {
        int lane = Group.IdxX % 32;
        int row = (Group.IdxX / 32 * 16) + (lane / 4);
        Span<Float4> sums = stackalloc Float4[16];
        for (int tile = 0; tile < tiles; tile++)
        {
            ArrayView<uint> left = shared.SubView((before + tile) % Stages * 2 * PackedMatrix.TileLength, PackedMatrix.TileLength);
            ArrayView<uint> right = shared.SubView(((before + tile) % Stages * 2 * PackedMatrix.TileLength) + PackedMatrix.TileLength, PackedMatrix.TileLength);
            for (int i = Group.IdxX; i < PackedMatrix.TileLength; i += Threads)
            {
                left[i] = a[firstA + ((long)tile * PackedMatrix.TileLength) + i];
                right[i] = b[firstB + ((long)tile * PackedMatrix.TileLength) + i];
            }

            GroupBarrier.Wait(); // the stage is there; the last readers of the stage in its place are a barrier away
            for (int k = 0; k < 64; k += 2)
            {
                uint upper = left[PackedMatrix.Word(row, k)];
                uint lower = left[PackedMatrix.Word(row + 8, k)];
                for (int j = 0; j < 16; j++)
                {
                    int column = (8 * j) + (2 * (lane % 4));
                    uint even = right[PackedMatrix.Word(column, k)];
                    uint odd = right[PackedMatrix.Word(column + 1, k)];
                    sums[j].X += Dot(upper, even);
                    sums[j].Y += Dot(upper, odd);
                    sums[j].Z += Dot(lower, even);
                    sums[j].W += Dot(lower, odd);
                }
            }
        }

        return System.Runtime.InteropServices.MemoryMarshal.Cast<Float4, WarpgroupTile>(sums)[0];
    }

    /// <summary>First word of the ring that is aligned as a tile, where results may be laid when it is free.</summary>
    [IntrinsicImplementation]
    public static int AlignedStart(ArrayView<uint> shared) => 0;

    /// <summary>What <see cref="AlignedStart"/> is on CUDA.</summary>
    public static int AlignedStartOnCuda(ArrayView<uint> shared) => AlignedStartAt(ref shared[0]);

    /// <summary>Only <see cref="AlignedStartOnCuda"/> calls it, so that its body is never run.</summary>
    [IntrinsicImplementation]
    public static int AlignedStartAt(ref uint shared) => throw new NotSupportedException();

    /// <summary>PTX of <see cref="AlignedStartAt"/>.</summary>
    public static void EmitAlignedStart(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string shared = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        string start = PtxEmitter.Leaves(generator, generator.Allocate(call))[0];
        PtxEmitter.EmitBlock(
            generator,
            $".reg .b32 base; cvt.u32.u64 base, {shared}; add.u32 {start}, base, 1023; and.b32 {start}, {start}, -1024; sub.u32 {start}, {start}, base; shr.u32 {start}, {start}, 2;\n");
    }

    /// <summary>
    /// Two tiles from the ring to one place and the two behind them to another. Every thread of the group calls it when it has written its part; the
    /// ring must not be written again.
    /// </summary>
    [IntrinsicImplementation]
    public static void StoreTiles(ArrayView<uint> shared, int start, ArrayView<uint> first, long firstStart, ArrayView<uint> second, long secondStart)
    {
        GroupBarrier.Wait();
        for (int i = Group.IdxX; i < 2 * PackedMatrix.TileLength; i += Threads)
        {
            first[firstStart + i] = shared[start + i];
            second[secondStart + i] = shared[start + (2 * PackedMatrix.TileLength) + i];
        }
    }

    /// <summary>What <see cref="StoreTiles"/> is on CUDA.</summary>
    public static void StoreTilesOnCuda(ArrayView<uint> shared, int start, ArrayView<uint> first, long firstStart, ArrayView<uint> second, long secondStart) =>
        StoreTilesAt(ref shared[start], ref first[firstStart], ref second[secondStart]);

    /// <summary>Only <see cref="StoreTilesOnCuda"/> calls it, so that its body is never run.</summary>
    [IntrinsicImplementation]
    public static void StoreTilesAt(ref uint shared, ref uint first, ref uint second) => throw new NotSupportedException();

    /// <summary>PTX of <see cref="StoreTilesAt"/>.</summary>
    public static void EmitStoreTiles(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string[] inputs = [.. Enumerable.Range(0, 3).Select(i => PtxEmitter.Leaves(generator, generator.Load(call[i]))[0])];
        PtxEmitter.EmitBlock(generator, $"""
            .reg .pred isOther; .reg .b32 from, thread;
            fence.proxy.async.shared::cta;
            bar.sync 0;
            mov.u32 thread, %tid.x; setp.ne.u32 isOther, thread, 0; @isOther bra DONE;
            cvt.u32.u64 from, {inputs[0]};
            cp.async.bulk.global.shared::cta.bulk_group [{inputs[1]}], [from], 32768;
            add.u32 from, from, 32768;
            cp.async.bulk.global.shared::cta.bulk_group [{inputs[2]}], [from], 32768;
            cp.async.bulk.commit_group;
            cp.async.bulk.wait_group.read 0;
            DONE:

            """);
    }

    /// <summary>What <see cref="Multiply"/> is on CUDA: addresses instead of views.</summary>
    public static WarpgroupTile OnCuda(ArrayView<uint> shared, ArrayView<uint> a, long firstA, ArrayView<uint> b, long firstB, int tiles, int before) =>
        MultiplyAt(ref shared[0], ref a[firstA], ref b[firstB], tiles, before);

    /// <summary>Only <see cref="OnCuda"/> calls it, so that its body is never run.</summary>
    [IntrinsicImplementation]
    public static WarpgroupTile MultiplyAt(ref uint shared, ref uint a, ref uint b, int tiles, int before) => throw new NotSupportedException();

    /// <summary>What <see cref="Begin"/> is on CUDA.</summary>
    public static void BeginOnCuda(ArrayView<uint> shared, ArrayView<uint> a, long firstA, ArrayView<uint> b, long firstB, int tiles, int before) =>
        BeginAt(ref shared[0], ref a[firstA], ref b[firstB], tiles, before);

    /// <summary>Only <see cref="BeginOnCuda"/> calls it, so that its body is never run.</summary>
    [IntrinsicImplementation]
    public static void BeginAt(ref uint shared, ref uint a, ref uint b, int tiles, int before) => throw new NotSupportedException();

    /// <summary>PTX of <see cref="BeginAt"/>.</summary>
    public static void EmitBegin(PTXBackend backend, PTXCodeGenerator generator, Value call) =>
        PtxEmitter.EmitBlock(generator, string.Join('\n', [.. Head(Inputs(generator, call)), .. Fill(Inputs(generator, call)), ""]));

    /// <summary>PTX of <see cref="MultiplyAt"/>.</summary>
    public static void Emit(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string[] inputs = Inputs(generator, call);
        string[] sums = PtxEmitter.Leaves(generator, generator.Allocate(call));
        PtxEmitter.EmitBlock(generator, string.Join('\n', [.. Head(inputs), .. Loop(inputs, sums), ""]));
    }

    // Addresses in shared memory, of A and of B; tiles; tiles before.
    private static string[] Inputs(PTXCodeGenerator generator, Value call) =>
        [.. Enumerable.Range(0, 5).Select(i => PtxEmitter.Leaves(generator, generator.Load(call[i]))[0])];

    private const string Slot = "rem.u32 slot, at, 3; mad.lo.u32 barrier, slot, 8, barriers; mad.lo.u32 stage, slot, 32768, base;";

    // Both operands of the stage at "at".
    private const string Load = $"""
        {Slot}
        mbarrier.arrive.expect_tx.shared::cta.b64 _, [barrier], 32768;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [stage], [fromA], 16384, [barrier];
        add.u32 stage, stage, 16384;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [stage], [fromB], 16384, [barrier];
        add.u64 fromA, fromA, 16384; add.u64 fromB, fromB, 16384;
        """;

    private static IEnumerable<string> Head(string[] inputs) =>
    [
        ".reg .pred isOther, isDone, isMore; .reg .b32 base, barriers, thread, at, slot, barrier, stage, parity, k, ahead, part; .reg .b64 fromA, fromB, left, right;",
        $"cvt.u32.u64 base, {inputs[0]}; add.u32 base, base, 1023; and.b32 base, base, -1024; add.u32 barriers, base, 98304;",
        $"mov.b64 fromA, {inputs[1]}; mov.b64 fromB, {inputs[2]};",
        "mov.u32 thread, %tid.x; setp.ne.u32 isOther, thread, 0;",
    ];

    private static IEnumerable<string> Fill(string[] inputs) =>
    [
        $"setp.ne.s32 isMore, {inputs[4]}, 0; or.pred isMore, isMore, isOther; @isMore bra READY;",
        "mbarrier.init.shared::cta.b64 [barriers], 1; mbarrier.init.shared::cta.b64 [barriers+8], 1; mbarrier.init.shared::cta.b64 [barriers+16], 1;",
        "fence.proxy.async.shared::cta;",
        "READY:",
        "bar.sync 0;",                                       // the barriers exist, and nobody reads the ring any more
        "@isOther bra FILLED;",
        $"mov.u32 at, {inputs[4]}; mov.u32 ahead, 0;",
        "FILL:",
        Load,
        $"add.u32 at, at, 1; add.u32 ahead, ahead, 1; setp.lt.u32 isMore, ahead, {inputs[3]}; setp.lt.and.u32 isMore, ahead, 3, isMore; @isMore bra FILL;",
        "FILLED:",
    ];

    private static IEnumerable<string> Loop(string[] inputs, string[] sums)
    {
        string instruction = $"wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {{{string.Join(',', sums)}}}, left, right, 1, 1, 1, 0, 0;";
        return
        [
            $"min.u32 ahead, {inputs[3]}, 3; mul.wide.u32 left, ahead, 16384; add.u64 fromA, fromA, left; add.u64 fromB, fromB, left;",
            $"mov.u32 at, {inputs[4]}; mov.u32 k, 0; shr.u32 part, thread, 7; shl.b32 part, part, 13;",
            string.Concat(sums.Select(sum => $"mov.f32 {sum}, 0f00000000; ")),
            "NEXT:",
            Slot,
            "div.u32 parity, at, 3; and.b32 parity, parity, 1;",
            "WAIT:",
            "mbarrier.try_wait.parity.shared::cta.b64 isDone, [barrier], parity; @!isDone bra WAIT;",
            // Descriptors: address / 16, rows of 8 x 128 bytes 1024 apart, swizzled by 128 bytes.
            "add.u32 slot, stage, part; shr.u32 slot, slot, 4; cvt.u64.u32 left, slot; or.b64 left, left, 0x4000004000010000;",
            "add.u32 slot, stage, 16384; shr.u32 slot, slot, 4; cvt.u64.u32 right, slot; or.b64 right, right, 0x4000004000010000;",
            "wgmma.fence.sync.aligned;",
            instruction,
            "add.u64 left, left, 2; add.u64 right, right, 2;",
            instruction,
            "add.u64 left, left, 2; add.u64 right, right, 2;",
            instruction,
            "add.u64 left, left, 2; add.u64 right, right, 2;",
            instruction,
            "wgmma.commit_group.sync.aligned;",
            "wgmma.wait_group.sync.aligned 1;",              // the stage before is read
            "bar.sync 0;",                                   // by both warpgroups
            // The slot of the stage before takes the stage after the next.
            $"setp.eq.u32 isMore, k, 0; or.pred isMore, isMore, isOther; setp.ge.or.u32 isMore, ahead, {inputs[3]}, isMore; @isMore bra LOADED;",
            $"add.u32 at, {inputs[4]}, ahead;",
            Load,
            "add.u32 ahead, ahead, 1;",
            "LOADED:",
            $"add.u32 k, k, 1; add.u32 at, {inputs[4]}, k; setp.lt.u32 isMore, k, {inputs[3]}; @isMore bra NEXT;",
            "wgmma.wait_group.sync.aligned 0;",
        ];
    }

    private static float Dot(uint a, uint b) =>
        (Interop.IntAsFloat(a << 16) * Interop.IntAsFloat(b << 16)) + (Interop.IntAsFloat(a & 0xffff0000u) * Interop.IntAsFloat(b & 0xffff0000u));
}
