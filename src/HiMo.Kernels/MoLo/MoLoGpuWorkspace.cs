// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>
/// Device memory of <see cref="MoLo"/>'s runs on <see cref="GpuMatrix"/> for one shape, one rank and one precision on one device, with the numbers of its last
/// run. Runs allocate nothing, but for conversions at their first use. One workspace serves one stream at a time.
/// </summary>
/// <example>
/// <code>
/// using Gpu gpu = Gpu.OpenEmulated(warps: 4);
/// using MoLo molo = new(new MoLoOptions(), threads: 1);
/// MatrixShape local = new(128, 768);
/// Console.WriteLine($"{molo.WorkspaceBytes(local, gatheredRows: 1024)} bytes of device memory will be needed by each of 8 ranks");
/// using MoLoGpuWorkspace workspace = molo.CreateWorkspace(gpu, local, gatheredRows: 1024, targetOffset: 128);
/// Console.WriteLine($"{workspace.Bytes} are by the second");
/// </code>
/// </example>
public sealed class MoLoGpuWorkspace : IDisposable
{
    private const int Operands = 4;
    private const int SummaryBytes = StepSummary.Length * sizeof(float);

    private readonly MoLoOptions _options;
    private readonly MoLoGpu _molo;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _summary;
    private readonly DenseCopies _localCopies;
    private readonly DenseCopies _gatheredCopies;
    private bool _hasRun;
    private bool _isDisposed;

    internal MoLoGpuWorkspace(MoLo owner, MoLoOptions options, Gpu gpu, MatrixShape local, int gatheredRows, int targetOffset, GpuPrecision precision)
    {
        Owner = owner;
        _options = options;
        Gpu = gpu;
        Local = local;
        Gathered = new MatrixShape(gatheredRows, local.Columns);
        TargetOffset = targetOffset;
        using PrimaryContext.Scope scope = PrimaryContext.Enter(gpu.Accelerator);
        _molo = new MoLoGpu(gpu, local, gatheredRows, targetOffset, options, GpuStepSettings.For(precision, gpu));
        _summary = gpu.Allocate<float>(StepSummary.Length);
        _localCopies = new DenseCopies(gpu, Local.Length, 2 * Operands);
        _gatheredCopies = new DenseCopies(gpu, Gathered.Length, 2 * Operands);
    }

    /// <summary>The device.</summary>
    public Gpu Gpu { get; }

    /// <summary>B x d, the rows of this rank.</summary>
    public MatrixShape Local { get; }

    /// <summary>N x d, the rows of all ranks.</summary>
    public MatrixShape Gathered { get; }

    /// <summary>Gathered row that matches local row 0.</summary>
    public int TargetOffset { get; }

    /// <summary>
    /// Bytes of device memory, dense float32 matrices given. Each operand that is not, and each gradient that is not or is not wanted, takes its own
    /// size in float32 once more.
    /// </summary>
    public long Bytes => _molo.Bytes + SummaryBytes;

    /// <summary>Loss, global, component, dL/d logitScale of the last run, 1 x 4 in device memory. The branches are before their weights.</summary>
    public GpuMatrix Summary => new(_summary.View.BaseView, 1, 4);

    internal MoLo Owner { get; }

    /// <summary>The last run's numbers on the host; m and the explained variance are not known here and 0. Waits until the stream has come that far.</summary>
    /// <param name="stream">The stream of that run; null: the device's default stream.</param>
    /// <exception cref="InvalidOperationException">Nothing has run.</exception>
    /// <exception cref="GpuException">The run failed on the device.</exception>
    /// <exception cref="ObjectDisposedException">The workspace has been disposed.</exception>
    public MoLoResult ReadResult(AcceleratorStream? stream = null)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (!_hasRun)
        {
            throw new InvalidOperationException("MoLoGpuWorkspace.ReadResult: no loss has run with this workspace.");
        }

        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        Span<float> numbers = stackalloc float[4];
        Gpu.Read(stream ?? Gpu.Accelerator.DefaultStream, _summary.View.BaseView.SubView(0, 4), numbers);
        return ToResult(numbers);
    }

    /// <summary>What a workspace will take.</summary>
    internal static long BytesOf(MatrixShape local, int gatheredRows, MoLoOptions options, GpuPrecision precision) =>
        MoLoGpu.WorkspaceBytes(local, gatheredRows, options, GpuStepSettings.For(precision, gpu: null)) + SummaryBytes;

    /// <summary>The device's numbers as the CPU form reports them.</summary>
    /// <param name="numbers">Those of <see cref="Summary"/>.</param>
    internal static MoLoResult ToResult(ReadOnlySpan<float> numbers) =>
        new() { Loss = numbers[0], Global = numbers[1], Component = numbers[2], M = 0, ExplainedVariance = 0.0, GradLogitScale = numbers[3] };

    /// <summary>Enqueues a copy of the last run's <see cref="Summary"/> within the device.</summary>
    /// <param name="stream">The stream of that run.</param>
    /// <param name="target">1 x 4.</param>
    internal void CopyResult(AcceleratorStream stream, GpuMatrix target)
    {
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        target.As<float>().SubView(0, 4).CopyFrom(stream, _summary.View.BaseView.SubView(0, 4));
    }

    /// <summary>Frees the memory; work that uses it must have been waited for.</summary>
    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
            _molo.Dispose();
            _summary.Dispose();
            _localCopies.Dispose();
            _gatheredCopies.Dispose();
        }
    }

    internal void Run(
        AcceleratorStream stream, MoLoGpuMatrices local, MoLoGpuMatrices gathered, GpuMatrix logitScale, MoLoGpuMatrices gradLocal, MoLoGpuMatrices gradGathered)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        MoLoGpuBuffers buffers = new()
        {
            Local = Inputs(stream, _localCopies, local),
            Gathered = Inputs(stream, _gatheredCopies, gathered),
            LogitScale = logitScale.As<float>(),
            GradLocal = Outputs(_localCopies, gradLocal),
            GradGathered = Outputs(_gatheredCopies, gradGathered),
            Summary = _summary.View.BaseView,
        };
        _molo.Run(stream, buffers);
        Deliver(stream, _localCopies, buffers.GradLocal, gradLocal);
        Deliver(stream, _gatheredCopies, buffers.GradGathered, gradGathered);
        _hasRun = true;
    }

    private MoLoGpuFeatures Inputs(AcceleratorStream stream, DenseCopies copies, MoLoGpuMatrices matrices) => new()
    {
        Images = copies.Input(stream, 0, matrices.Images),
        Texts = copies.Input(stream, 1, matrices.Texts),
        ComponentImages = _options.ReconstructsImages ? copies.Input(stream, 2, matrices.ComponentImages) : default,
        ComponentTexts = _options.ReconstructsTexts ? copies.Input(stream, 3, matrices.ComponentTexts) : default,
    };

    private MoLoGpuFeatures Outputs(DenseCopies copies, MoLoGpuMatrices matrices) => new()
    {
        Images = copies.Output(Operands, matrices.Images),
        Texts = copies.Output(Operands + 1, matrices.Texts),
        ComponentImages = _options.ReconstructsImages ? copies.Output(Operands + 2, matrices.ComponentImages) : default,
        ComponentTexts = _options.ReconstructsTexts ? copies.Output(Operands + 3, matrices.ComponentTexts) : default,
    };

    private static void Deliver(AcceleratorStream stream, DenseCopies copies, MoLoGpuFeatures dense, MoLoGpuMatrices matrices)
    {
        copies.Deliver(stream, dense.Images, matrices.Images);
        copies.Deliver(stream, dense.Texts, matrices.Texts);
        copies.Deliver(stream, dense.ComponentImages, matrices.ComponentImages);
        copies.Deliver(stream, dense.ComponentTexts, matrices.ComponentTexts);
    }
}
