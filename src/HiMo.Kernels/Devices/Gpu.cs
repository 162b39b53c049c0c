// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

/// <summary>
/// One device that runs the kernels: a CUDA GPU, or ILGPU's emulation of one on the processor, which is thousands of times slower and
/// made for tests. A CUDA device is opened in its primary context, where libtorch and the CUDA runtime live, so that their pointers and
/// streams can be used here and the other way round.
/// </summary>
/// <remarks>
/// <para>It has run on an H200; other devices from sm_80 on take the same kernels, but for those that need Hopper's own instructions.</para>
/// <para>Work is enqueued on a stream of ILGPU: the <see cref="Accelerator"/>'s default stream, one that it creates, or
/// <see cref="WrapStream"/> of a foreign one. One device serves several threads at once, each with a workspace of its own.</para>
/// <para>CUDA devices stay open for the life of the process, one per number; <see cref="Dispose"/> frees an emulated or OpenCL one.</para>
/// </remarks>
/// <example>
/// With ILGPU's own buffers; <see cref="Wrap"/> shows memory and a stream of somebody else.
/// <code>
/// using ILGPU;
/// using ILGPU.Runtime;
///
/// const int Rows = 3, Width = 4;
/// using Gpu gpu = Gpu.OpenEmulated(warps: 4); // on a GPU: Gpu.OpenCuda()
/// using var features = gpu.Accelerator.Allocate1D(Enumerable.Range(0, 2 * Rows * Width).Select(i =&gt; MathF.Sin(i * i)).ToArray());
/// using var logitScale = gpu.Accelerator.Allocate1D(new[] { 2.6593f });
/// using var gradients = gpu.Accelerator.Allocate1D&lt;float&gt;(2 * Rows * Width);
/// ArrayView&lt;float&gt; images = features.View.SubView(0, Rows * Width), texts = features.View.SubView(Rows * Width, Rows * Width);
///
/// using TrainingStep step = new(new MoLoOptions { Tau = 0.8 }, threads: 1);
/// using GpuWorkspace workspace = step.CreateWorkspace(gpu, new MatrixShape(Rows, Width));
/// Console.WriteLine($"{workspace.Bytes} bytes of device memory");
/// step.Run(
///     new GpuMatrix(images, Rows, Width),
///     new GpuMatrix(texts, Rows, Width),
///     new GpuMatrix(logitScale.View.BaseView, 1, 1),
///     new GpuMatrix(gradients.View.SubView(0, Rows * Width), Rows, Width),
///     new GpuMatrix(gradients.View.SubView(Rows * Width, Rows * Width), Rows, Width),
///     workspace);
/// Console.WriteLine(workspace.ReadResult().Loss); // waits for the device
/// </code>
/// </example>
public sealed partial class Gpu : IDisposable
{
    /// <summary>Lanes of a warp, on every device that this library supports.</summary>
    internal const int WarpSize = 32;

    /// <summary>Groups of a cluster at most.</summary>
    internal const int LargestCluster = 16;

    private Gpu(Accelerator accelerator, GpuDescription description)
    {
        Accelerator = accelerator;
        Description = description;
        _addressSpace = accelerator switch
        {
            CPUAccelerator => CPUMemoryBuffer.Create(accelerator, IntPtr.Zero, long.MaxValue, elementSize: 1),
            CudaAccelerator => new CudaAddressSpace(accelerator),
            _ => null, // OpenCL has buffers, not addresses
        };
        Log.IsRecording = IsEmulated;
        SharedBytes = (accelerator is CudaAccelerator cuda ? cuda.MaxSharedMemoryPerMultiprocessor : accelerator.MaxSharedMemoryPerGroup) - 1024;
        MostOfCluster = description.HasClusters ? LargestCluster : 1;
    }

    /// <summary>ILGPU's accelerator, to allocate, copy, and run kernels of one's own on. Never dispose of it.</summary>
    public Accelerator Accelerator { get; }

    /// <summary>What the device is.</summary>
    public GpuDescription Description { get; }

    /// <summary>Whether this is ILGPU's CPU accelerator.</summary>
    internal bool IsEmulated => Accelerator is CPUAccelerator;

    /// <summary>Whether it has the warpgroup instructions, which only sm_90 has, and the emulation where its groups are large enough.</summary>
    internal bool HasWarpgroups => IsEmulated ? Accelerator.MaxNumThreadsPerGroup >= WarpgroupMma.Threads : Description.Architecture == "sm_90";

    /// <summary>Groups that a cluster may have, a power of two; 1 where there are none. The emulation can have as many as it runs at the same time.</summary>
    internal int MostOfCluster { get; init; }

    /// <summary>Bytes of shared memory that one group can have; one KiB of a multiprocessor's is the driver's.</summary>
    internal int SharedBytes { get; init; }

    /// <summary>CUDA devices in the driver's order; empty where there is no driver or no device.</summary>
    public static IReadOnlyList<GpuDescription> FindCuda()
    {
        CudaDriver.Resolve();
        return [.. CudaDevice.GetDevices(_ => true).Cast<CudaDevice>().Select(Describe)];
    }

    /// <summary>The CUDA device of a number, in its primary context; the same object at every call.</summary>
    /// <param name="device">The driver's number, from 0; the order of torch's <c>cuda:0</c>, <c>cuda:1</c>.</param>
    /// <exception cref="GpuException">There is no such device, it is older than sm_80, or the driver refuses; the message says what to do.</exception>
    public static Gpu OpenCuda(int device = 0)
    {
        if (s_cuda.TryGetValue(device, out Lazy<Gpu>? open))
        {
            return open.Value;
        }

        IReadOnlyList<GpuDescription> found = FindCuda();
        if (found.Count == 0)
        {
            throw new GpuException(
                "There is no CUDA device here, or no driver for it: 'nvidia-smi' must list one (Debian: package nvidia-driver). Use the CPU otherwise, or for small batches the emulation (--backend cpu, gpu-emulated).");
        }

        GpuDescription? wanted = found.FirstOrDefault(each => each.Index == device);
        return wanted switch
        {
            null => throw new GpuException($"There is no CUDA device {device}; there is {string.Join(", ", found.Select(each => $"{each.Index}: {each.Name}"))}."),
            { IsSupported: false } => throw new GpuException($"{wanted} is too old: the kernels need the matrix instructions of sm_80. Use the CPU."),
            _ => s_cuda.GetOrAdd(device, _ => new Lazy<Gpu>(() => new Gpu(PrimaryContext.Open(device, Configure), wanted))).Value,
        };
    }

    /// <summary>
    /// ILGPU's emulation: every kernel as it is, one operating-system thread a lane, hence for small shapes only. "Device" memory is the
    /// process's memory.
    /// </summary>
    /// <param name="warps">Most warps of a group, 1 to 32; a training step needs 4, and 8 to take the kernels of Hopper in bf16.</param>
    public static Gpu OpenEmulated(int warps = 8) => OpenEmulated(warps, onlyRecords: false);

    /// <inheritdoc cref="OpenEmulated(int)"/>
    /// <param name="warps">Most warps of a group.</param>
    /// <param name="onlyRecords">See <see cref="OnlyRecords"/>.</param>
    /// <param name="multiprocessors">What it says of itself.</param>
    /// <param name="sharedBytes">See <see cref="SharedBytes"/>.</param>
    /// <param name="mostOfCluster">See <see cref="MostOfCluster"/>.</param>
    /// <param name="together">Groups that run at the same time; null: as many as multiprocessors. Each has threads of its own, which are slow to wake.</param>
    internal static Gpu OpenEmulated(
        int warps, bool onlyRecords = false, int multiprocessors = 1, int sharedBytes = 227 << 10, int mostOfCluster = 1, int? together = null)
    {
        Guard.That(warps is >= 1 and <= 32, warps, "must be from 1 to 32");
        CPUDevice device = new(WarpSize, warps, numMultiprocessors: onlyRecords ? 1 : together ?? multiprocessors);
        Version ilgpu = typeof(Context).Assembly.GetName().Version!;
        return new Gpu(
            device.CreateCPUAccelerator(Emulation.Context, CPUAcceleratorMode.Parallel),
            new GpuDescription(-1, "ILGPU's CPU accelerator", "emulated", 0, multiprocessors, ilgpu.ToString(3)))
        {
            OnlyRecords = onlyRecords, SharedBytes = sharedBytes, MostOfCluster = mostOfCluster,
        };
    }

    /// <summary>Frees an emulated or OpenCL device with its memory. Does nothing to a CUDA device: its context belongs to the process.</summary>
    public void Dispose()
    {
        if (Accelerator is not CudaAccelerator)
        {
            Context context = Accelerator.Context;
            Accelerator.Dispose();
            if (IsOpenCl)
            {
                context.Dispose(); // emulated devices share one
            }
        }
    }

    /// <summary>Optimisation, algorithms and intrinsics of every CUDA device.</summary>
    internal static void Configure(Context.Builder builder) =>
        _ = builder.Optimize(OptimizationLevel.O1).EnableAlgorithms().HiMoIntrinsics(); // O2 moves reads of shared memory across barriers

    private static GpuDescription Describe(CudaDevice device)
    {
        CudaArchitecture architecture = device.Architecture.GetValueOrDefault();
        return new(
            device.DeviceId, device.Name, FormattableString.Invariant($"sm_{architecture.Major}{architecture.Minor}"), device.MemorySize,
            device.NumMultiprocessors, device.DriverVersion.ToString());
    }
}
