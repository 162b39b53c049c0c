// SPDX-License-Identifier: Apache-2.0
using System.Collections.Concurrent;
using System.Reflection;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

public sealed partial class Gpu
{
    // 48 KiB need no consent, a kernel's static share included, which is a few of them.
    private const int FreeDynamicSharedBytes = 32 << 10;

    private readonly ConcurrentDictionary<(MethodInfo Kernel, int Threads, bool IsResident), Lazy<LoadedKernel>> _kernels = new();

    /// <summary>True: launches are written into the log and not made, memory is not taken, and what is not supported yet can be asked for.</summary>
    internal bool OnlyRecords { get; private init; }

    /// <summary>What was launched, allocated, copied and waited for since the last reset.</summary>
    internal LaunchLog Log { get; } = new();

    /// <summary>Times every launch by events while it is set; for benchmarks.</summary>
    internal LaunchTimer? Timer { get; set; }

    /// <summary>Enqueues a kernel whose arguments are the fields of one structure.</summary>
    /// <param name="stream">Orders the launch.</param>
    /// <param name="kernel">A static method; compiled at its first launch.</param>
    /// <param name="groups">Groups in the grid; nothing is launched if any extent is 0.</param>
    /// <param name="threads">Threads of a group, a multiple of <see cref="WarpSize"/>.</param>
    /// <param name="arguments">Passed by value.</param>
    /// <param name="sharedLength">Words of dynamic shared memory.</param>
    /// <param name="isResident">The groups wait for each other: all must fit on the device at once.</param>
    /// <exception cref="GpuException">Compiling or launching failed.</exception>
    internal void Launch<TArguments>(
        AcceleratorStream stream, Action<TArguments> kernel, Index3D groups, int threads, TArguments arguments, int sharedLength = 0, bool isResident = false)
        where TArguments : struct
    {
        if (groups.Size == 0)
        {
            return;
        }

        if (Log.IsRecording)
        {
            Log.Record(new LaunchEntry(kernel.Method, groups, threads, sharedLength, arguments));
        }

        if (OnlyRecords)
        {
            return;
        }

        try
        {
            LoadedKernel loaded = _kernels.GetOrAdd(
                (kernel.Method, threads, isResident),
                static (key, accelerator) => new Lazy<LoadedKernel>(() => LoadedKernel.Load<TArguments>(accelerator, key.Kernel, key.Threads, key.IsResident)),
                Accelerator).Value;
            loaded.AllowShared(sharedLength * sizeof(float));
            SharedMemoryConfig shared = sharedLength > 0 ? SharedMemoryConfig.RequestDynamic<float>(sharedLength) : SharedMemoryConfig.Empty;
            Timer?.Begin(stream, LaunchEntry.NameOf(kernel.Method));
            ((Action<AcceleratorStream, KernelConfig, TArguments>)loaded.Launcher)(stream, new KernelConfig(groups, new Index3D(threads, 1, 1), shared), arguments);
            Timer?.End(stream);
        }
        catch (Exception failure) when (failure is not GpuException)
        {
            throw new GpuException(
                FormattableString.Invariant(
                    $"Kernel {LaunchEntry.NameOf(kernel.Method)} with {groups.X} x {groups.Y} x {groups.Z} groups of {threads} threads and {sharedLength * sizeof(float)} bytes of dynamic shared memory failed on {Description}: {failure.Message}"),
                failure);
        }
    }

    /// <summary>A kernel in the device's memory.</summary>
    private sealed class LoadedKernel(Kernel kernel, Delegate launcher)
    {
        private int _allowedShared = FreeDynamicSharedBytes;

        /// <summary>Launches it; an Action of stream, configuration and arguments.</summary>
        public Delegate Launcher => launcher;

        public static LoadedKernel Load<TArguments>(Accelerator accelerator, MethodInfo method, int threads, bool isResident)
            where TArguments : struct
        {
            if (accelerator is CudaAccelerator cuda)
            {
                Kernel onCuda = cuda.LoadKernel(CudaKernels.Compile(cuda.Backend, method, threads, PtxCache.OfUser));
                return new LoadedKernel(
                    onCuda,
                    isResident
                        ? CooperativeLaunch.For<TArguments>((CudaKernel)onCuda, cuda, method)
                        : onCuda.CreateLauncherDelegate<Action<AcceleratorStream, KernelConfig, TArguments>>());
            }

            Kernel emulated = accelerator.LoadKernel(Emulation.Compile(accelerator, method, threads));
            return new LoadedKernel(emulated, emulated.CreateLauncherDelegate<Action<AcceleratorStream, KernelConfig, TArguments>>());
        }

        /// <summary>More dynamic shared memory than every kernel has needs the driver's consent, once.</summary>
        public void AllowShared(int bytes)
        {
            if (bytes > _allowedShared && kernel is CudaKernel cuda)
            {
                CudaDriver.SetFunctionAttribute(cuda.FunctionPtr, CudaDriver.MaxDynamicSharedSizeBytes, bytes).ThrowIfFailed();
                _allowedShared = bytes;
            }
        }
    }
}
