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

/// <summary>One step in device memory, for N up to 176 and N up to d.</summary>
internal sealed class TrainingStepGpu : IDisposable
{
    private const int Threads = 128;

    private readonly Gpu _gpu;
    private readonly MoLoOptions _options;
    private readonly int _eigenThreads;
    private MemoryBuffer1D<float, Stride1D.Dense>? _floats;
    private MemoryBuffer1D<double, Stride1D.Dense>? _doubles;
    private MemoryBuffer1D<int, Stride1D.Dense>? _kept;
    private MatrixShape _shape;
    private long _used;

    /// <summary>Prepares a step.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="options">Reconstructed texts without scaling only.</param>
    /// <param name="eigenThreads">Threads of the eigensystem's group, a multiple of 32.</param>
    /// <exception cref="ArgumentException">An option is out of range or not available here.</exception>
    public TrainingStepGpu(Gpu gpu, MoLoOptions options, int eigenThreads = 512)
    {
        options.Validate();
        Guard.That(options.Components == ComponentSource.Text, options.Components, "must be Text on the GPU; the CPU has the other sources");
        Guard.That(
            options.ComponentNormalization == ComponentNormalization.None, options.ComponentNormalization, "must be None on the GPU; the CPU has Cosine");
        _gpu = gpu;
        _options = options;
        _eigenThreads = eigenThreads;
    }

    /// <summary>m of the last run, one element in device memory.</summary>
    public ArrayView<int> Kept => _kept!.View.BaseView;

    /// <summary>Enqueues a step; returns before it is done.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="images">N x d, row-major.</param>
    /// <param name="texts">N x d, row-major.</param>
    /// <param name="shape">N x d, N from 1 to min(d, 176).</param>
    /// <param name="logitScale">One element, -100 to 80.</param>
    /// <param name="gradImages">Receives dL/dimages, N x d.</param>
    /// <param name="gradTexts">Receives dL/dtexts, N x d.</param>
    /// <param name="summary">Receives loss, global, component, dL/d logitScale, explained variance, relative gap.</param>
    /// <exception cref="ArgumentException">The shape is out of range.</exception>
    public void Run(
        AcceleratorStream stream, ArrayView<float> images, ArrayView<float> texts, MatrixShape shape, ArrayView<float> logitScale,
        ArrayView<float> gradImages, ArrayView<float> gradTexts, ArrayView<float> summary)
    {
        int n = shape.Rows;
        int d = shape.Columns;
        Guard.That(n >= 1 && n <= Math.Min(d, EigenSymmetricGpu.MaxSize), shape, $"must have from 1 to min(d, {EigenSymmetricGpu.MaxSize}) rows");
        Reserve(shape);
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
        Decomposition texts2 = new() { Values = Take(n), Vectors = Take(square), Kept = _kept!.View.BaseView, Size = n };
        LogitStatistics logits = new()
        {
            Cosines = cosines,
            Largest = Take(4 * n),
            ExpSum = Take(4 * n),
            Loss = Take(4 * n),
            GradScale = Take(4 * n),
            LogitScale = logitScale,
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
            new L2NormalizeArguments { Images = images, Texts = texts, Unit = unit, InverseNorm = inverseNorm, Rows = n, Columns = d });
        GramLeft left = new() { Unit = unit, Size = n, Columns = d };
        Multiply(stream, 3, n, n, d, left, new GramRight { Left = left }, new GramResult { Grams = grams, Cosines = cosines, Size = n });
        _gpu.Launch(
            stream, EigenSymmetricGpu.Kernel, new Index3D(1, 1, 1), _eigenThreads,
            new EigenArguments
            {
                Matrix = grams.SubView(0, square), Values = texts2.Values, Vectors = texts2.Vectors, Scratch = _doubles!.View.BaseView,
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
            Left = gradLeft, Right = gradRight, Logits = logits, Summary = new StepSummary { Numbers = summary, Rank = rank },
            Gram = grams.SubView(square, square), InverseNorm = inverseNorm, GradImages = gradImages, GradTexts = gradTexts,
        });
    }

    /// <summary>Frees the workspace.</summary>
    public void Dispose()
    {
        _floats?.Dispose();
        _doubles?.Dispose();
        _kept?.Dispose();
    }

    private void Multiply<TA, TB, TC>(AcceleratorStream stream, int groups, int rows, int columns, int depth, TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        GpuGemm.Run<TA, TB, TC, StrictPrecision>(_gpu, stream, groups, new GemmArguments<TA, TB, TC> { A = a, B = b, C = c, Rows = rows, Columns = columns, Depth = depth });

    private void Reserve(MatrixShape shape)
    {
        _used = 0;
        if (shape == _shape)
        {
            return;
        }

        Dispose();
        long n = shape.Rows;
        _floats = _gpu.Allocate<float>((2 * shape.Length) + (12 * n * n) + (20 * n) + 2);
        _doubles = _gpu.Allocate<double>(2 * n * n);
        _kept = _gpu.Allocate<int>(1);
        _shape = shape;
    }

    private ArrayView<float> Take(long length)
    {
        ArrayView<float> view = _floats!.View.BaseView.SubView(_used, length);
        _used += length;
        return view;
    }
}
