// SPDX-License-Identifier: Apache-2.0
// Kernels for a CUDA device: PTX that was made ahead, or is in the cache, or is compiled now.
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;

namespace HiMo.Kernels;

internal static partial class CudaKernels
{
    /// <summary>The kernel as the device's backend gives it.</summary>
    public static PTXCompiledKernel Compile(PTXBackend backend, MethodInfo method, int threads, PtxArchive? ahead, PtxCache cache)
    {
        EntryPointDescription description = EntryPointDescription.FromExplicitlyGroupedKernel(method);
        KernelSpecialization specialization = Specialize(method, threads);
        string key = PtxCache.KeyOf(method, threads, $"{backend.Architecture} {backend.InstructionSet}");
        string ptx = (backend.InstructionSet >= PtxArchive.InstructionSet ? ahead?.Find(method, threads) : null)
            ?? cache.Get(key, () => Retarget(((PTXCompiledKernel)backend.Compile(description, specialization)).PTXAssembly));
        bool isDynamic = ptx.Contains(".extern .shared", StringComparison.Ordinal);
        return New(backend.Context, new EntryPoint(description, new SharedMemorySpecification(0, isDynamic), specialization), null, ptx);
    }

    /// <summary>The group size, and groups that fit a multiprocessor: promises to the assembler, which fits the registers to them.</summary>
    public static KernelSpecialization Specialize(MethodInfo method, int threads) =>
        new(threads, method.GetCustomAttribute<ResidentGroupsAttribute>()?.Of(threads) ?? 1);

    /// <summary>
    /// Kernels with Hopper's warpgroup instructions get sm_90a, of which ILGPU knows nothing, and those with clusters sm_90, whatever the target of all others is.
    /// </summary>
    internal static string Retarget(string ptx) =>
        ptx.Contains("wgmma.", StringComparison.Ordinal) ? TargetLine().Replace(ptx, ".target sm_90a")
        : ptx.Contains("barrier.cluster.", StringComparison.Ordinal) ? TargetLine().Replace(ptx, ".target sm_90")
        : ptx;

    [GeneratedRegex(@"^\.target \w+", RegexOptions.Multiline)]
    private static partial Regex TargetLine();

    [UnsafeAccessor(UnsafeAccessorKind.Constructor)]
    private static extern PTXCompiledKernel New(Context context, EntryPoint entryPoint, CompiledKernel.KernelInfo? info, string ptxAssembly);
}

/// <summary>How many thread groups of a kernel a multiprocessor holds at least; the assembler keeps to the registers that this leaves.</summary>
/// <param name="count">Groups.</param>
/// <param name="threads">Of so many threads; of larger ones as many threads, but one at least. 0: however large.</param>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class ResidentGroupsAttribute(int count, int threads = 0) : Attribute
{
    public int Count => count;

    public int Threads => threads;

    /// <summary>Groups of a launch's size.</summary>
    public int Of(int launched) => threads == 0 ? count : Math.Max(1, count * threads / launched);
}
