// SPDX-License-Identifier: Apache-2.0
using System.Collections.Concurrent;
using System.Reflection;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;

namespace HiMo.Kernels;

/// <summary>One device that runs the kernels: a GPU, or ILGPU's emulation of one on the processor for tests.</summary>
internal sealed class Gpu : IDisposable
{
    /// <summary>Lanes of a warp, on every device that this library supports.</summary>
    public const int WarpSize = 32;

    private readonly Context _context;
    private readonly ConcurrentDictionary<MethodInfo, Delegate> _kernels = new();

    private Gpu(Context context, Accelerator accelerator)
    {
        _context = context;
        Accelerator = accelerator;
    }

    /// <summary>ILGPU's accelerator.</summary>
    public Accelerator Accelerator { get; }

    /// <summary>Name of the device.</summary>
    public string Name => Accelerator.Name;

    /// <summary>True: launches are written into the log and not made, so that the launches of any configuration can be listed.</summary>
    public bool OnlyRecords { get; init; }

    /// <summary>What was launched, allocated, copied and waited for since the last reset.</summary>
    public LaunchLog Log { get; } = new();

    /// <summary>
    /// ILGPU's emulation: every kernel as it is, one operating-system thread a lane, hence thousands of times slower than a GPU.
    /// </summary>
    /// <param name="warps">Most warps of a group.</param>
    /// <param name="onlyRecords">See <see cref="OnlyRecords"/>.</param>
    public static Gpu OpenEmulated(int warps = 8, bool onlyRecords = false)
    {
        CPUDevice device = new(WarpSize, warps, numMultiprocessors: 1);
        // O1: O2 moves reads of shared memory across barriers.
        Context context = Context.Create(builder => builder.CPU(device).Optimize(OptimizationLevel.O1).EnableAlgorithms().HiMoIntrinsics());
        return new Gpu(context, context.GetCPUDevice(0).CreateCPUAccelerator(context, CPUAcceleratorMode.Parallel)) { OnlyRecords = onlyRecords };
    }

    /// <summary>Device memory for <paramref name="length"/> elements; its contents are undefined.</summary>
    public MemoryBuffer1D<T, Stride1D.Dense> Allocate<T>(long length)
        where T : unmanaged
    {
        Log.Allocations++;
        return Accelerator.Allocate1D<T>(Math.Max(length, 1));
    }

    /// <summary>Enqueues a kernel whose arguments are the fields of one structure.</summary>
    /// <param name="stream">Orders the launch.</param>
    /// <param name="kernel">A static method; compiled at its first launch.</param>
    /// <param name="groups">Groups in the grid; nothing is launched if any extent is 0.</param>
    /// <param name="threads">Threads of a group, a multiple of <see cref="WarpSize"/>.</param>
    /// <param name="arguments">Passed by value.</param>
    /// <param name="sharedLength">Words of dynamic shared memory.</param>
    public void Launch<TArguments>(
        AcceleratorStream stream, Action<TArguments> kernel, Index3D groups, int threads, TArguments arguments, int sharedLength = 0)
        where TArguments : struct
    {
        if (groups.Size == 0)
        {
            return;
        }

        Log.Launches.Add(new LaunchEntry(kernel.Method, groups, threads, sharedLength));
        if (OnlyRecords)
        {
            return;
        }

        var launcher = (Action<AcceleratorStream, KernelConfig, TArguments>)_kernels.GetOrAdd(
            kernel.Method, static (_, state) => state.Accelerator.LoadKernel(state.kernel), (Accelerator, kernel));
        SharedMemoryConfig shared = sharedLength > 0 ? SharedMemoryConfig.RequestDynamic<float>(sharedLength) : SharedMemoryConfig.Empty;
        launcher(stream, new KernelConfig(groups, new Index3D(threads, 1, 1), shared), arguments);
    }

    /// <summary>Frees the device's memory and kernels.</summary>
    public void Dispose()
    {
        Accelerator.Dispose();
        _context.Dispose();
    }
}
