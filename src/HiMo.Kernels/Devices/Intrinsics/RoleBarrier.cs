// SPDX-License-Identifier: Apache-2.0
// Source     PTX ISA, parallel synchronization: bar.sync is barrier.sync.aligned, which promises that all threads come to one and the same instruction.
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace HiMo.Kernels;

/// <summary>The barrier of a group whose warps have different roles, and come to it in different places of the code.</summary>
internal static class RoleBarrier
{
    /// <summary>Waits until every thread of the group has come to such a barrier, be it this one or another.</summary>
    [IntrinsicImplementation]
    public static void Wait() => GroupBarrier.Wait();

    /// <summary>PTX of <see cref="Wait"/>.</summary>
    public static void EmitWait(PTXBackend backend, PTXCodeGenerator generator, Value call) => PtxEmitter.Emit(generator, "barrier.sync", "0");
}
