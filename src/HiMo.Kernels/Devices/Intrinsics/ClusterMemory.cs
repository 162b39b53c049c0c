// SPDX-License-Identifier: Apache-2.0
// Shared memory of the groups of a cluster, which Hopper starts together and which reach each other's: a launch whose clusters are the grid's rows. Words are
// read and written as a whole, in no order with anything else, as in RelaxedMemory.
// Source     PTX ISA, mapa, barrier.cluster, and the memory consistency model: relaxed operations of cluster scope on 64 bits are single-copy atomic.
// Emulation  groups find each other's memory in a table; they must all run at the same time.
using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace HiMo.Kernels;

/// <summary>Relaxed loads and stores in the shared memory of a cluster's groups.</summary>
internal static unsafe class ClusterMemory
{
    private static readonly ConcurrentDictionary<(nint Cluster, int Row), Meeting> s_meetings = new();

    /// <summary>Every thread's first call: returns when every group of the cluster has made it, and what each wrote before is there.</summary>
    /// <param name="cluster">A word of global memory that only this launch uses; the emulation knows the launch by it.</param>
    /// <param name="own">The first word that others write to, at the same place in every group.</param>
    [IntrinsicImplementation]
    public static void Begin(ref long cluster, ref long own)
    {
        Meeting meeting = s_meetings.GetOrAdd(Key(ref cluster), _ => new Meeting(Grid.DimX));
        meeting.Own[Grid.IdxX] = (nint)Unsafe.AsPointer(ref own);
        Meet(meeting);
    }

    /// <summary>The word of the group's own memory as it is now.</summary>
    [IntrinsicImplementation]
    public static long Load(ref long word) => Volatile.Read(ref word);

    /// <summary>Replaces the word of another group, or of the own one, that is where the given word is here.</summary>
    [IntrinsicImplementation]
    public static void Store(ref long cluster, ref long word, int rank, long value)
    {
        nint[] own = s_meetings[Key(ref cluster)].Own;
        Volatile.Write(ref Unsafe.AsRef<long>((void*)((nint)Unsafe.AsPointer(ref word) - own[Grid.IdxX] + own[rank])), value);
    }

    /// <summary>Every thread's last call: returns when every group of the cluster has made it.</summary>
    [IntrinsicImplementation]
    public static void End(ref long cluster)
    {
        Meeting meeting = s_meetings[Key(ref cluster)]; // found by every thread before one is past the barrier
        Meet(meeting);
        _ = s_meetings.TryRemove(new(Key(ref cluster), meeting));
    }

    /// <summary>PTX of <see cref="Begin"/>.</summary>
    public static void EmitBegin(PTXBackend backend, PTXCodeGenerator generator, Value call) => EmitBarrier(generator);

    /// <summary>PTX of <see cref="Load"/>.</summary>
    public static void EmitLoad(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string address = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        PtxEmitter.Emit(generator, "ld.relaxed.cluster.shared::cta.b64", $"{PtxEmitter.Leaves(generator, generator.Allocate(call))[0]}, [{address}]");
    }

    /// <summary>PTX of <see cref="Store"/>.</summary>
    public static void EmitStore(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string address = PtxEmitter.Leaves(generator, generator.Load(call[1]))[0];
        string rank = PtxEmitter.Leaves(generator, generator.Load(call[2]))[0];
        string value = PtxEmitter.Leaves(generator, generator.Load(call[3]))[0];
        PtxEmitter.EmitBlock(
            generator, $"\t.reg .b64 there; mapa.shared::cluster.u64 there, {address}, {rank}; st.relaxed.cluster.shared::cluster.b64 [there], {value};\n");
    }

    /// <summary>PTX of <see cref="End"/>.</summary>
    public static void EmitEnd(PTXBackend backend, PTXCodeGenerator generator, Value call) => EmitBarrier(generator);

    private static void EmitBarrier(PTXCodeGenerator generator) =>
        PtxEmitter.EmitBlock(generator, "\tbarrier.cluster.arrive.release; barrier.cluster.wait.acquire;\n");

    private static (nint Cluster, int Row) Key(ref long cluster) => ((nint)Unsafe.AsPointer(ref cluster), Grid.IdxY);

    private static void Meet(Meeting meeting)
    {
        GroupBarrier.Wait();
        if (Group.IdxX == 0)
        {
            meeting.Barrier.SignalAndWait();
        }

        GroupBarrier.Wait();
    }

    private sealed class Meeting(int groups)
    {
        public nint[] Own { get; } = new nint[groups];

        public Barrier Barrier { get; } = new(groups);
    }
}
