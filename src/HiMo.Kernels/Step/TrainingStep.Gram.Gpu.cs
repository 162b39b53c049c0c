// SPDX-License-Identifier: Apache-2.0
// The step on the GPU in the N x N form, N <= min(d, 176): everything after the first products happens in N x N.
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

/// <summary>The N x N form.</summary>
internal sealed class GramStepGpu(MatrixShape shape, MoLoOptions options, GpuStepSettings settings) : StepFormGpu(shape, options, settings)
{
    private ArrayView<float> _grams;            // K, x x^T
    private ArrayView<float> _cosines;          // A and B, side by side for the statistics
    private ArrayView<float> _reconstruction;
    private ArrayView<float> _combined;         // both E1, T
    private ArrayView<float> _first;
    private ArrayView<float> _second;
    private ArrayView<float> _rank;
    private ArrayView<float> _values;
    private ArrayView<float> _vectors;
    private ArrayView<float> _statistics;
    private ArrayView<double> _scratch;

    /// <inheritdoc/>
    public override void Layout(DeviceArena arena)
    {
        long n = Rows;
        long square = n * n;
        _grams = arena.Floats(2 * square);
        _cosines = arena.Floats(2 * square);
        _reconstruction = arena.Floats(square);
        _combined = arena.Floats(3 * square);
        _first = arena.Floats(square);
        _second = arena.Floats(square);
        _rank = arena.Floats(2);
        _values = arena.Floats(n);
        _vectors = arena.Floats(square);
        _statistics = arena.Floats(16 * n);
        _scratch = arena.Take<double>(EigenSymmetricGpu.ScratchLength(Rows));
    }

    /// <inheritdoc/>
    public override void Run(Gpu gpu, AcceleratorStream stream, StepOperands step)
    {
        int n = Rows;
        int d = Columns;
        long square = (long)n * n;
        ArrayView<float> unit = step.Unit;
        ArrayView<float> grams = _grams;
        ArrayView<float> cosines = _cosines;
        ArrayView<float> reconstruction = _reconstruction;
        ArrayView<float> combined = _combined;
        ArrayView<float> first = _first;
        ArrayView<float> second = _second;
        Decomposition texts2 = new() { Values = _values, Vectors = _vectors, Kept = step.Kept, Size = n };
        LogitStatistics logits = new()
        {
            Cosines = cosines,
            Largest = _statistics.SubView(0, 4 * n),
            ExpSum = _statistics.SubView(4 * n, 4 * n),
            Loss = _statistics.SubView(8 * n, 4 * n),
            GradScale = _statistics.SubView(12 * n, 4 * n),
            LogitScale = step.LogitScale,
            Size = n,
            LabelSmoothing = (float)Options.LabelSmoothing,
            GlobalWeight = (float)Options.GlobalWeight,
            Lambda = (float)Options.Lambda,
            GatherWithGrad = Options.GatherWithGrad ? 1 : 0,
        };
        int isStopped = IsExact ? 0 : 1;
        int warps = Threads / Gpu.WarpSize;

        GramLeft left = new() { Unit = unit, Size = n, Columns = d };
        Multiply(gpu, stream, 3, n, n, d, left, new GramRight { Left = left }, new GramResult { Grams = grams, Cosines = cosines, Size = n });
        EigenSymmetricGpu.Run(
            gpu, stream, 1, Settings.EigenThreads,
            new EigenArguments
            {
                Matrix = grams.SubView(0, square), Values = texts2.Values, Vectors = texts2.Vectors, Scratch = _scratch,
                Kept = texts2.Kept, Summary = _rank, Size = n, Tau = Options.Tau, IsGram = 1,
            });
        KeptVectorsOperand kept = new() { Decomposition = texts2 };
        Multiply(gpu, stream, 1, n, n, n, kept, kept, new MeanAddedResult { Data = reconstruction, Size = n });
        Multiply(gpu, stream, 1, n, n, n, StridedMatrix.Rows(cosines, n), StridedMatrix.Columns(reconstruction, n),
            StridedMatrix.Rows(cosines.SubView(square, square), n));
        gpu.Launch(stream, ContrastiveLossGpu.Kernel, new Index3D(((4 * n) + warps - 1) / warps, 1, 1), Threads, logits);
        Multiply(gpu, stream, 3, n, n, n, new CombineLeft { Logits = logits, IsStopped = isStopped },
            new CombineRight { Logits = logits, Reconstruction = reconstruction, IsStopped = isStopped }, new CombineResult { Logits = logits, Data = combined });

        ArrayView<float> t = combined.SubView(2 * square, square);
        StridedMatrix vectors = StridedMatrix.Columns(texts2.Vectors, n);      // outer index: vector
        ArrayView<float> e2 = isStopped != 0 ? second : first;
        if (isStopped != 0)
        {
            Multiply(gpu, stream, 1, n, n, n, StridedMatrix.Rows(t, n), vectors, new InverseScaledResult { Data = first, Decomposition = texts2 });
            gpu.Launch(
                stream, BatchMeanGpu.CenterKernel, new Index3D((n + Threads - 1) / Threads, 1, 1), Threads, new CenterArguments { Data = first, Rows = n, Columns = n });
            Multiply(gpu, stream, 1, n, n, n, StridedMatrix.Rows(first, n), StridedMatrix.Rows(texts2.Vectors, n), StridedMatrix.Rows(second, n));
        }
        else
        {
            Multiply(gpu, stream, 1, n, n, n, new SymmetrizedOperand { Data = t, Size = n }, vectors, StridedMatrix.Rows(first, n));
            Multiply(gpu, stream, 1, n, n, n, vectors, StridedMatrix.Columns(first, n), new CoupledResult { Data = second, Decomposition = texts2 });
            Multiply(gpu, stream, 1, n, n, n, StridedMatrix.Rows(texts2.Vectors, n), StridedMatrix.Columns(second, n), StridedMatrix.Rows(t, n));
            Multiply(gpu, stream, 1, n, n, n, StridedMatrix.Rows(t, n), StridedMatrix.Rows(texts2.Vectors, n), new DoubledResult { Data = first, Size = n });
        }

        FeatureLeft gradLeft = new() { First = combined, Second = e2, Size = n };
        FeatureRight gradRight = new() { Unit = unit, Size = n, Columns = d };
        Multiply(gpu, stream, 2, n, d, 2 * n, gradLeft, gradRight, new FeatureGradient
        {
            Left = gradLeft, Right = gradRight, Logits = logits, Summary = new StepSummary { Numbers = step.Summary, Rank = _rank },
            Gram = grams.SubView(square, square), InverseNorm = step.InverseNorm, GradImages = step.GradQueries, GradTexts = step.GradKeys,
        });
    }

    private static void Multiply<TA, TB, TC>(Gpu gpu, AcceleratorStream stream, int groups, int rows, int columns, int depth, TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        Multiply(gpu, stream, groups, new GemmArguments<TA, TB, TC> { A = a, B = b, C = c, Rows = rows, Columns = columns, Depth = depth });
}
