// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>
/// Device memory of <see cref="TrainingStep.Run(GpuMatrix, GpuMatrix, GpuMatrix, GpuMatrix, GpuMatrix, GpuWorkspace, AcceleratorStream)"/>
/// for one shape on one device, with the results of its last run. Runs allocate nothing, but for conversions at their first use. One
/// workspace serves one stream at a time; several streams take one each.
/// </summary>
/// <example>
/// <code>
/// using Gpu gpu = Gpu.OpenEmulated(warps: 4);
/// using TrainingStep step = new(new MoLoOptions(), threads: 1);
/// Console.WriteLine($"{step.WorkspaceBytes(new MatrixShape(128, 768))} bytes of device memory will be needed");
/// using GpuWorkspace workspace = step.CreateWorkspace(gpu, new MatrixShape(128, 768));
/// Console.WriteLine($"{workspace.Bytes} are, and {workspace.BytesPerConversion} more for each gradient that is not dense float32");
/// </code>
/// </example>
public sealed class GpuWorkspace : IDisposable
{
    private const int SummaryBytes = StepSummary.Length * sizeof(float);

    private readonly TrainingStepGpu _step;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _summary;
    private readonly DenseCopies _copies;
    private bool _hasRun;
    private bool _isDisposed;

    internal GpuWorkspace(TrainingStep owner, MoLoOptions options, Gpu gpu, MatrixShape shape, GpuPrecision precision)
    {
        Owner = owner;
        Options = options;
        Gpu = gpu;
        Shape = shape;
        using PrimaryContext.Scope scope = PrimaryContext.Enter(gpu.Accelerator);
        _step = new TrainingStepGpu(gpu, shape, options, GpuStepSettings.For(precision, gpu));
        _summary = gpu.Allocate<float>(StepSummary.Length);
        _copies = new DenseCopies(gpu, shape.Length, count: 4);
    }

    /// <summary>The device.</summary>
    public Gpu Gpu { get; }

    /// <summary>N x d.</summary>
    public MatrixShape Shape { get; }

    /// <summary>Bytes of device memory, dense float32 matrices given.</summary>
    public long Bytes => _step.Bytes + SummaryBytes;

    /// <summary>Bytes more, once, for each gradient that is not dense float32 or not wanted, and for an input that is not dense float32 where the other is of another type.</summary>
    public long BytesPerConversion => Shape.Length * sizeof(float);

    /// <summary>
    /// Loss, global, component, dL/d logitScale, explained variance and relative gap of the last run, 1 x 6 in device memory. The branches
    /// are before their weights.
    /// </summary>
    public GpuMatrix Summary => new(_summary.View.BaseView, 1, StepSummary.Length);

    /// <summary>Words of <see cref="CopyResult"/>: the summary, then the bits of m of texts and images.</summary>
    internal const int ResultLength = StepSummary.Length + 2;

    /// <summary>Where the loss is among them.</summary>
    internal const int ResultLoss = 0;

    /// <summary>Where dL/d logitScale is among them.</summary>
    internal const int ResultGradLogitScale = 3;

    internal TrainingStep Owner { get; }

    internal MoLoOptions Options { get; }

    /// <summary>The last run's numbers on the host. Waits until the stream has come that far.</summary>
    /// <param name="stream">The stream of that run; null: the device's default stream.</param>
    /// <exception cref="InvalidOperationException">Nothing has run.</exception>
    /// <exception cref="GpuException">The run failed on the device.</exception>
    public MoLoResult ReadResult(AcceleratorStream? stream = null)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (!_hasRun)
        {
            throw new InvalidOperationException("GpuWorkspace.ReadResult: no step has run with this workspace.");
        }

        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        AcceleratorStream used = stream ?? Gpu.Accelerator.DefaultStream;
        Span<float> words = stackalloc float[ResultLength];
        Gpu.Read(used, _summary.View.BaseView, words[..StepSummary.Length]);
        Gpu.Read(used, _step.Kept.Cast<float>(), words[StepSummary.Length..]);
        return ToResult(words, Options, Shape);
    }

    /// <summary>Frees the memory; work that uses it must have been waited for.</summary>
    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
            _step.Dispose();
            _summary.Dispose();
            _copies.Dispose();
        }
    }

    /// <summary>What a workspace will take.</summary>
    internal static long BytesOf(MatrixShape shape, MoLoOptions options, GpuPrecision precision) =>
        TrainingStepGpu.WorkspaceBytes(shape, options, GpuStepSettings.For(precision, gpu: null)) + SummaryBytes;

    /// <summary>The device's numbers as the other forms of the step report them.</summary>
    /// <param name="numbers">The words of <see cref="CopyResult"/>.</param>
    /// <param name="options">What was computed.</param>
    /// <param name="shape">N x d.</param>
    internal static MoLoResult ToResult(ReadOnlySpan<float> numbers, MoLoOptions options, MatrixShape shape)
    {
        int m = options.ReconstructsTexts ? BitConverter.SingleToInt32Bits(numbers[StepSummary.Length]) : 0;
        int mImage = options.ReconstructsImages ? BitConverter.SingleToInt32Bits(numbers[StepSummary.Length + 1]) : 0;
        bool hasComponent = options.ReconstructsTexts || options.ReconstructsImages;
        HiDeWarnings warnings = (m > 0 ? Warnings(m, numbers[5]) : HiDeWarnings.None) | (mImage > 0 ? Warnings(mImage, numbers[5]) : HiDeWarnings.None);
        return new MoLoResult
        {
            Loss = numbers[0],
            Global = options.GlobalWeight == 0.0 ? 0.0 : numbers[1],
            Component = hasComponent ? numbers[2] : 0.0,
            M = m,
            MImage = mImage,
            ExplainedVariance = hasComponent ? numbers[4] : 0.0,
            RelativeGap = hasComponent ? numbers[5] : double.PositiveInfinity,
            Warnings = warnings,
            GradLogitScale = numbers[3],
        };

        HiDeWarnings Warnings(int kept, double gap) => new ExplainedRank(kept, kept, 0.0, gap).Warnings(shape.Rows, shape.Columns);
    }

    /// <summary>Enqueues a copy of the last run's numbers within the device.</summary>
    /// <param name="stream">The stream of that run.</param>
    /// <param name="target">1 x <see cref="ResultLength"/>.</param>
    internal void CopyResult(AcceleratorStream stream, GpuMatrix target)
    {
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        ArrayView<float> words = target.As<float>();
        words.SubView(0, StepSummary.Length).CopyFrom(stream, _summary.View.BaseView);
        words.SubView(StepSummary.Length, 2).CopyFrom(stream, _step.Kept.Cast<float>());
    }

    internal void Run(AcceleratorStream stream, GpuMatrix images, GpuMatrix texts, GpuMatrix logitScale, GpuMatrix gradImages, GpuMatrix gradTexts)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        using PrimaryContext.Scope scope = PrimaryContext.Enter(Gpu.Accelerator);
        bool isStored = L2NormalizeGpu.TakesStored(images, texts);
        StepBuffers<float> buffers = new()
        {
            Images = isStored ? default : _copies.Input(stream, 0, images),
            Texts = isStored ? default : _copies.Input(stream, 1, texts),
            StoredImages = isStored ? images : default,
            StoredTexts = isStored ? texts : default,
            LogitScale = logitScale.As<float>(),
            GradImages = _copies.Output(2, gradImages),
            GradTexts = _copies.Output(3, gradTexts),
            Summary = _summary.View.BaseView,
        };
        _step.Run(stream, buffers);
        _copies.Deliver(stream, buffers.GradImages, gradImages);
        _copies.Deliver(stream, buffers.GradTexts, gradTexts);
        _hasRun = true;
    }
}
