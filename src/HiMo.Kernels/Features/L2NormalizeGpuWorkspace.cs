// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>
/// Device memory of <see cref="L2Normalize"/>'s passes on <see cref="GpuMatrix"/> for one shape on one device: unit rows and lengths, which the
/// backward pass computes again. Passes allocate nothing, but for conversions at their first use. One workspace serves one stream at a time.
/// </summary>
/// <example>
/// <code>
/// MatrixShape shape = new(128, 768);
/// Console.WriteLine($"{L2Normalize.WorkspaceBytes(shape)} bytes of device memory will be needed");
/// using Gpu gpu = Gpu.OpenEmulated(warps: 4);
/// using L2NormalizeGpuWorkspace workspace = L2Normalize.CreateWorkspace(gpu, shape);
/// Console.WriteLine($"{workspace.Bytes} are, and {workspace.BytesPerConversion} more for x or the result if it is not dense float32");
/// </code>
/// </example>
public sealed class L2NormalizeGpuWorkspace : IDisposable
{
    private const int X = 0;
    private const int Result = 1;

    private readonly MemoryBuffer1D<float, Stride1D.Dense> _memory;
    private readonly DenseCopies _copies;
    private bool _isDisposed;

    internal L2NormalizeGpuWorkspace(Gpu gpu, MatrixShape shape)
    {
        Gpu = gpu;
        Shape = shape;
        using PrimaryContext.Scope scope = PrimaryContext.Enter(gpu.Accelerator);
        _memory = gpu.Allocate<float>(LengthOf(shape));
        _copies = new DenseCopies(gpu, shape.Length, count: 2);
    }

    /// <summary>The device.</summary>
    public Gpu Gpu { get; }

    /// <summary>N x d.</summary>
    public MatrixShape Shape { get; }

    /// <summary>Bytes of device memory, dense float32 matrices given.</summary>
    public long Bytes => BytesOf(Shape);

    /// <summary>Bytes more, once, for rows and once for results that are not dense float32.</summary>
    public long BytesPerConversion => Shape.Length * sizeof(float);

    /// <summary>Frees the memory; work that uses it must have been waited for.</summary>
    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
            _memory.Dispose();
            _copies.Dispose();
        }
    }

    /// <summary>What a workspace will take.</summary>
    internal static long BytesOf(MatrixShape shape) => LengthOf(shape) * sizeof(float);

    internal void Forward(AcceleratorStream stream, GpuMatrix x, GpuMatrix y)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        ArrayView<float> result = _copies.Output(Result, y);
        Normalize(stream, x, result);
        _copies.Deliver(stream, result, y);
    }

    internal void Backward(AcceleratorStream stream, GpuMatrix x, GpuMatrix gradY, GpuMatrix gradX)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        ArrayView<float> result = _copies.Output(Result, gradX);
        Normalize(stream, x, Unit);
        RowConversion.ToDense(Gpu, stream, gradY, result); // the kernel works in place
        Launches(stream).Lines(L2NormalizeGpu.BackwardKernel, Shape.Rows, new L2NormalizeBackwardArguments
        {
            First = result, Second = result, Unit = Unit, InverseNorm = InverseNorm, Rows = Shape.Rows, TotalRows = Shape.Rows, Columns = Shape.Columns,
        });
        _copies.Deliver(stream, result, gradX);
    }

    private ArrayView<float> Unit => _memory.View.BaseView.SubView(0, Shape.Length);

    private ArrayView<float> InverseNorm => _memory.View.BaseView.SubView(Shape.Length, Shape.Rows);

    private static long LengthOf(MatrixShape shape) => shape.Length + shape.Rows;

    private void Normalize(AcceleratorStream stream, GpuMatrix x, ArrayView<float> unit)
    {
        ArrayView<float> rows = _copies.Input(stream, X, x);
        Launches(stream).Lines(L2NormalizeGpu.Kernel, Shape.Rows, new L2NormalizeArguments
        {
            Images = rows, Texts = rows, Unit = unit, InverseNorm = InverseNorm, Rows = Shape.Rows, TotalRows = Shape.Rows, Columns = Shape.Columns,
        });
    }

    private BatchStream Launches(AcceleratorStream stream) => new(Gpu, stream, Batches: 1);
}
