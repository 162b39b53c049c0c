// SPDX-License-Identifier: Apache-2.0
// The loss's overload for device memory: checks of the arguments; the launches are MoLo.Gpu.cs.
using ILGPU.Runtime;

namespace HiMo.Kernels;

public sealed partial class MoLo
{
    /// <summary>Bytes of device memory that <see cref="CreateWorkspace"/> will allocate; in <see cref="GpuPrecision.Bf16"/> on a device with Hopper's
    /// warpgroup instructions, others take a strip of the logits' derivatives instead.</summary>
    /// <param name="local">B x d, the rows of this rank.</param>
    /// <param name="gatheredRows">N, the rows of all ranks, B or more.</param>
    /// <param name="precision">Of the products.</param>
    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public long WorkspaceBytes(MatrixShape local, int gatheredRows, GpuPrecision precision = GpuPrecision.Strict) =>
        MoLoGpuWorkspace.BytesOf(local, gatheredRows, _options, precision);

    /// <summary>Allocates device memory for runs of one shape and rank.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="local">B x d, the rows of this rank.</param>
    /// <param name="gatheredRows">N, the rows of all ranks, B or more.</param>
    /// <param name="targetOffset">Gathered row that matches local row 0; from 0 to N - B.</param>
    /// <param name="precision">Of the products.</param>
    /// <exception cref="ArgumentException">A size is out of range.</exception>
    /// <exception cref="NotSupportedException">The GPU does not have this precision; the message says what it has.</exception>
    /// <exception cref="GpuException">The device has too little memory.</exception>
    /// <exception cref="ObjectDisposedException">The instance was disposed.</exception>
    public MoLoGpuWorkspace CreateWorkspace(Gpu gpu, MatrixShape local, int gatheredRows, int targetOffset, GpuPrecision precision = GpuPrecision.Strict)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        ArgumentNullException.ThrowIfNull(gpu);
        return new MoLoGpuWorkspace(this, _options, gpu, local, gatheredRows, targetOffset, precision);
    }

    /// <summary>
    /// Enqueues loss and gradients of the local rows against the gathered ones in device memory and returns before they are done: nothing is read,
    /// waited for or allocated, so that a run can be captured in a CUDA graph. <see cref="MoLoGpuWorkspace.Summary"/> receives the numbers on the
    /// device, <see cref="MoLoGpuWorkspace.ReadResult"/> fetches them. Values are not looked at: NaN or infinity among the operands makes loss and
    /// gradients NaN. The same input gives the same bits at every run.
    /// </summary>
    /// <param name="local">B x d operands of this rank, finite.</param>
    /// <param name="gathered">N x d operands of all ranks, finite, own rows included. May be <paramref name="local"/> itself.</param>
    /// <param name="logitScale">1 x 1, float32: natural logarithm of the factor on the dot products, -100 to 80.</param>
    /// <param name="gradLocal">Receives gradients of the local rows as first operands, B x d each; must overlap no input.</param>
    /// <param name="gradGathered">Receives gradients of the gathered rows as second operands, N x d each; zeros without
    /// <see cref="MoLoOptions.GatherWithGrad"/>, because they are constants then.</param>
    /// <param name="workspace">Of this instance's <see cref="CreateWorkspace"/>.</param>
    /// <param name="stream">Orders the work; null: the device's default stream.</param>
    /// <exception cref="ArgumentException">A shape differs from the workspace's, an operand that the options ask for is empty or one that they do not
    /// is given, or the workspace belongs to another instance.</exception>
    /// <exception cref="GpuException">The device or its driver refused; the message names kernel, shape, device and the driver's words.</exception>
    /// <exception cref="ObjectDisposedException">The instance or the workspace has been disposed.</exception>
    /// <example>
    /// The second of two ranks of two rows each.
    /// <code>
    /// using ILGPU;
    /// using ILGPU.Runtime;
    ///
    /// const int Local = 2, Gathered = 4, Width = 8, Rank = 1;
    /// using Gpu gpu = Gpu.OpenEmulated(warps: 4);
    /// MemoryBuffer1D&lt;float, Stride1D.Dense&gt; Memory(int seed) =&gt;
    ///     gpu.Accelerator.Allocate1D(Enumerable.Range(0, Gathered * Width).Select(i =&gt; MathF.Sin(i * (i + seed))).ToArray());
    /// using MemoryBuffer1D&lt;float, Stride1D.Dense&gt; images = Memory(1), texts = Memory(2), components = Memory(3), gradTexts = Memory(0), logitScale = Memory(1);
    /// GpuMatrix All(MemoryBuffer1D&lt;float, Stride1D.Dense&gt; memory) =&gt; new(memory.View.BaseView, Gathered, Width);
    /// GpuMatrix Own(MemoryBuffer1D&lt;float, Stride1D.Dense&gt; memory) =&gt; new(memory.View.BaseView.SubView(Rank * Local * Width, Local * Width), Local, Width);
    ///
    /// using MoLo molo = new(new MoLoOptions(), threads: 1);
    /// using MoLoGpuWorkspace workspace = molo.CreateWorkspace(gpu, new MatrixShape(Local, Width), Gathered, targetOffset: Rank * Local);
    /// molo.Run(
    ///     new MoLoGpuMatrices { Images = Own(images), Texts = Own(texts), ComponentTexts = Own(components) },
    ///     new MoLoGpuMatrices { Images = All(images), Texts = All(texts), ComponentTexts = All(components) },
    ///     new GpuMatrix(logitScale.View.BaseView, 1, 1),
    ///     gradLocal: default,
    ///     gradGathered: new MoLoGpuMatrices { Texts = All(gradTexts) },
    ///     workspace);
    /// Console.WriteLine($"loss {workspace.ReadResult().Loss}");
    /// </code>
    /// </example>
    public void Run(
        MoLoGpuMatrices local, MoLoGpuMatrices gathered, GpuMatrix logitScale, MoLoGpuMatrices gradLocal, MoLoGpuMatrices gradGathered, MoLoGpuWorkspace workspace,
        AcceleratorStream? stream = null)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        ArgumentNullException.ThrowIfNull(workspace);
        if (workspace.Owner != this)
        {
            throw new ArgumentException("MoLo.Run: workspace was created by another MoLo; use CreateWorkspace of this one.", nameof(workspace));
        }

        Check(local, workspace.Local, nameof(local), mayBeEmpty: false);
        Check(gathered, workspace.Gathered, nameof(gathered), mayBeEmpty: false);
        Check(gradLocal, workspace.Local, nameof(gradLocal), mayBeEmpty: true);
        Check(gradGathered, workspace.Gathered, nameof(gradGathered), mayBeEmpty: true);
        if (logitScale.Shape != new MatrixShape(1, 1) || logitScale.Element != GpuElement.Float32)
        {
            throw new ArgumentException($"MoLo.Run: logitScale is {logitScale.Shape} of {logitScale.Element}; it must be 1 x 1 of Float32.", nameof(logitScale));
        }

        try
        {
            workspace.Run(stream ?? workspace.Gpu.Accelerator.DefaultStream, local, gathered, logitScale, gradLocal, gradGathered);
        }
        catch (GpuException failure)
        {
            throw new GpuException($"MoLo.Run with {workspace.Local} local and {workspace.Gathered} gathered features: {failure.Message}", failure);
        }
    }

    private void Check(MoLoGpuMatrices matrices, MatrixShape shape, string name, bool mayBeEmpty)
    {
        Check(matrices.Images, shape, $"{name}.Images", true, mayBeEmpty);
        Check(matrices.Texts, shape, $"{name}.Texts", true, mayBeEmpty);
        Check(matrices.ComponentImages, shape, $"{name}.ComponentImages", _options.ReconstructsImages, mayBeEmpty);
        Check(matrices.ComponentTexts, shape, $"{name}.ComponentTexts", _options.ReconstructsTexts, mayBeEmpty);
    }

    private void Check(GpuMatrix matrix, MatrixShape shape, string name, bool isUsed, bool mayBeEmpty)
    {
        if (!isUsed)
        {
            Guard.That(matrix.IsEmpty, matrix.Shape, $"must be empty with components = {_options.Components} and lambda = {_options.Lambda}", name);
        }
        else if (!(mayBeEmpty && matrix.IsEmpty))
        {
            Guard.Shape(matrix.Shape, shape, name, "its workspace");
        }
    }
}
