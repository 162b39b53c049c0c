// SPDX-License-Identifier: Apache-2.0
using System.Collections.Concurrent;
using System.Reflection;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace HiMo.Kernels;

/// <summary>Which groups of a launch must run at the same time, because they wait for each other.</summary>
internal enum Residency
{
    /// <summary>None.</summary>
    None,

    /// <summary>All of them.</summary>
    Grid,

    /// <summary>Those of a row of the grid, which reach each other's shared memory.</summary>
    Cluster,
}

public sealed partial class Gpu
{
    // 48 KiB need no consent, a kernel's static share included, which is a few of them.
    private const int FreeDynamicSharedBytes = 32 << 10;

    // Every device with clusters takes eight groups; more need consent, and luck with its multiprocessors.
    private const int PortableCluster = 8;

    private readonly ConcurrentDictionary<(MethodInfo Kernel, int Threads, Residency Residency), Lazy<LoadedKernel>> _kernels = new();

    /// <summary>True: launches are written into the log and not made, memory is not taken, and what is not supported yet can be asked for.</summary>
    internal bool OnlyRecords { get; private init; }

    /// <summary>What was launched, allocated, copied and waited for since the last reset.</summary>
    internal LaunchLog Log { get; } = new();

    // For the words of a fault that shows at a later read only; launches of several threads may overtake each other here.
    private volatile MethodInfo? _lastLaunched;

    /// <summary>Times every launch by events while it is set; for benchmarks.</summary>
    internal LaunchTimer? Timer { get; set; }

    /// <summary>Enqueues a kernel whose arguments are the fields of one structure.</summary>
    /// <param name="stream">Orders the launch.</param>
    /// <param name="kernel">A static method; compiled at its first launch.</param>
    /// <param name="groups">Groups in the grid; nothing is launched if any extent is 0.</param>
    /// <param name="threads">Threads of a group, a multiple of <see cref="WarpSize"/>.</param>
    /// <param name="arguments">Passed by value.</param>
    /// <param name="sharedLength">Words of dynamic shared memory.</param>
    /// <param name="residency">Which groups wait for each other.</param>
    /// <exception cref="GpuException">Compiling or launching failed.</exception>
    internal void Launch<TArguments>(
        AcceleratorStream stream, Action<TArguments> kernel, Index3D groups, int threads, TArguments arguments, int sharedLength = 0, Residency residency = Residency.None)
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

        _lastLaunched = kernel.Method;
        try
        {
            LoadedKernel loaded = Load<TArguments>(kernel.Method, threads, residency);
            loaded.AllowShared(sharedLength * sizeof(float));
            SharedMemoryConfig shared = sharedLength > 0 ? SharedMemoryConfig.RequestDynamic<float>(sharedLength) : SharedMemoryConfig.Empty;
            Timer?.Begin(stream, LaunchEntry.NameOf(kernel.Method));
            ((Action<AcceleratorStream, KernelConfig, TArguments>)loaded.Launcher)(stream, new KernelConfig(groups, new Index3D(threads, 1, 1), shared), arguments);
            Timer?.End(stream);
        }
        catch (Exception failure)
        {
            throw new GpuException(
                FormattableString.Invariant(
                    $"Kernel {LaunchEntry.NameOf(kernel.Method)} with {groups.X} x {groups.Y} x {groups.Z} groups of {threads} threads and {sharedLength * sizeof(float)} bytes of dynamic shared memory failed on {Description}: {failure.Message}"),
                failure);
        }
    }

    /// <summary>Whether the device can run a kernel in clusters of some groups.</summary>
    internal bool FitsCluster<TArguments>(Action<TArguments> kernel, int groups, int threads, int sharedLength)
        where TArguments : struct =>
        groups <= MostOfCluster
        && (IsEmulated || Load<TArguments>(kernel.Method, threads, Residency.Cluster).FitsCluster(groups, threads, sharedLength * sizeof(float)));

    private LoadedKernel Load<TArguments>(MethodInfo kernel, int threads, Residency residency)
        where TArguments : struct =>
        _kernels.GetOrAdd(
            (kernel, threads, residency),
            static (key, accelerator) => new Lazy<LoadedKernel>(() => LoadedKernel.Load<TArguments>(accelerator, key.Kernel, key.Threads, key.Residency)),
            Accelerator).Value;

    /// <summary>A kernel in the device's memory.</summary>
    private sealed class LoadedKernel(Kernel kernel, Delegate launcher)
    {
        private readonly ConcurrentDictionary<(int Groups, int SharedBytes), bool> _clusters = new();
        private readonly Lock _lock = new();
        private int _allowedShared = FreeDynamicSharedBytes;

        /// <summary>Launches it; an Action of stream, configuration and arguments.</summary>
        public Delegate Launcher => launcher;

        public static LoadedKernel Load<TArguments>(Accelerator accelerator, MethodInfo method, int threads, Residency residency)
            where TArguments : struct
        {
            if (accelerator is CudaAccelerator cuda)
            {
                Kernel onCuda = cuda.LoadKernel(CudaKernels.Compile(cuda.Backend, method, threads, PtxArchive.Embedded, PtxCache.OfUser));
                return new LoadedKernel(
                    onCuda,
                    residency != Residency.None
                        ? CooperativeLaunch.For<TArguments>((CudaKernel)onCuda, cuda, method, residency)
                        : onCuda.CreateLauncherDelegate<Action<AcceleratorStream, KernelConfig, TArguments>>());
            }

            if (accelerator is CLAccelerator openCl)
            {
                Kernel onOpenCl = LoadOpenCl(openCl, EntryPointDescription.FromExplicitlyGroupedKernel(method), threads);
                return new LoadedKernel(onOpenCl, onOpenCl.CreateLauncherDelegate<Action<AcceleratorStream, KernelConfig, TArguments>>());
            }

            Kernel emulated = accelerator.LoadKernel(Emulation.Compile(accelerator, method, threads));
            return new LoadedKernel(emulated, emulated.CreateLauncherDelegate<Action<AcceleratorStream, KernelConfig, TArguments>>());
        }

        /// <summary>More dynamic shared memory than every kernel has needs the driver's consent, once.</summary>
        public void AllowShared(int bytes)
        {
            lock (_lock)
            {
                if (bytes > _allowedShared && kernel is CudaKernel cuda)
                {
                    CudaDriver.SetFunctionAttribute(cuda.FunctionPtr, CudaDriver.MaxDynamicSharedSizeBytes, bytes).ThrowIfFailed();
                    _allowedShared = bytes;
                }
            }
        }

        /// <summary>Asks the driver whether a cluster of so many groups fits on the device.</summary>
        public bool FitsCluster(int groups, int threads, int sharedBytes) => _clusters.GetOrAdd((groups, sharedBytes), key =>
        {
            nint function = ((CudaKernel)kernel).FunctionPtr;
            AllowShared(key.SharedBytes);
            if (key.Groups > PortableCluster && CudaDriver.SetFunctionAttribute(function, CudaDriver.NonPortableClusterSizeAllowed, 1) != CudaError.CUDA_SUCCESS)
            {
                return false; // a device that has none beyond the portable size may say so here
            }

            return CudaDriver.ActiveClusters(function, key.Groups, threads, key.SharedBytes) > 0;
        });
    }
}
