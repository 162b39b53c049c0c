// SPDX-License-Identifier: Apache-2.0
// The step's overload for device memory: checks of the arguments; the launches are TrainingStep.Gpu.cs.
using System.Runtime.CompilerServices;
using ILGPU.Runtime;

namespace HiMo.Kernels;

public sealed partial class TrainingStep
{
    /// <summary>Bytes of device memory that <see cref="CreateWorkspace"/> will allocate; in <see cref="GpuPrecision.Bf16"/> with N > d on a device with
    /// Hopper's warpgroup instructions, others take a strip of the logits' derivatives instead; where the smaller one of N and d is 129 to 176, devices whose thread groups have
    /// less than 163 KiB of shared memory (sm_86, sm_89, sm_120) take more.</summary>
    /// <param name="shape">N x d.</param>
    /// <param name="precision">Of the contrastive products.</param>
    /// <exception cref="NotSupportedException">The GPU does not have this shape, option or precision; the message says what it has.</exception>
    public long WorkspaceBytes(MatrixShape shape, GpuPrecision precision = GpuPrecision.Strict) => GpuWorkspace.BytesOf(shape, _options, precision);

    /// <summary>Allocates device memory for steps of one shape, and waits for the device once.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="shape">N x d.</param>
    /// <param name="precision">Of the contrastive products; m is the same in every precision.</param>
    /// <exception cref="NotSupportedException">The GPU does not have this shape, option or precision; the message says what it has.</exception>
    /// <exception cref="GpuException">The device has too little memory.</exception>
    /// <exception cref="ObjectDisposedException">The step has been disposed.</exception>
    public GpuWorkspace CreateWorkspace(Gpu gpu, MatrixShape shape, GpuPrecision precision = GpuPrecision.Strict)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentNullException.ThrowIfNull(gpu);
        return new GpuWorkspace(this, _options, gpu, shape, precision);
    }

    /// <summary>
    /// Enqueues loss and gradients of one batch in device memory and returns before they are done: no result comes to the host, nothing is
    /// read, waited for or allocated, so that a run can be captured in a CUDA graph once one before has loaded its kernels. <see cref="GpuWorkspace.Summary"/> receives the loss and the
    /// temperature's gradient on the device, <see cref="GpuWorkspace.ReadResult"/> fetches them. Neither worker threads nor
    /// <see cref="Warning"/> and <see cref="Progress"/> take part. Kernels are compiled at their first launch.
    /// </summary>
    /// <remarks>At most 12 launches for N &lt;= d and N &lt;= 176; one more for each gradient that is not dense float32, and for features of different types. Values are not looked at: a row that holds NaN or infinity, or a logit scale that is not finite, makes loss and
    /// gradients NaN. The same input gives the same bits at every run.</remarks>
    /// <param name="images">N x d image features as the encoder gives them, finite, not normalised.</param>
    /// <param name="texts">N x d text features as the encoder gives them, finite, not normalised.</param>
    /// <param name="logitScale">1 x 1, float32: natural logarithm of the factor on the cosines, -100 to 80.</param>
    /// <param name="gradImages">Receives dL/dimages, N x d; empty: not wanted. Must overlap no input.</param>
    /// <param name="gradTexts">Receives dL/dtexts, N x d; empty: not wanted. Must overlap no input.</param>
    /// <param name="workspace">Of this step's <see cref="CreateWorkspace"/>, for this shape.</param>
    /// <param name="stream">Orders the work; null: the device's default stream.</param>
    /// <exception cref="ArgumentException">A shape differs from the workspace's, or the workspace belongs to another step.</exception>
    /// <exception cref="GpuException">The device or its driver refused; the message names kernel, shape, device and the driver's words.</exception>
    /// <exception cref="ObjectDisposedException">The step or the workspace has been disposed.</exception>
    public void Run(
        GpuMatrix images, GpuMatrix texts, GpuMatrix logitScale, GpuMatrix gradImages, GpuMatrix gradTexts, GpuWorkspace workspace,
        AcceleratorStream? stream = null)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentNullException.ThrowIfNull(workspace);
        if (workspace.Owner != this)
        {
            throw new ArgumentException("TrainingStep.Run: workspace was created by another TrainingStep; use CreateWorkspace of this one.", nameof(workspace));
        }

        CheckShape(images, workspace.Shape, mayBeEmpty: false);
        CheckShape(texts, workspace.Shape, mayBeEmpty: false);
        CheckShape(gradImages, workspace.Shape, mayBeEmpty: true);
        CheckShape(gradTexts, workspace.Shape, mayBeEmpty: true);
        if (logitScale.Shape != new MatrixShape(1, 1) || logitScale.Element != GpuElement.Float32)
        {
            throw new ArgumentException($"TrainingStep.Run: logitScale is {logitScale.Shape} of {logitScale.Element}; it must be 1 x 1 of Float32.", nameof(logitScale));
        }

        try
        {
            workspace.Run(stream ?? workspace.Gpu.Accelerator.DefaultStream, images, texts, logitScale, gradImages, gradTexts);
        }
        catch (GpuException failure)
        {
            throw new GpuException($"TrainingStep.Run with {workspace.Shape} features: {failure.Message}", failure);
        }
    }

    private static void CheckShape(GpuMatrix matrix, MatrixShape wanted, bool mayBeEmpty, [CallerArgumentExpression(nameof(matrix))] string name = "")
    {
        if (matrix.Shape != wanted && !(mayBeEmpty && matrix.IsEmpty))
        {
            string orEmpty = mayBeEmpty ? " or empty" : "";
            throw new ArgumentException($"TrainingStep.Run: {name} is {matrix.Shape}; it must be {wanted} as its workspace{orEmpty}.", name);
        }
    }
}
