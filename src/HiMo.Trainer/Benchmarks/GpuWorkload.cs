// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Trainer;

/// <summary>Something to time on a CUDA GPU, with enough sets of inputs that none is still in the cache when its turn comes again.</summary>
/// <param name="gpu">The device.</param>
/// <param name="shape">N x d of each group.</param>
/// <param name="groups">Independent batches.</param>
internal abstract class GpuWorkload(Gpu gpu, MatrixShape shape, int groups) : IDisposable
{
    private const long PastCache = 256L << 20;          // bytes of inputs and gradients, several times the largest cache
    private const int MostSets = 64;

    private readonly List<MemoryBuffer1D<float, Stride1D.Dense>> _memory = [];

    /// <summary>Number of sets.</summary>
    public int Sets { get; } = (int)Math.Clamp(PastCache / (4L * sizeof(float) * groups * shape.Length), 1, MostSets);

    /// <summary>Device memory beside inputs and results.</summary>
    public abstract long WorkspaceBytes { get; }

    /// <summary>Enqueues one run.</summary>
    public abstract void Run(AcceleratorStream stream, int set);

    /// <summary>m and one number of the first group's last run, on the host.</summary>
    public abstract (int Kept, double Number) Read(AcceleratorStream stream);

    /// <inheritdoc/>
    public virtual void Dispose() => _memory.ForEach(buffer => buffer.Dispose());

    /// <summary>Device memory for one set.</summary>
    protected ArrayView<float> Keep(MemoryBuffer1D<float, Stride1D.Dense> buffer)
    {
        _memory.Add(buffer);
        return buffer.View.BaseView;
    }

    /// <summary>Device memory for results of the size of the features.</summary>
    protected ArrayView<float> Rows() => Keep(gpu.Allocate<float>(groups * shape.Length));

    /// <summary>The features of <see cref="PowerLawFeatures"/>, without torch, which a machine with a GPU need not have.</summary>
    protected (ArrayView<float> Images, ArrayView<float> Texts) Features(int seed)
    {
        int length = checked((int)shape.Length * groups);
        float[] images = new float[length], texts = new float[length];
        int d = shape.Columns;
        float[] size = PowerLawFeatures.Decay(shape.Rows, d);
        _ = Parallel.For(0, length / d, row =>
        {
            Random random = new(unchecked((seed * 7919) + (row * 31) + 1));
            for (int j = 0; j < d; j++)
            {
                long index = ((long)row * d) + j;
                texts[index] = size[j] * Normal(random);
                images[index] = texts[index] + (PowerLawFeatures.Noise * size[j] * Normal(random));
            }
        });
        return (Keep(gpu.Accelerator.Allocate1D(images)), Keep(gpu.Accelerator.Allocate1D(texts)));
    }

    private static float Normal(Random random) =>
        (float)(Math.Sqrt(-2.0 * Math.Log(1.0 - random.NextDouble())) * Math.Cos(2.0 * Math.PI * random.NextDouble()));
}

/// <summary>The whole training step.</summary>
internal sealed class StepWorkload : GpuWorkload
{
    private const float LogitScale = 4.6052f;

    private readonly TrainingStepGpu _step;
    private readonly StepBuffers<float>[] _inputs;

    /// <summary>Takes its memory.</summary>
    public StepWorkload(Gpu gpu, MatrixShape shape, GpuStepSettings settings)
        : base(gpu, shape, settings.Groups)
    {
        _step = new TrainingStepGpu(gpu, shape, new MoLoOptions(), settings);
        WorkspaceBytes = TrainingStepGpu.WorkspaceBytes(shape, new MoLoOptions(), settings);
        _inputs = [.. Enumerable.Range(0, Sets).Select(set =>
        {
            (ArrayView<float> images, ArrayView<float> texts) = Features(set);
            return new StepBuffers<float>
            {
                Images = images, Texts = texts, LogitScale = Keep(gpu.Accelerator.Allocate1D(new[] { LogitScale })), GradImages = Rows(), GradTexts = Rows(),
                Summary = Keep(gpu.Allocate<float>(settings.Groups * StepSummary.Length)),
            };
        })];
    }

    /// <inheritdoc/>
    public override long WorkspaceBytes { get; }

    /// <inheritdoc/>
    public override void Run(AcceleratorStream stream, int set) => _step.Run(stream, _inputs[set]);

    /// <inheritdoc/>
    public override (int Kept, double Number) Read(AcceleratorStream stream)
    {
        float[] loss = new float[1];
        int[] kept = new int[2];
        _inputs[0].Summary.SubView(0, 1).CopyToCPU(stream, loss);
        _step.Kept.SubView(0, 2).CopyToCPU(stream, kept);
        stream.Synchronize();
        return (Math.Max(kept[0], kept[1]), loss[0]);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _step.Dispose();
        base.Dispose();
    }
}

/// <summary>HiDe alone, forward and backward, on the rows as they are.</summary>
internal sealed class HiDeWorkload : GpuWorkload
{
    private readonly HiDeGpu _hide;
    private readonly (ArrayView<float> Gradient, ArrayView<float> Texts)[] _inputs;
    private readonly ArrayView<float>[] _results;

    /// <summary>Takes its memory.</summary>
    public HiDeWorkload(Gpu gpu, MatrixShape shape, GpuStepSettings settings)
        : base(gpu, shape, settings.Groups)
    {
        MoLoOptions options = new();
        _hide = new HiDeGpu(shape, settings.Groups, options.Tau, options.BasisGradient, settings.On(gpu));
        _hide.TakeMemory(gpu);
        _inputs = [.. Enumerable.Range(0, Sets).Select(Features)];
        _results = [.. Enumerable.Range(0, 2 * Sets).Select(_ => Rows())];
    }

    /// <inheritdoc/>
    public override long WorkspaceBytes => _hide.Bytes;

    /// <inheritdoc/>
    public override void Run(AcceleratorStream stream, int set)
    {
        (ArrayView<float> gradient, ArrayView<float> texts) = _inputs[set];
        _hide.Forward(stream, texts, _results[2 * set]);
        _hide.Backward(stream, texts, gradient, _results[(2 * set) + 1]);
    }

    /// <inheritdoc/>
    public override (int Kept, double Number) Read(AcceleratorStream stream)
    {
        int[] kept = new int[1];
        float[] explained = new float[1];
        _hide.Kept.SubView(0, 1).CopyToCPU(stream, kept);
        _hide.Rank.SubView(0, 1).CopyToCPU(stream, explained);
        stream.Synchronize();
        return (kept[0], explained[0]);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _hide.Dispose();
        base.Dispose();
    }
}
