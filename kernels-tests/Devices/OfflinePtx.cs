// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>Compiles a kernel to PTX on a machine without a GPU.</summary>
internal static partial class OfflinePtx
{
    /// <summary>PTX of an explicitly grouped kernel.</summary>
    /// <param name="kernel">A static method; generic ones closed.</param>
    /// <param name="threads">Threads of a group; becomes .maxntid.</param>
    /// <param name="target">sm_80 or sm_90.</param>
    public static string Compile(MethodInfo kernel, int threads, string target)
    {
        // A fresh context for each kernel: in a used one the same kernel gets other text.
        using Context context = Context.Create(builder => builder.Optimize(OptimizationLevel.O1).EnableAlgorithms().HiMoIntrinsics());
        CudaArchitecture architecture = target.StartsWith("sm_90", StringComparison.Ordinal) ? CudaArchitecture.SM_90 : CudaArchitecture.SM_80;
        using PTXBackend backend = new(context, architecture, CudaInstructionSet.ISA_84, nvvmAPI: null!);
        var compiled = (PTXCompiledKernel)backend.Compile(
            EntryPointDescription.FromExplicitlyGroupedKernel(kernel), CudaKernels.Specialize(kernel, threads));
        return CudaKernels.Retarget(TargetLine().Replace(compiled.PTXAssembly, $".target {target}")); // ILGPU names nothing newer than sm_80
    }

    [GeneratedRegex(@"^\.target \w+", RegexOptions.Multiline)]
    private static partial Regex TargetLine();
}
