// SPDX-License-Identifier: Apache-2.0
// Memory and streams: our own, and those of somebody else.
using System.Collections.Concurrent;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

public sealed partial class Gpu
{
    private static readonly ConcurrentDictionary<int, Lazy<Gpu>> s_cuda = new();

    // One buffer from address 0 on: a foreign pointer is an index into it, so that wrapping one makes no object.
    private readonly MemoryBuffer? _addressSpace;
    private readonly ConcurrentDictionary<nint, AcceleratorStream> _foreignStreams = new();

    /// <summary>A stream of somebody else, for example libtorch's current one; it is never destroyed here.</summary>
    /// <param name="stream">A CUstream of this device's primary context; 0 is the legacy default stream. In emulation only 0 exists.</param>
    /// <exception cref="ArgumentException">The device is emulated and the stream is not 0.</exception>
    public AcceleratorStream WrapStream(nint stream)
    {
        if (stream == 0)
        {
            return Accelerator.DefaultStream;
        }

        Guard.That(Accelerator is CudaAccelerator, stream, "must be 0 on a device that is not CUDA's");
        return _foreignStreams.GetOrAdd(stream, static (handle, accelerator) => ((CudaAccelerator)accelerator).CreateStream(handle, responsible: false), Accelerator);
    }

    /// <summary>
    /// Device memory of somebody else as a matrix. It must stay allocated until the stream has passed the work that uses it, on the
    /// device's clock; on an emulated device it is the process's memory. Wrapping makes no object and costs nothing.
    /// </summary>
    /// <param name="elements">Address of the first element, a multiple of its size; no other alignment is assumed.</param>
    /// <param name="rows">Number of rows, 0 or more.</param>
    /// <param name="columns">Number of columns, 0 or more.</param>
    /// <param name="element">What is stored there.</param>
    /// <param name="rowStride">Elements from one row to the next, columns or more; 0: columns.</param>
    /// <exception cref="ArgumentException">A size is negative, the stride is too small, or the address is 0 or not aligned.</exception>
    /// <example>
    /// <code>
    /// using System.Runtime.InteropServices;
    ///
    /// // A CUDA library hands over pointers into the memory of device 0 and the CUstream that orders their use. This device is emulated: its memory is the
    /// // process's, its only stream 0.
    /// const int Rows = 3, Width = 4, Length = Rows * Width;
    /// using Gpu gpu = Gpu.OpenEmulated(warps: 4); // on a GPU: Gpu.OpenCuda(0)
    /// nint stream = 0;
    /// nint features = Marshal.AllocHGlobal(2 * Length * sizeof(short)), numbers = Marshal.AllocHGlobal((1 + (2 * Length)) * sizeof(float));
    /// Marshal.Copy([.. Enumerable.Range(0, 2 * Length).Select(i =&gt; (short)(BitConverter.SingleToInt32Bits(MathF.Sin(i * i)) &gt;&gt; 16))], 0, features, 2 * Length); // bfloat16
    /// Marshal.Copy(new[] { 2.6593f }, 0, numbers, 1);
    /// nint gradients = numbers + sizeof(float);
    ///
    /// using TrainingStep step = new(new MoLoOptions(), threads: 1);
    /// using GpuWorkspace workspace = step.CreateWorkspace(gpu, new MatrixShape(Rows, Width));
    /// step.Run(
    ///     images: gpu.Wrap(features, Rows, Width, GpuElement.BFloat16),
    ///     texts: gpu.Wrap(features + (Length * sizeof(short)), Rows, Width, GpuElement.BFloat16),
    ///     logitScale: gpu.Wrap(numbers, 1, 1),
    ///     gradImages: gpu.Wrap(gradients, Rows, Width),
    ///     gradTexts: gpu.Wrap(gradients + (Length * sizeof(float)), Rows, Width),
    ///     workspace,
    ///     gpu.WrapStream(stream));
    /// Console.WriteLine($"loss {workspace.ReadResult(gpu.WrapStream(stream)).Loss}"); // waits for the stream
    /// Marshal.FreeHGlobal(features);
    /// Marshal.FreeHGlobal(numbers);
    /// </code>
    /// </example>
    public GpuMatrix Wrap(nint elements, int rows, int columns, GpuElement element = GpuElement.Float32, long rowStride = 0)
    {
        Guard.That(_addressSpace is not null, elements, "cannot be wrapped: memory of an OpenCL device has no addresses, use the accelerator's buffers");
        Guard.That(Enum.IsDefined(element), element, "is no GpuElement");
        int size = GpuMatrix.SizeOf(element);
        Guard.That(elements != 0 || (long)rows * columns == 0, elements, "must be the address of device memory");
        Guard.That(elements % size == 0, elements, $"must be a multiple of {size}");
        return new GpuMatrix(new ArrayView<byte>(_addressSpace!, elements, long.MaxValue - elements), element, rows, columns, rowStride);
    }

    /// <summary>Device memory for <paramref name="length"/> elements; its contents are undefined.</summary>
    internal MemoryBuffer1D<T, Stride1D.Dense> Allocate<T>(long length)
        where T : unmanaged
    {
        long wanted = Math.Max(length, 1);
        Log.CountAllocation(wanted * Interop.SizeOf<T>());
        try
        {
            return Accelerator.Allocate1D<T>(wanted);
        }
        catch (Exception failure)
        {
            throw new GpuException($"{wanted * Interop.SizeOf<T>()} bytes of memory on {Description} were refused: {failure.Message}", failure);
        }
    }

    /// <summary>A view of memory that is not there, for a device that only records launches.</summary>
    internal ArrayView<byte> PretendMemory(long bytes) => new(_addressSpace!, 1 << 20, bytes);

    /// <summary>Copies a few elements to the host and waits for the stream.</summary>
    internal void Read<T>(AcceleratorStream stream, ArrayView<T> source, Span<T> target)
        where T : unmanaged
    {
        Log.CountRead();
        try
        {
            source.CopyToCPU(stream, target); // waits: the target is pageable memory
            stream.Synchronize();
        }
        catch (Exception failure)
        {
            throw ReadFailed(failure);
        }
    }

    /// <summary>What a failure says that shows when a result is read: that it may be of work before.</summary>
    internal GpuException ReadFailed(Exception failure)
    {
        string before = _lastLaunched is { } kernel ? $"in work before it, of which kernel {LaunchEntry.NameOf(kernel)} was launched last" : "in work before it";
        return new GpuException($"Reading a result from {Description} failed, in the copy or {before}: {failure.Message}", failure);
    }

    /// <summary>The whole address space of a CUDA device.</summary>
    private sealed class CudaAddressSpace(Accelerator accelerator) : MemoryBuffer(accelerator, long.MaxValue, elementSize: 1)
    {
        protected override void MemSet(AcceleratorStream stream, byte value, in ArrayView<byte> targetView) =>
            CudaMemoryBuffer.CudaMemSet((CudaStream)stream, value, targetView);

        protected override void CopyFrom(AcceleratorStream stream, in ArrayView<byte> sourceView, in ArrayView<byte> targetView) =>
            CudaMemoryBuffer.CudaCopy((CudaStream)stream, sourceView, targetView);

        protected override void CopyTo(AcceleratorStream stream, in ArrayView<byte> sourceView, in ArrayView<byte> targetView) =>
            CudaMemoryBuffer.CudaCopy((CudaStream)stream, sourceView, targetView);

        protected override void DisposeAcceleratorObject(bool disposing)
        {
        }
    }
}
