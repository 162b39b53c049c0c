// SPDX-License-Identifier: Apache-2.0
// Words of device memory that groups of one launch hand to each other: read and written as a whole, past the first-level caches, in no order with
// anything else. What belongs together must stand in one word.
// Source     PTX ISA, memory consistency model: relaxed operations of gpu scope on 64 bits are single-copy atomic.
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace HiMo.Kernels;

/// <summary>Relaxed loads and stores that all groups see.</summary>
internal static class RelaxedMemory
{
    /// <summary>The word as it is now; never taken from an earlier load.</summary>
    [IntrinsicImplementation]
    public static long Load(ref long word) => Volatile.Read(ref word);

    /// <summary>Replaces the word.</summary>
    [IntrinsicImplementation]
    public static void Store(ref long word, long value) => Volatile.Write(ref word, value);

    /// <summary>Between two looks at a word that is not there yet: nothing on a GPU; in emulation, lanes are threads of few processors.</summary>
    [IntrinsicImplementation]
    public static void Pause() => Thread.Sleep(1);

    /// <summary>PTX of <see cref="Pause"/>: none.</summary>
    public static void EmitPause(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
    }

    /// <summary>PTX of <see cref="Load"/>.</summary>
    public static void EmitLoad(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string address = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        PtxEmitter.Emit(generator, "ld.relaxed.gpu.b64", $"{PtxEmitter.Leaves(generator, generator.Allocate(call))[0]}, [{address}]");
    }

    /// <summary>PTX of <see cref="Store"/>.</summary>
    public static void EmitStore(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string address = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        string value = PtxEmitter.Leaves(generator, generator.Load(call[1]))[0];
        PtxEmitter.Emit(generator, "st.relaxed.gpu.b64", $"[{address}], {value}");
    }
}
