// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.IR;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>
/// What all emulated devices of a process share. Their lanes call a kernel's method itself; ILGPU would translate it all the same, which takes longer
/// than most launches, and throw the translation away. One kernel that does nothing is translated in the place of all: what remains of each is the
/// call with its arguments. Whether a kernel can be translated shows on CUDA, and when its PTX is made without a device.
/// </summary>
internal static class Emulation
{
    private static readonly Lock s_lock = new();
    private static readonly Dictionary<(MethodInfo Kernel, int Threads), CompiledKernel> s_kernels = [];
    private static Method? s_nothing;

    /// <summary>What every lane does behind each barrier and each exchange of its warp: nothing, but where a test delays lanes.</summary>
    public static Action? BehindBarriers { get; set; }

    public static Context Context { get; } = Context.Create(builder => builder.EnableAlgorithms());

    /// <summary>The kernel for groups of that many threads, on any of the devices.</summary>
    public static CompiledKernel Compile(Accelerator accelerator, MethodInfo kernel, int threads)
    {
        lock (s_lock)
        {
            if (!s_kernels.TryGetValue((kernel, threads), out CompiledKernel? compiled))
            {
                Backend backend = accelerator.GetBackend();
                s_nothing ??= backend.PreCompileKernelMethod(EntryPointDescription.FromExplicitlyGroupedKernel(((Delegate)Nothing).Method));
                compiled = backend.Compile(s_nothing, EntryPointDescription.FromExplicitlyGroupedKernel(kernel), new KernelSpecialization(threads, 1));
                s_kernels.Add((kernel, threads), compiled);
            }

            return compiled;
        }
    }

    // ILGPU lets only those launches ask for dynamic shared memory whose kernel has some.
    private static void Nothing() => SharedMemory.GetDynamic<float>()[0] = 0.0f;
}
