// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Frontend;
using ILGPU.Frontend.Intrinsic;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace HiMo.Kernels;

/// <summary>Writes one PTX instruction with the registers of an intrinsic's arguments, and registers the intrinsics of this folder.</summary>
internal static class PtxEmitter
{
    private static readonly Lock s_lock = new(); // ILGPU's table of replacements has none
    /// <summary>Registers every intrinsic; before the context is built, and for each context.</summary>
    public static Context.Builder HiMoIntrinsics(this Context.Builder builder)
    {
        IntrinsicImplementationManager manager = builder.GetIntrinsicManager();
        Register(typeof(Mma), nameof(Mma.Tf32), nameof(Mma.EmitTf32), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(Mma), nameof(Mma.Bf16), nameof(Mma.EmitBf16), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(Mma), nameof(Mma.Float32), nameof(Mma.Float32OnCuda), IntrinsicImplementationMode.Redirect);
        Register(typeof(Mma), nameof(Mma.Float32Pair), nameof(Mma.Float32PairOnCuda), IntrinsicImplementationMode.Redirect);
        Register(typeof(Rounding), nameof(Rounding.ToTf32), nameof(Rounding.EmitToTf32), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(Rounding), nameof(Rounding.ToBf16Pair), nameof(Rounding.EmitToBf16Pair), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(Rounding), nameof(Rounding.Product), nameof(Rounding.EmitProduct), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(Exp2), nameof(Exp2.Approximate), nameof(Exp2.Emit), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(Reciprocal), nameof(Reciprocal.Approximate), nameof(Reciprocal.Emit), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(Reciprocal), nameof(Reciprocal.ApproximateRoot), nameof(Reciprocal.EmitRoot), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(WarpgroupMma), nameof(WarpgroupMma.Multiply), nameof(WarpgroupMma.OnCuda), IntrinsicImplementationMode.Redirect);
        Register(typeof(WarpgroupMma), nameof(WarpgroupMma.Begin), nameof(WarpgroupMma.BeginOnCuda), IntrinsicImplementationMode.Redirect);
        Register(typeof(WarpgroupMma), nameof(WarpgroupMma.BeginAt), nameof(WarpgroupMma.EmitBegin), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(WarpgroupMma), nameof(WarpgroupMma.AlignedStart), nameof(WarpgroupMma.AlignedStartOnCuda), IntrinsicImplementationMode.Redirect);
        Register(typeof(WarpgroupMma), nameof(WarpgroupMma.AlignedStartAt), nameof(WarpgroupMma.EmitAlignedStart), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(WarpgroupMma), nameof(WarpgroupMma.StoreTiles), nameof(WarpgroupMma.StoreTilesOnCuda), IntrinsicImplementationMode.Redirect);
        Register(typeof(WarpgroupMma), nameof(WarpgroupMma.StoreTilesAt), nameof(WarpgroupMma.EmitStoreTiles), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(WarpgroupMma), nameof(WarpgroupMma.MultiplyAt), nameof(WarpgroupMma.Emit), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(RelaxedMemory), nameof(RelaxedMemory.Load), nameof(RelaxedMemory.EmitLoad), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(RelaxedMemory), nameof(RelaxedMemory.Store), nameof(RelaxedMemory.EmitStore), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(RelaxedMemory), nameof(RelaxedMemory.Pause), nameof(RelaxedMemory.EmitPause), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(RoleBarrier), nameof(RoleBarrier.Wait), nameof(RoleBarrier.EmitWait), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(ClusterMemory), nameof(ClusterMemory.Begin), nameof(ClusterMemory.EmitBegin), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(ClusterMemory), nameof(ClusterMemory.Load), nameof(ClusterMemory.EmitLoad), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(ClusterMemory), nameof(ClusterMemory.Store), nameof(ClusterMemory.EmitStore), IntrinsicImplementationMode.GenerateCode);
        Register(typeof(ClusterMemory), nameof(ClusterMemory.End), nameof(ClusterMemory.EmitEnd), IntrinsicImplementationMode.GenerateCode);
        foreach (Type value in new[] { typeof(float), typeof(double), typeof(int), typeof(long) })
        {
            Replace(typeof(WarpLanes).GetMethod(nameof(WarpLanes.Xor), [value, typeof(int)])!, typeof(Warp).GetMethod(nameof(Warp.ShuffleXor), [Type.MakeGenericMethodParameter(0), typeof(int)])!.MakeGenericMethod(value));
        }

        Replace(typeof(WarpLanes).GetMethod(nameof(WarpLanes.Barrier))!, typeof(Warp).GetMethod(nameof(Warp.Barrier))!);
        Replace(typeof(GroupBarrier).GetMethod(nameof(GroupBarrier.Wait))!, typeof(Group).GetMethod(nameof(Group.Barrier))!);
        Replace(typeof(GroupBarrier).GetMethod(nameof(GroupBarrier.Or))!, typeof(Group).GetMethod(nameof(Group.BarrierOr))!);
        return builder;

        // Compilers of every context see ILGPU's own instruction.
        static void Replace(MethodInfo method, MethodInfo instruction)
        {
            lock (s_lock)
            {
                RemappedIntrinsics.AddRemapping(method, (ref InvocationContext call) => call.Method = instruction);
            }
        }

        void Register(Type type, string method, string handler, IntrinsicImplementationMode mode) =>
            manager.RegisterMethod(type.GetMethod(method)!, new PTXIntrinsic(type.GetMethod(handler)!, mode));
    }

    /// <summary>PTX names of a register, or of the fields of a structure in order; a constant gets a register first.</summary>
    public static string[] Leaves(PTXCodeGenerator generator, PTXRegisterAllocator.Register register) =>
        register is PTXRegisterAllocator.CompoundRegister compound
            ? [.. compound.Children.SelectMany(child => Leaves(generator, child))]
            : ["%" + PTXRegisterAllocator.GetStringRepresentation(generator.EnsureHardwareRegister((PTXRegisterAllocator.PrimitiveRegister)register))];

    /// <summary>Several lines of PTX, each with its end, in a scope of their own for registers and labels.</summary>
    public static void EmitBlock(PTXCodeGenerator generator, string lines) =>
        _ = generator.Builder.Append("\t{\n").Append(lines).Append("\t}\n");

    /// <summary>One line of PTX.</summary>
    public static void Emit(PTXCodeGenerator generator, string instruction, string operands)
    {
        using PTXCodeGenerator.CommandEmitter command = generator.BeginCommand(instruction);
        command.AppendRawString(" " + operands);
    }
}
