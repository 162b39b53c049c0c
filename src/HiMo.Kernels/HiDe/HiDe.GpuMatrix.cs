// SPDX-License-Identifier: Apache-2.0
// HiDe's overloads for device memory: checks of the arguments; the launches are HiDe.Gpu.cs.
using System.Runtime.CompilerServices;
using ILGPU.Runtime;

namespace HiMo.Kernels;

public sealed partial class HiDe
{
    /// <summary>Bytes of device memory that <see cref="CreateWorkspace"/> will allocate; where the smaller one of N and d is 129 to 176, devices whose thread groups have less than
    /// 163 KiB of shared memory (sm_86, sm_89, sm_120) take more.</summary>
    /// <param name="shape">N x d of each group.</param>
    /// <param name="groups">Number G of groups, 1 to 65535.</param>
    /// <exception cref="ArgumentException">A size is out of range.</exception>
    /// <exception cref="NotSupportedException">The GPU does not have this shape; the message says what it has.</exception>
    public long WorkspaceBytes(MatrixShape shape, int groups = 1) => OnGpu(shape, groups, gpu: null).Bytes;

    /// <summary>Allocates device memory for passes of one shape: for G groups G times that of one, because they share launches.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="shape">N x d of each group; min(N, d) up to 3840.</param>
    /// <param name="groups">Number G of groups, 1 to 65535.</param>
    /// <exception cref="ArgumentException">A size is out of range.</exception>
    /// <exception cref="NotSupportedException">The GPU does not have this shape; the message says what it has.</exception>
    /// <exception cref="GpuException">The device has too little memory.</exception>
    /// <exception cref="ObjectDisposedException">The instance was disposed.</exception>
    public HiDeGpuWorkspace CreateWorkspace(Gpu gpu, MatrixShape shape, int groups = 1)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        ArgumentNullException.ThrowIfNull(gpu);
        return new HiDeGpuWorkspace(this, gpu, shape, groups, OnGpu(shape, groups, gpu));
    }

    /// <summary>
    /// Enqueues the reconstruction of every group in device memory and returns before it is done; groups share launches (as many for any G
    /// where min(N, d) is 176 or less).
    /// Nothing is read, waited for or allocated, so that a pass can be captured in a CUDA graph. <see cref="HiDeGpuWorkspace.ReadResults"/>
    /// fetches m and its company; <see cref="Results"/> and <see cref="Spectrum"/> are of passes on the CPU. Values are not looked at: a group
    /// with NaN or infinity gives NaN. The same input gives the same bits at every pass.
    /// </summary>
    /// <param name="texts">(G x N) x d rows, group after group, finite; unit rows in HiMo-CLIP.</param>
    /// <param name="components">Receives u', (G x N) x d; must not overlap <paramref name="texts"/>.</param>
    /// <param name="workspace">Of this instance's <see cref="CreateWorkspace"/>.</param>
    /// <param name="stream">Orders the work; null: the device's default stream.</param>
    /// <exception cref="ArgumentException">A shape differs from the workspace's, or the workspace belongs to another instance.</exception>
    /// <exception cref="GpuException">The device or its driver refused; the message names kernel, shape, device and the driver's words.</exception>
    /// <exception cref="ObjectDisposedException">The instance or the workspace has been disposed.</exception>
    /// <example>
    /// <code>
    /// using ILGPU;
    /// using ILGPU.Runtime;
    ///
    /// const int Groups = 2, Rows = 3, Width = 4, All = Groups * Rows;
    /// using Gpu gpu = Gpu.OpenEmulated(warps: 4);
    /// float[] features = [.. Enumerable.Range(0, All * Width).Select(i =&gt; MathF.Sin(i * i))];
    /// using MemoryBuffer1D&lt;float, Stride1D.Dense&gt; texts = gpu.Accelerator.Allocate1D(features);
    /// using MemoryBuffer1D&lt;float, Stride1D.Dense&gt; components = gpu.Accelerator.Allocate1D(features);
    /// using MemoryBuffer1D&lt;float, Stride1D.Dense&gt; gradTexts = gpu.Accelerator.Allocate1D(features);
    /// GpuMatrix Matrix(MemoryBuffer1D&lt;float, Stride1D.Dense&gt; memory) =&gt; new(memory.View.BaseView, All, Width);
    ///
    /// using HiDe hide = new(tau: 0.8, threads: 1);
    /// using HiDeGpuWorkspace workspace = hide.CreateWorkspace(gpu, new MatrixShape(Rows, Width), Groups);
    /// hide.Forward(Matrix(texts), Matrix(components), workspace);
    /// hide.Backward(Matrix(texts), Matrix(components), Matrix(gradTexts), workspace); // of the loss: half the sum of squares of u'
    /// HiDeResult[] results = workspace.ReadResults();
    /// Console.WriteLine($"m = {results[0].M} and {results[1].M}, dL/dtexts begins with {gradTexts.GetAsArray1D()[0]}");
    /// </code>
    /// </example>
    public void Forward(GpuMatrix texts, GpuMatrix components, HiDeGpuWorkspace workspace, AcceleratorStream? stream = null)
    {
        Check(workspace);
        CheckShape(texts, workspace);
        CheckShape(components, workspace);
        Enqueue(workspace, () => workspace.Forward(stream ?? workspace.Gpu.Accelerator.DefaultStream, texts, components));
    }

    /// <summary>
    /// Enqueues dL/dtexts from dL/du' in device memory, for the texts of the workspace's last <see cref="Forward(GpuMatrix, GpuMatrix,
    /// HiDeGpuWorkspace, AcceleratorStream)"/>, as <see cref="Backward(ReadOnlyMatrixView, ReadOnlyMatrixView, MatrixView)"/> defines it.
    /// </summary>
    /// <param name="texts">The rows of the forward pass, unchanged.</param>
    /// <param name="gradComponents">dL/du', (G x N) x d, finite.</param>
    /// <param name="gradTexts">Receives dL/dtexts, (G x N) x d; must overlap neither input.</param>
    /// <param name="workspace">That of the forward pass.</param>
    /// <param name="stream">Orders the work behind the forward pass; null: the device's default stream.</param>
    /// <exception cref="ArgumentException">A shape differs from the workspace's, or the workspace belongs to another instance.</exception>
    /// <exception cref="InvalidOperationException">There was no forward pass with this workspace.</exception>
    /// <exception cref="GpuException">The device or its driver refused; the message names kernel, shape, device and the driver's words.</exception>
    /// <exception cref="ObjectDisposedException">The instance or the workspace has been disposed.</exception>
    public void Backward(GpuMatrix texts, GpuMatrix gradComponents, GpuMatrix gradTexts, HiDeGpuWorkspace workspace, AcceleratorStream? stream = null)
    {
        Check(workspace);
        workspace.ThrowUnlessForward("HiDe.Backward");
        CheckShape(texts, workspace);
        CheckShape(gradComponents, workspace);
        CheckShape(gradTexts, workspace);
        Enqueue(workspace, () => workspace.Backward(stream ?? workspace.Gpu.Accelerator.DefaultStream, texts, gradComponents, gradTexts));
    }

    private HiDeGpu OnGpu(MatrixShape shape, int groups, Gpu? gpu)
    {
        Guard.That(shape.Rows >= 1 && shape.Columns >= 1, shape, "must have at least one row and one column");
        Guard.That(groups is >= 1 and <= BatchStream.MaxBatches, groups, $"must be from 1 to {BatchStream.MaxBatches}");
        Guard.That((long)groups * shape.Rows <= int.MaxValue, (long)groups * shape.Rows, $"must be at most {int.MaxValue}", "rows of all groups");
        if (Math.Min(shape.Rows, shape.Columns) > EigenSymmetricGpu.LargeMaxSize)
        {
            throw new NotSupportedException($"HiDe on a GPU does not have shape {shape} (it has min(N, d) up to {EigenSymmetricGpu.LargeMaxSize}); the CPU has.");
        }

        GpuStepSettings settings = GpuStepSettings.For(GpuPrecision.Strict, gpu);
        gpu?.CheckOpenCl(settings, Math.Min(shape.Rows, shape.Columns));
        return new HiDeGpu(shape, groups, _tau, _basisGradient, settings);
    }

    private void Check(HiDeGpuWorkspace workspace)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        ArgumentNullException.ThrowIfNull(workspace);
        if (workspace.Owner != this)
        {
            throw new ArgumentException("HiDe: workspace was created by another HiDe; use CreateWorkspace of this one.", nameof(workspace));
        }
    }

    private static void CheckShape(GpuMatrix matrix, HiDeGpuWorkspace workspace, [CallerArgumentExpression(nameof(matrix))] string name = "")
    {
        MatrixShape wanted = new(workspace.Groups * workspace.Shape.Rows, workspace.Shape.Columns);
        if (matrix.Shape != wanted)
        {
            throw new ArgumentException($"HiDe: {name} is {matrix.Shape}; it must be {wanted}, {workspace.Groups} groups of {workspace.Shape} as its workspace.", name);
        }
    }

    private static void Enqueue(HiDeGpuWorkspace workspace, Action pass)
    {
        try
        {
            pass();
        }
        catch (GpuException failure)
        {
            throw new GpuException($"HiDe with {workspace.Groups} groups of {workspace.Shape}: {failure.Message}", failure);
        }
    }
}
