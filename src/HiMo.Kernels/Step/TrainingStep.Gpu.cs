// SPDX-License-Identifier: Apache-2.0
// The whole step on the GPU in the N x N form, N <= min(d, 176): everything after the first products happens in N x N.
//            A = v x^T,  K = H x x^T H,  M = W_m W_m^T + 1 1^T / N,  B = A M
//            exact:    E1 = s (D_g + D_c M),  E2 = 2 W Z W^T,                 T = s A^T D_c,  Sh = W^T T W
//            stopped:  the texts' E1 = s (D_g + D_c 1 1^T / N),  E2 = H T W_m Lambda_m^{-1} W_m^T,  T = s D_c^T A
//            dv = E1 x,  dx = E1^T v + E2 x,  then back through the normalisation
//            (W is centred, so H beside it changes nothing)
// Launches   1 normalise  2 A, K, x x^T  3 eigensystem and m  4 M  5 B  6 softmax statistics  7 both E1, T  8 T W
//            9 Z  10 W Z  11 E2  12 gradients and loss;  stopped: 8 T W_m Lambda^-1  9 H of it  10 E2  11 gradients and loss.
// Host       no read, no allocation after the first call of a shape, no synchronisation.
// Precision  float32 throughout (3xTF32 products, 2^-22 relative). Deterministic: every sum has one order, no atomics.
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

    private readonly Gpu _gpu;
    private readonly MatrixShape _shape;
    private readonly MoLoOptions _options;
    private readonly GpuStepSettings _settings;
    private readonly MemoryBuffer1D<float, Stride1D.Dense> _floats;
    private readonly MemoryBuffer1D<double, Stride1D.Dense> _doubles;
    private readonly MemoryBuffer1D<int, Stride1D.Dense> _kept;
    private long _used;

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
        _options = options;
        _settings = settings ?? new GpuStepSettings();
        CheckSupported(shape, options, _settings);
        (long floats, long doubles, long integers) = Workspace(shape);
        _floats = gpu.Allocate<float>(floats);
        _doubles = gpu.Allocate<double>(doubles);
        _kept = gpu.Allocate<int>(integers);
    }

    /// <summary>m of the last run, one element a group in device memory.</summary>
    public ArrayView<int> Kept => _kept.View.BaseView;

    /// <summary>The one place that says what the GPU does not do; the CPU does all of it.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="NotSupportedException">Not available; the message says what is.</exception>
    public static void CheckSupported(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
    {
        options.Validate();
        Guard.That(shape.Rows >= 1 && shape.Columns >= 1, shape, "must have at least one row and one column");
        Require(
            shape.Rows <= Math.Min(shape.Columns, EigenSymmetricGpu.MaxSize), $"shape {shape}", $"N up to min(d, {EigenSymmetricGpu.MaxSize})");
        Require(options.Components == ComponentSource.Text, $"components = {options.Components}", "Text");
        Require(
            options.ComponentNormalization == ComponentNormalization.None, $"component normalisation = {options.ComponentNormalization}", "None");
        Require(settings.Precision == GpuPrecision.Strict, $"precision = {settings.Precision}", "Strict");
        Require(settings.Groups == 1, $"groups = {settings.Groups}", "1");

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
        (long floats, long doubles, long integers) = Workspace(shape);
        return (floats * sizeof(float)) + (doubles * sizeof(double)) + (integers * sizeof(int));
    }

    /// <summary>Enqueues a step; returns before it is done.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="buffers">Inputs and outputs.</param>
    public void Run(AcceleratorStream stream, StepBuffers<float> buffers)
    {
        int n = _shape.Rows;
        int d = _shape.Columns;
        _used = 0;
        long square = (long)n * n;
        ArrayView<float> unit = Take(2L * n * d);
        ArrayView<float> inverseNorm = Take(2 * n);
        ArrayView<float> grams = Take(2 * square);          // K, x x^T
        ArrayView<float> cosines = Take(2 * square);        // A and B, side by side for the statistics
        ArrayView<float> reconstruction = Take(square);
        ArrayView<float> combined = Take(3 * square);       // both E1, T
        ArrayView<float> first = Take(square);
        ArrayView<float> second = Take(square);
        ArrayView<float> rank = Take(2);
        Decomposition texts2 = new() { Values = Take(n), Vectors = Take(square), Kept = Kept, Size = n };
        LogitStatistics logits = new()
        {
            Cosines = cosines,
            Largest = Take(4 * n),
            ExpSum = Take(4 * n),
            Loss = Take(4 * n),
            GradScale = Take(4 * n),
            LogitScale = buffers.LogitScale,
            Size = n,
            LabelSmoothing = (float)_options.LabelSmoothing,
            GlobalWeight = (float)_options.GlobalWeight,
            Lambda = (float)_options.Lambda,
            GatherWithGrad = _options.GatherWithGrad ? 1 : 0,
        };
        int isStopped = _options.BasisGradient == BasisGradient.Stopped ? 1 : 0;

        int warps = Threads / Gpu.WarpSize;
        _gpu.Launch(
            stream, L2NormalizeGpu.Kernel, new Index3D(((2 * n) + warps - 1) / warps, 1, 1), Threads,
            new L2NormalizeArguments { Images = buffers.Images, Texts = buffers.Texts, Unit = unit, InverseNorm = inverseNorm, Rows = n, Columns = d });
        GramLeft left = new() { Unit = unit, Size = n, Columns = d };
        Multiply(stream, 3, n, n, d, left, new GramRight { Left = left }, new GramResult { Grams = grams, Cosines = cosines, Size = n });
        _gpu.Launch(
            stream, EigenSymmetricGpu.Kernel, new Index3D(1, 1, 1), _settings.EigenThreads,
            new EigenArguments
            {
                Matrix = grams.SubView(0, square), Values = texts2.Values, Vectors = texts2.Vectors, Scratch = _doubles.View.BaseView,
                Kept = texts2.Kept, Summary = rank, Size = n, Tau = _options.Tau,
            },
            EigenSymmetricGpu.SharedLength(n));
        KeptVectorsOperand kept = new() { Decomposition = texts2 };
        Multiply(stream, 1, n, n, n, kept, kept, new MeanAddedResult { Data = reconstruction, Size = n });
        Multiply(
            stream, 1, n, n, n, StridedMatrix.Rows(cosines, n), StridedMatrix.Columns(reconstruction, n),
            StridedMatrix.Rows(cosines.SubView(square, square), n));
        _gpu.Launch(stream, ContrastiveLossGpu.Kernel, new Index3D(((4 * n) + warps - 1) / warps, 1, 1), Threads, logits);
        Multiply(
            stream, 3, n, n, n, new CombineLeft { Logits = logits, IsStopped = isStopped },
            new CombineRight { Logits = logits, Reconstruction = reconstruction, IsStopped = isStopped }, new CombineResult { Logits = logits, Data = combined });

        ArrayView<float> t = combined.SubView(2 * square, square);
        StridedMatrix vectors = StridedMatrix.Columns(texts2.Vectors, n);      // outer index: vector
        ArrayView<float> e2 = isStopped != 0 ? second : first;
        if (isStopped != 0)
        {
            Multiply(stream, 1, n, n, n, StridedMatrix.Rows(t, n), vectors, new InverseScaledResult { Data = first, Decomposition = texts2 });
            _gpu.Launch(
                stream, BatchMeanGpu.CenterKernel, new Index3D((n + Threads - 1) / Threads, 1, 1), Threads, new CenterArguments { Data = first, Rows = n, Columns = n });
            Multiply(stream, 1, n, n, n, StridedMatrix.Rows(first, n), StridedMatrix.Rows(texts2.Vectors, n), StridedMatrix.Rows(second, n));
        }
        else
        {
            Multiply(stream, 1, n, n, n, new SymmetrizedOperand { Data = t, Size = n }, vectors, StridedMatrix.Rows(first, n));
            Multiply(stream, 1, n, n, n, vectors, StridedMatrix.Columns(first, n), new CoupledResult { Data = second, Decomposition = texts2 });
            Multiply(stream, 1, n, n, n, StridedMatrix.Rows(texts2.Vectors, n), StridedMatrix.Columns(second, n), StridedMatrix.Rows(t, n));
            Multiply(stream, 1, n, n, n, StridedMatrix.Rows(t, n), StridedMatrix.Rows(texts2.Vectors, n), new DoubledResult { Data = first, Size = n });
        }

        FeatureLeft gradLeft = new() { First = combined, Second = e2, Size = n };
        FeatureRight gradRight = new() { Unit = unit, Size = n, Columns = d };
        Multiply(stream, 2, n, d, 2 * n, gradLeft, gradRight, new FeatureGradient
        {
            Left = gradLeft, Right = gradRight, Logits = logits, Summary = new StepSummary { Numbers = buffers.Summary, Rank = rank },
            Gram = grams.SubView(square, square), InverseNorm = inverseNorm, GradImages = buffers.GradImages, GradTexts = buffers.GradTexts,
        });
    }

    /// <summary>Frees the workspace.</summary>
    public void Dispose()
    {
        _floats.Dispose();
        _doubles.Dispose();
        _kept.Dispose();
    }

    private void Multiply<TA, TB, TC>(AcceleratorStream stream, int groups, int rows, int columns, int depth, TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        GpuGemm.Run<TA, TB, TC, StrictPrecision>(_gpu, stream, groups, new GemmArguments<TA, TB, TC> { A = a, B = b, C = c, Rows = rows, Columns = columns, Depth = depth });

    private static (long Floats, long Doubles, long Integers) Workspace(MatrixShape shape)
    {
        long n = shape.Rows;
        return ((2 * shape.Length) + (12 * n * n) + (20 * n) + 2, 2 * n * n, 1);
    }

    private ArrayView<float> Take(long length)
    {
        ArrayView<float> view = _floats.View.BaseView.SubView(_used, length);
        _used += length;
        return view;
    }
}
