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
    private const int Threads = 128;
    private const int Sides = 2;

    private readonly Gpu _gpu;
    private readonly MatrixShape _shape;
    private readonly GpuStepSettings _settings;
    private readonly bool _keysAreImages;
    private readonly StepFormGpu _form;
    private readonly MemoryBuffer1D<byte, Stride1D.Dense>? _memory;
    private readonly ArrayView<float> _unit;            // queries, then keys; N x d each
    private readonly ArrayView<float> _inverseNorm;     // 2 N
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
        _settings = settings ?? new GpuStepSettings();
        if (!gpu.OnlyRecords)
        {
            CheckSupported(shape, options, _settings);
        }

        _keysAreImages = options.ReconstructsImages && !options.ReconstructsTexts;
        _form = Form(shape, options, _settings);
        long bytes = BytesOf(shape, _settings.Groups, _form);
        _memory = gpu.OnlyRecords ? null : gpu.Allocate<byte>(bytes);
        DeviceArena arena = new(_memory?.View.BaseView ?? gpu.PretendMemory(bytes));
        (_unit, _inverseNorm, _kept) = Layout(arena, shape, _settings.Groups);
        _form.Layout(arena);
        if (_memory is not null)
        {
            _memory.MemSetToZero(); // m of a side that is not reconstructed stays 0
            gpu.Accelerator.Synchronize(); // the caller's stream does not wait for the default one
        }
    }

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
        return BytesOf(shape, settings.Groups, Form(shape, options, settings));
    }

    /// <summary>Enqueues a step; returns before it is done.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="buffers">Inputs and outputs.</param>
    public void Run(AcceleratorStream stream, StepBuffers<float> buffers)
    {
        for (int group = 0; group < _settings.Groups; group++)
        {
            RunGroup(stream, new StepBuffers<float>
            {
                Images = Part(buffers.Images, group, _shape.Length), Texts = Part(buffers.Texts, group, _shape.Length), LogitScale = buffers.LogitScale,
                GradImages = Part(buffers.GradImages, group, _shape.Length), GradTexts = Part(buffers.GradTexts, group, _shape.Length),
                Summary = Part(buffers.Summary, group, StepSummary.Length),
            }, _kept.SubView(group * Sides, Sides));
        }

        static ArrayView<float> Part(ArrayView<float> all, int group, long length) => all.SubView(group * length, length);
    }

    /// <summary>Frees the workspace.</summary>
    public void Dispose() => _memory?.Dispose();

    private void RunGroup(AcceleratorStream stream, StepBuffers<float> buffers, ArrayView<int> kept)
    {
        int n = _shape.Rows;
        int warps = Threads / Gpu.WarpSize;
        _gpu.Launch(stream, L2NormalizeGpu.Kernel, new Index3D(((Sides * n) + warps - 1) / warps, 1, 1), Threads, new L2NormalizeArguments
        {
            Images = _keysAreImages ? buffers.Texts : buffers.Images, Texts = _keysAreImages ? buffers.Images : buffers.Texts,
            Unit = _unit, InverseNorm = _inverseNorm, Rows = n, TotalRows = Sides * n, Columns = _shape.Columns,
        });
        _form.Run(_gpu, stream, new StepOperands
        {
            Unit = _unit,
            InverseNorm = _inverseNorm,
            LogitScale = buffers.LogitScale,
            GradQueries = _keysAreImages ? buffers.GradTexts : buffers.GradImages,
            GradKeys = _keysAreImages ? buffers.GradImages : buffers.GradTexts,
            Summary = buffers.Summary,
            Kept = _keysAreImages ? kept.SubView(1, 1) : kept,
        });
    }

    private static (ArrayView<float> Unit, ArrayView<float> InverseNorm, ArrayView<int> Kept) Layout(DeviceArena arena, MatrixShape shape, int groups) =>
        (arena.Floats(Sides * shape.Length), arena.Floats(Sides * shape.Rows), arena.Take<int>((long)Sides * groups));

    private static long BytesOf(MatrixShape shape, int groups, StepFormGpu form)
    {
        DeviceArena counting = new();
        _ = Layout(counting, shape, groups);
        form.Layout(counting);
        return counting.Used;
    }

    private static StepFormGpu Form(MatrixShape shape, MoLoOptions options, GpuStepSettings settings) =>
        shape.Rows <= shape.Columns && options.Lambda != 0.0 ? new GramStepGpu(shape, options, settings) : new CovarianceStepGpu(shape, options, settings);
}
