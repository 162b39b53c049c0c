// SPDX-License-Identifier: Apache-2.0
// Kernels for a CUDA device: PTX from the cache where it is there.
using System.Reflection;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;

namespace HiMo.Kernels;

internal static class CudaKernels
{
    /// <summary>The kernel as the device's backend gives it.</summary>
    public static PTXCompiledKernel Compile(PTXBackend backend, MethodInfo method, int threads, PtxCache cache)
    {
        EntryPointDescription description = EntryPointDescription.FromExplicitlyGroupedKernel(method);
        // The group size becomes a promise to the assembler, which then fits the registers to it.
        KernelSpecialization specialization = new(threads, minNumGroupsPerMultiprocessor: 1);
        string key = PtxCache.KeyOf(method, threads, $"{backend.Architecture} {backend.InstructionSet}");
        string ptx = cache.Get(key, () => ((PTXCompiledKernel)backend.Compile(description, specialization)).PTXAssembly);
        bool isDynamic = ptx.Contains(".extern .shared", StringComparison.Ordinal);
        return New(backend.Context, new EntryPoint(description, new SharedMemorySpecification(0, isDynamic), specialization), null, ptx);
    }

    [UnsafeAccessor(UnsafeAccessorKind.Constructor)]
    private static extern PTXCompiledKernel New(Context context, EntryPoint entryPoint, CompiledKernel.KernelInfo? info, string ptxAssembly);
}
