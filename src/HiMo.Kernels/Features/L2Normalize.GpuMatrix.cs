// SPDX-License-Identifier: Apache-2.0
// The normalisation's overloads for device memory: checks of the arguments; the kernels are L2Normalize.Gpu.cs.
using System.Runtime.CompilerServices;
using ILGPU.Runtime;

namespace HiMo.Kernels;

public static partial class L2Normalize
{
    /// <summary>Bytes of device memory that <see cref="CreateWorkspace"/> will allocate.</summary>
    /// <param name="shape">N x d.</param>
    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public static long WorkspaceBytes(MatrixShape shape) => L2NormalizeGpuWorkspace.BytesOf(Checked(shape));

    /// <summary>Allocates device memory for passes of one shape.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="shape">N x d, at least one row and one column.</param>
    /// <exception cref="ArgumentException">A size is out of range.</exception>
    /// <exception cref="GpuException">The device has too little memory.</exception>
    public static L2NormalizeGpuWorkspace CreateWorkspace(Gpu gpu, MatrixShape shape)
    {
        ArgumentNullException.ThrowIfNull(gpu);
        return new L2NormalizeGpuWorkspace(gpu, Checked(shape));
    }

    /// <summary>
    /// Enqueues y[i,:] = x[i,:] / max(‖x[i,:]‖, 1e-12) in device memory and returns before it is done: nothing is read, waited for or allocated, so
    /// that a pass can be captured in a CUDA graph. Values are not looked at: a row with NaN or infinity gives NaN. The same input gives the same
    /// bits at every pass.
    /// </summary>
    /// <param name="x">N x d rows, finite.</param>
    /// <param name="y">Receives the N x d unit rows; must not overlap <paramref name="x"/>.</param>
    /// <param name="workspace">Of <see cref="CreateWorkspace"/>, for this shape.</param>
    /// <param name="stream">Orders the work; null: the device's default stream.</param>
    /// <exception cref="ArgumentException">A shape differs from the workspace's.</exception>
    /// <exception cref="GpuException">The device or its driver refused; the message names kernel, shape, device and the driver's words.</exception>
    /// <exception cref="ObjectDisposedException">The workspace has been disposed.</exception>
    /// <example>
    /// <code>
    /// using ILGPU;
    /// using ILGPU.Runtime;
    ///
    /// const int Rows = 2, Width = 2;
    /// using Gpu gpu = Gpu.OpenEmulated(warps: 4); // on a GPU: Gpu.OpenCuda()
    /// using MemoryBuffer1D&lt;float, Stride1D.Dense&gt; x = gpu.Accelerator.Allocate1D(new[] { 3f, 4f, 0f, 0f }); // the second row is zero
    /// using MemoryBuffer1D&lt;float, Stride1D.Dense&gt; y = gpu.Accelerator.Allocate1D&lt;float&gt;(Rows * Width);
    /// using MemoryBuffer1D&lt;float, Stride1D.Dense&gt; gradX = gpu.Accelerator.Allocate1D&lt;float&gt;(Rows * Width);
    /// GpuMatrix Matrix(MemoryBuffer1D&lt;float, Stride1D.Dense&gt; memory) =&gt; new(memory.View.BaseView, Rows, Width);
    ///
    /// using L2NormalizeGpuWorkspace workspace = L2Normalize.CreateWorkspace(gpu, new MatrixShape(Rows, Width));
    /// L2Normalize.Forward(Matrix(x), Matrix(y), workspace);
    /// L2Normalize.Backward(Matrix(x), gradY: Matrix(x), Matrix(gradX), workspace); // along x the length does not change: about 0
    /// Console.WriteLine($"{string.Join(" ", y.GetAsArray1D())}, gradient {string.Join(" ", gradX.GetAsArray1D())}");
    /// </code>
    /// </example>
    public static void Forward(GpuMatrix x, GpuMatrix y, L2NormalizeGpuWorkspace workspace, AcceleratorStream? stream = null)
    {
        Check(x, workspace);
        Check(y, workspace);
        Enqueue(workspace, () => workspace.Forward(stream ?? workspace.Gpu.Accelerator.DefaultStream, x, y));
    }

    /// <summary>
    /// Enqueues dL/dx in device memory as <see cref="Backward(ReadOnlyMatrixView, ReadOnlyMatrixView, MatrixView)"/> defines it, with y computed again
    /// from x: no forward pass need have come before.
    /// </summary>
    /// <param name="x">N x d rows, finite.</param>
    /// <param name="gradY">N x d, dL/dy, finite.</param>
    /// <param name="gradX">Receives dL/dx, N x d; must not overlap <paramref name="x"/> or <paramref name="gradY"/>.</param>
    /// <param name="workspace">Of <see cref="CreateWorkspace"/>, for this shape.</param>
    /// <param name="stream">Orders the work; null: the device's default stream.</param>
    /// <exception cref="ArgumentException">A shape differs from the workspace's.</exception>
    /// <exception cref="GpuException">The device or its driver refused; the message names kernel, shape, device and the driver's words.</exception>
    /// <exception cref="ObjectDisposedException">The workspace has been disposed.</exception>
    public static void Backward(GpuMatrix x, GpuMatrix gradY, GpuMatrix gradX, L2NormalizeGpuWorkspace workspace, AcceleratorStream? stream = null)
    {
        Check(x, workspace);
        Check(gradY, workspace);
        Check(gradX, workspace);
        Enqueue(workspace, () => workspace.Backward(stream ?? workspace.Gpu.Accelerator.DefaultStream, x, gradY, gradX));
    }

    private static MatrixShape Checked(MatrixShape shape)
    {
        Guard.That(shape.Rows >= 1 && shape.Columns >= 1, shape, "must have at least one row and one column");
        return shape;
    }

    private static void Check(GpuMatrix matrix, L2NormalizeGpuWorkspace workspace, [CallerArgumentExpression(nameof(matrix))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(workspace);
        Guard.Shape(matrix.Shape, workspace.Shape, name, "its workspace");
    }

    private static void Enqueue(L2NormalizeGpuWorkspace workspace, Action pass)
    {
        try
        {
            pass();
        }
        catch (GpuException failure)
        {
            throw new GpuException($"L2Normalize with {workspace.Shape} features: {failure.Message}", failure);
        }
    }
}
