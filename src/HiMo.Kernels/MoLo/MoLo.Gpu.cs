// SPDX-License-Identifier: Apache-2.0
// The dual loss on the GPU on features that are normalised and decomposed already: B local rows against N gathered ones, for several ranks.
//            each branch 1/2 [ CE(local images, gathered texts) + CE(local texts, gathered images) ],  targets offset
// Launches   two directions of each branch, one after the other: 3 and 3 a strip each; 3 more with cosines for each of their operands that is
//            reconstructed.
// Memory     O(N): statistics and a strip of D; with cosines a copy of the reconstructed rows.
// Precision, determinism  as in ContrastiveLoss.Gpu.Statistics.cs and ContrastiveLoss.Gpu.Gradient.cs.
// Source     HiMo-CLIP (arXiv:2511.06653), equations 2 to 4; the gather as in the authors' code.
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Operands of one side of the gather, or the gradients with respect to them, row-major. Component operands that are not reconstructed are empty.</summary>
internal struct MoLoGpuFeatures
{
    public ArrayView<float> Images;
    public ArrayView<float> Texts;
    public ArrayView<float> ComponentImages;
    public ArrayView<float> ComponentTexts;
}

/// <summary>Device memory of one call; all gradients are computed.</summary>
internal struct MoLoGpuBuffers
{
    /// <summary>B x d.</summary>
    public MoLoGpuFeatures Local;

    /// <summary>N x d.</summary>
    public MoLoGpuFeatures Gathered;

    /// <summary>One element, -100 to 80.</summary>
    public ArrayView<float> LogitScale;

    /// <summary>Receives the local rows' gradients.</summary>
    public MoLoGpuFeatures GradLocal;

    /// <summary>Receives the gathered rows' gradients; zeros where they are constants.</summary>
    public MoLoGpuFeatures GradGathered;

    /// <summary>Receives loss, global, component, dL/d logitScale; <see cref="StepSummary.Length"/> elements, the last two are not used.</summary>
    public ArrayView<float> Summary;
}

/// <summary>The dual loss in device memory; memory is allocated by the constructor.</summary>
internal sealed class MoLoGpu : IDisposable
{
    private readonly Gpu _gpu = null!;
    private readonly MatrixShape _local;
    private readonly int _gatheredRows;
    private readonly int _targetOffset;
    private readonly MoLoOptions _options;
    private readonly GpuStepSettings _settings;
    private readonly MemoryBuffer1D<byte, Stride1D.Dense>? _memory;
    private FactorLoss _loss;
    private ArrayView<float> _unitQueries;              // cosine
    private ArrayView<float> _unitKeys;
    private ArrayView<float> _inverseQueries;
    private ArrayView<float> _inverseKeys;

    /// <summary>Prepares a loss and takes its memory.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="local">B x d.</param>
    /// <param name="gatheredRows">N, at least B.</param>
    /// <param name="targetOffset">Gathered row that matches local row 0; 0 to N - B.</param>
    /// <param name="options">tau and the basis gradient are not used.</param>
    /// <param name="settings">Precision and rows of a strip; null takes the defaults.</param>
    /// <exception cref="ArgumentException">A size or an option is out of range.</exception>
    public MoLoGpu(Gpu gpu, MatrixShape local, int gatheredRows, int targetOffset, MoLoOptions options, GpuStepSettings? settings = null)
        : this(local, gatheredRows, targetOffset, options, (settings ?? new GpuStepSettings()).On(gpu))
    {
        gpu.CheckOpenCl(_settings, problem: 0);
        _gpu = gpu;
        _memory = gpu.Allocate<byte>(Bytes);
        Layout(new DeviceArena(_memory.View.BaseView));
    }

    private MoLoGpu(MatrixShape local, int gatheredRows, int targetOffset, MoLoOptions options, GpuStepSettings settings)
    {
        options.Validate();
        Guard.That(local.Rows >= 1 && local.Columns >= 1, local, "must have at least one row and one column");
        Guard.That(gatheredRows >= local.Rows, gatheredRows, $"must be at least {local.Rows}, the local rows");
        Guard.That(targetOffset >= 0 && targetOffset <= gatheredRows - local.Rows, targetOffset, $"must be from 0 to {gatheredRows - local.Rows}");
        _local = local;
        _gatheredRows = gatheredRows;
        _targetOffset = targetOffset;
        _options = options;
        _settings = settings;
        DeviceArena counting = new();
        Layout(counting);
        Bytes = counting.Used;
    }

    /// <summary>Device memory that it takes.</summary>
    public long Bytes { get; }

    /// <summary>Bytes of device memory that a loss takes besides its inputs and outputs.</summary>
    public static long WorkspaceBytes(MatrixShape local, int gatheredRows, MoLoOptions options, GpuStepSettings settings) =>
        new MoLoGpu(local, gatheredRows, targetOffset: 0, options, settings).Bytes;

    /// <summary>Enqueues loss and gradients; returns before they are done.</summary>
    public void Run(AcceleratorStream stream, MoLoGpuBuffers buffers)
    {
        _gpu.Clear(stream, buffers.Summary);
        Clear(stream, buffers.GradLocal);
        Clear(stream, buffers.GradGathered);
        MoLoGpuFeatures local = buffers.Local;
        MoLoGpuFeatures gathered = buffers.Gathered;
        MoLoGpuFeatures gradGathered = _options.GatherWithGrad ? buffers.GradGathered : default;
        if (_options.GlobalWeight != 0.0)
        {
            Direction(stream, buffers, local.Images, gathered.Texts, buffers.GradLocal.Images, gradGathered.Texts, _options.GlobalWeight, isComponent: false);
            Direction(stream, buffers, local.Texts, gathered.Images, buffers.GradLocal.Texts, gradGathered.Images, _options.GlobalWeight, isComponent: false);
        }

        if (_options.Lambda != 0.0)
        {
            MoLoGpuFeatures component = Component(local);
            MoLoGpuFeatures componentGathered = Component(gathered);
            MoLoGpuFeatures grad = Component(buffers.GradLocal);
            MoLoGpuFeatures gradOther = Component(gradGathered);
            bool images = _options.ReconstructsImages && IsCosine;
            bool texts = _options.ReconstructsTexts && IsCosine;
            Direction(stream, buffers, component.Images, componentGathered.Texts, grad.Images, gradOther.Texts, _options.Lambda, isComponent: true, images, texts);
            Direction(stream, buffers, component.Texts, componentGathered.Images, grad.Texts, gradOther.Images, _options.Lambda, isComponent: true, texts, images);
        }
    }

    /// <summary>Frees the workspace.</summary>
    public void Dispose() => _memory?.Dispose();

    private bool IsCosine => _options.ComponentNormalization == ComponentNormalization.Cosine;

    private void Clear(AcceleratorStream stream, MoLoGpuFeatures gradients)
    {
        foreach (ArrayView<float> view in new[] { gradients.Images, gradients.Texts, gradients.ComponentImages, gradients.ComponentTexts })
        {
            if (view.Length > 0)
            {
                _gpu.Clear(stream, view);
            }
        }
    }

    // What stands for images and texts in the component branch.
    private MoLoGpuFeatures Component(MoLoGpuFeatures features) => new()
    {
        Images = _options.ReconstructsImages ? features.ComponentImages : features.Images,
        Texts = _options.ReconstructsTexts ? features.ComponentTexts : features.Texts,
    };

    private void Layout(DeviceArena arena)
    {
        int lines = _local.Rows + _gatheredRows;
        int stripRows = Math.Min(_settings.StripRows, _local.Rows);
        _loss = new FactorLoss
        {
            Branches = 1,
            Width = _local.Columns,
            Pass = new()
            {
                Branches = new()
                {
                    Largest = arena.Floats(lines), Inverse = arena.Floats(lines), Miss = arena.Floats(lines), Loss = arena.Floats(lines), GradScale = arena.Floats(lines),
                    Total = arena.Floats(lines), Target = arena.Floats(_local.Rows), Rows = _local.Rows, Columns = _gatheredRows, TargetOffset = _targetOffset,
                    LabelSmoothing = (float)_options.LabelSmoothing, HasColumns = 0,
                },
                Depths = new() { FirstGroup = 1, Before = _local.Columns },
                Partial = arena.Take<LineStatistics>((long)LogitPassGpu.Splits * lines),
            },
        };
        if (_settings is { Precision: GpuPrecision.Bf16, Warpgroups: true })
        {
            _loss.Packed = PackedLoss.Take(arena, _local.Rows, _gatheredRows, _local.Columns, secondWidth: 0);
        }
        else
        {
            _loss.Strip = new() { Data = arena.Floats((long)stripRows * _gatheredRows), StripRows = stripRows, Parts = 1 };
        }

        if (IsCosine)
        {
            _unitQueries = arena.Floats(_local.Length);
            _unitKeys = arena.Floats((long)_gatheredRows * _local.Columns);
            _inverseQueries = arena.Floats(_local.Rows);
            _inverseKeys = arena.Floats(_gatheredRows);
        }
    }

    private void Direction(
        AcceleratorStream stream, MoLoGpuBuffers buffers, ArrayView<float> queries, ArrayView<float> keys, ArrayView<float> gradQueries, ArrayView<float> gradKeys,
        double weight, bool isComponent, bool scalesQueries = false, bool scalesKeys = false)
    {
        int d = _local.Columns;
        ArrayView<float> unitQueries = scalesQueries ? Normalize(stream, queries, _unitQueries, _inverseQueries, _local.Rows) : queries;
        ArrayView<float> unitKeys = scalesKeys ? Normalize(stream, keys, _unitKeys, _inverseKeys, _gatheredRows) : keys;
        FactorLoss loss = _loss;
        loss.Pass.Branches.LogitScale = buffers.LogitScale;
        loss.Pass.Branches.FirstWeight = (float)(weight / (2.0 * _local.Rows));
        loss.Pass.Queries = new() { First = unitQueries, FirstPitch = d };
        loss.Pass.Keys = new() { First = unitKeys, FirstPitch = d };
        loss.GradQueries = new() { First = gradQueries, FirstPitch = d, LogitScale = buffers.LogitScale, IsAdded = 1 };
        loss.GradKeys = new() { First = gradKeys, FirstPitch = d, LogitScale = buffers.LogitScale, IsAdded = 1 };
        ContrastiveFactorsGpu.Run(_gpu, stream, loss, _settings.Precision);
        if (scalesQueries)
        {
            Back(stream, gradQueries, _unitQueries, _inverseQueries, _local.Rows);
        }

        if (scalesKeys && gradKeys.Length > 0)
        {
            Back(stream, gradKeys, _unitKeys, _inverseKeys, _gatheredRows);
        }

        StepSummaryGpu.Run(_gpu, stream, new StepSummaryArguments
        {
            Branches = loss.Pass.Branches, Numbers = buffers.Summary, GlobalWeight = isComponent ? 0.0 : weight, Lambda = isComponent ? weight : 0.0, IsAdded = 1,
        });
    }

    private ArrayView<float> Normalize(AcceleratorStream stream, ArrayView<float> rows, ArrayView<float> unit, ArrayView<float> inverse, int count)
    {
        _gpu.Launch(stream, L2NormalizeGpu.Kernel, Groups(count), _gpu.LineThreads, new L2NormalizeArguments
        {
            Images = rows, Texts = rows, Unit = unit, InverseNorm = inverse, Rows = count, TotalRows = count, Columns = _local.Columns,
        });
        return unit;
    }

    private void Back(AcceleratorStream stream, ArrayView<float> gradient, ArrayView<float> unit, ArrayView<float> inverse, int count) =>
        _gpu.Launch(stream, L2NormalizeGpu.BackwardKernel, Groups(count), _gpu.LineThreads, new L2NormalizeBackwardArguments
        {
            First = gradient, Second = gradient, Unit = unit, InverseNorm = inverse, Rows = count, TotalRows = count, Columns = _local.Columns,
        });

    private Index3D Groups(int rows) => new(((rows * Gpu.WarpSize) + _gpu.LineThreads - 1) / _gpu.LineThreads, 1, 1);
}
