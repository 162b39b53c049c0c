// SPDX-License-Identifier: Apache-2.0
// The whole step on the GPU, from raw features to loss and gradients: the entry, its memory, and what is supported. The work is done by two
// forms, TrainingStep.Gram.Gpu.cs for N <= d and TrainingStep.Covariance.Gpu.cs for N > d.
// Host       no read, no allocation, no synchronisation in a run, so that it can be captured in a CUDA graph.
// Determinism  bit for bit: every sum has one order, no atomics.
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>
/// One step in device memory: everything between raw features and loss and gradients. All memory is allocated by the constructor, so
/// that <see cref="Run"/> only enqueues.
/// </summary>
internal sealed class TrainingStepGpu : IDisposable
{
    private const int Sides = 2;

    private readonly Gpu _gpu;
    private readonly MatrixShape _shape;
    private readonly GpuStepSettings _settings;
    private readonly bool _keysAreImages;
    private readonly StepFormGpu _form;
    private readonly int _together;
    private readonly MemoryBuffer1D<byte, Stride1D.Dense>? _memory;
    private readonly BatchView<float> _unit;            // queries, then keys; N x d each
    private readonly BatchView<float> _inverseNorm;     // 2 N
    private readonly ArrayView<int> _kept;              // a group: of the texts, then of the images

    /// <summary>Prepares a step and takes its memory.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="shape">N x d of each group.</param>
    /// <param name="options">What is computed.</param>
    /// <param name="settings">How; null takes the defaults.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="NotSupportedException">Shape, options or settings are not available on the GPU, see <see cref="CheckSupported"/>.</exception>
    public TrainingStepGpu(Gpu gpu, MatrixShape shape, MoLoOptions options, GpuStepSettings? settings = null)
    {
        _gpu = gpu;
        _shape = shape;
        _settings = (settings ?? new GpuStepSettings()).On(gpu);
        gpu.CheckOpenCl(_settings, options.Lambda == 0.0 ? 0 : Math.Min(shape.Rows, shape.Columns));
        if (!gpu.OnlyRecords)
        {
            CheckSupported(shape, options, _settings);
        }

        _keysAreImages = options.ReconstructsImages && !options.ReconstructsTexts;
        _form = Form(shape, options, _settings);
        _together = Together(shape, _settings, _form);
        long bytes = BytesOf(shape, _settings.Groups, _form, _together);
        _memory = gpu.OnlyRecords ? null : gpu.Allocate<byte>(bytes);
        DeviceArena arena = new(_memory?.View.BaseView ?? gpu.PretendMemory(bytes), _together);
        (_unit, _inverseNorm, _kept) = Layout(arena, shape, _settings.Groups);
        _form.Layout(arena);
        if (_memory is not null)
        {
            _memory.MemSetToZero(); // m of a side that is not reconstructed stays 0
            gpu.Accelerator.Synchronize(); // the caller's stream does not wait for the default one
        }
    }

    /// <summary>Device memory that was taken.</summary>
    public long Bytes => _memory?.LengthInBytes ?? 0;

    /// <summary>m of the last run in device memory, for each group of the texts, then of the images; 0 where a side is not reconstructed.</summary>
    public ArrayView<int> Kept => _kept;

    /// <summary>The one place that says what the GPU does not do; the CPU does all of it.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="NotSupportedException">Not available; the message says what is.</exception>
    public static void CheckSupported(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
    {
        options.Validate();
        Guard.That(settings.Groups >= 1, settings.Groups, "must be 1 or more");
        Guard.That(shape.Rows >= 1 && shape.Columns >= 1, shape, "must have at least one row and one column");
        Require(
            options.Lambda == 0.0 || Math.Min(shape.Rows, shape.Columns) <= EigenSymmetricGpu.LargeMaxSize, $"shape {shape}", $"min(N, d) up to {EigenSymmetricGpu.LargeMaxSize}");

        static void Require(bool isSupported, string what, string available)
        {
            if (!isSupported)
            {
                throw new NotSupportedException($"The training step on a GPU does not have {what} (it has {available}); the CPU has.");
            }
        }
    }

    /// <summary>Bytes of device memory that a step takes besides its inputs and outputs.</summary>
    public static long WorkspaceBytes(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
    {
        CheckSupported(shape, options, settings);
        StepFormGpu form = Form(shape, options, settings);
        return BytesOf(shape, settings.Groups, form, Together(shape, settings, form));
    }

    /// <summary>Enqueues a step; returns before it is done.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="buffers">Inputs and outputs.</param>
    public void Run(AcceleratorStream stream, StepBuffers<float> buffers)
    {
        BatchView<float> images = new(buffers.Images, _shape.Length);
        BatchView<float> texts = new(buffers.Texts, _shape.Length);
        BatchView<float> gradImages = new(buffers.GradImages, _shape.Length);
        BatchView<float> gradTexts = new(buffers.GradTexts, _shape.Length);
        BatchView<float> summary = new(buffers.Summary, StepSummary.Length);
        BatchView<int> kept = new BatchView<int>(_kept, Sides).From(_keysAreImages ? 1 : 0);
        for (int first = 0; first < _settings.Groups; first += _together)
        {
            BatchStream batches = new(_gpu, stream, Math.Min(_together, _settings.Groups - first));
            L2NormalizeArguments rows = new() { Unit = _unit, InverseNorm = _inverseNorm, Rows = _shape.Rows, TotalRows = Sides * _shape.Rows, Columns = _shape.Columns };
            if (!buffers.StoredImages.IsEmpty)
            {
                (GpuMatrix queries, GpuMatrix keys) = _keysAreImages ? (buffers.StoredTexts, buffers.StoredImages) : (buffers.StoredImages, buffers.StoredTexts);
                L2NormalizeGpu.RunStored(batches, queries, keys, rows);
            }
            else
            {
                rows.Images = (_keysAreImages ? texts : images).Skip(first);
                rows.Texts = (_keysAreImages ? images : texts).Skip(first);
                batches.Lines(L2NormalizeGpu.Kernel, rows.TotalRows, rows);
            }

            _form.Run(batches, new StepOperands
            {
                Unit = _unit,
                InverseNorm = _inverseNorm,
                LogitScale = buffers.LogitScale,
                GradQueries = (_keysAreImages ? gradTexts : gradImages).Skip(first),
                GradKeys = (_keysAreImages ? gradImages : gradTexts).Skip(first),
                Summary = summary.Skip(first),
                Kept = kept.Skip(first),
            });
        }
    }

    /// <summary>Frees the workspace.</summary>
    public void Dispose() => _memory?.Dispose();

    private static (BatchView<float> Unit, BatchView<float> InverseNorm, ArrayView<int> Kept) Layout(DeviceArena arena, MatrixShape shape, int groups) =>
        (arena.EachBatch(Sides * shape.Length), arena.EachBatch(Sides * shape.Rows), arena.Take<int>((long)Sides * groups));

    private static long BytesOf(MatrixShape shape, int groups, StepFormGpu form, int together)
    {
        DeviceArena counting = new(together);
        _ = Layout(counting, shape, groups);
        form.Layout(counting);
        return counting.Used;
    }

    // How many groups share launches.
    private static int Together(MatrixShape shape, GpuStepSettings settings, StepFormGpu form)
    {
        long fitting = form.SharesLaunches ? settings.MostMemory / BytesOf(shape, groups: 1, form, together: 1) : 1;
        return (int)Math.Clamp(fitting, 1, Math.Min(settings.Groups, BatchStream.MaxBatches));
    }

    private static StepFormGpu Form(MatrixShape shape, MoLoOptions options, GpuStepSettings settings) =>
        shape.Rows <= shape.Columns && options.Lambda != 0.0 ? new GramStepGpu(shape, options, settings) : new CovarianceStepGpu(shape, options, settings);
}
