// SPDX-License-Identifier: Apache-2.0
// The step on the GPU for N <= d: everything after the first products happens in N x N.
//            A = q k^T,  K = H k k^T H,  M = W_m W_m^T + 1 1^T / N of each side that is reconstructed (else the identity),  u' = M k
//            B = diag(r_q) M_q A M_k diag(r_k),  r = 1 with plain components                        HiMo-CLIP (arXiv:2511.06653), equation 1
//            D stands for diag(r_q) D_c diag(r_k);  M* = M, or 1 1^T / N with a stopped basis, or the identity
// Backward   E1 of the queries = s (D_g + M*_q D M_k), of the keys = s (D_g + M_q D M*_k);  T_k = s (D^T M_q A - g_k M_k k k^T), T_q likewise
//            exact:    E2 = 2 W Z W^T - s M diag(g) M,  Z = coupling of W^T (T + T^T) W
//            stopped:  E2 = H T W_m Lambda_m^{-1} W_m^T - s 1 1^T / N diag(g) M
//            dq = E1 k + E2_q q,  dk = E1^T q + E2_k k,  then back through the normalisation        (W is centred, so H beside it changes nothing)
// Launches   with plain texts or images: 1 normalise  2 A, K, k k^T  3 eigensystem and m  4 M  5 B  6 softmax statistics  7 both E1, T
//            8 (T + T^T) W  9 Z  10 W Z  11 E2  12 gradients and loss;  stopped: 8 T W_m Lambda^-1  9 H of it  10 E2  11 gradients and loss.
//            One more in lower precisions, four more a side with cosines, eight more for the second side; N + 6 more for N > 176.
// Precision  A and the last product as the settings say, everything else with the error of float32. Deterministic: every sum has one order.
// Memory     about 15 N^2 floats, 28 for both sides, one more a side with cosines: N is at most d.
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>The N x N form.</summary>
internal sealed class GramStepGpu(MatrixShape shape, MoLoOptions options, GpuStepSettings settings) : StepFormGpu(shape, options, settings)
{
    private readonly ReconstructedSide[] _sides = new ReconstructedSide[2];    // keys, queries
    private ArrayView<float> _grams;            // K of each side, x x^T of each side
    private ArrayView<float> _cosines;          // A and B, side by side for the statistics
    private ArrayView<float> _combined;         // both E1, T of each side
    private ArrayView<float> _fromLeft;         // M_q A
    private ArrayView<float> _fromRight;        // A M_k
    private ArrayView<float> _bare;             // D M_k, D M*_k before the queries' M
    private ArrayView<float> _second;           // E2 of each side
    private ArrayView<float> _temporary;
    private ArrayView<float> _rank;
    private ArrayView<float> _values;
    private ArrayView<float> _vectors;
    private ArrayView<float> _statistics;
    private ArrayView<double> _scratch;

    private int Sides => Options.ReconstructsImages && Options.ReconstructsTexts ? 2 : 1;

    private long Square => (long)Rows * Rows;

    /// <inheritdoc/>
    public override void Layout(DeviceArena arena)
    {
        long n = Rows;
        _grams = arena.Floats(2 * Sides * Square);
        _cosines = arena.Floats(2 * Square);
        _combined = arena.Floats((2 + Sides) * Square);
        _second = arena.Floats(Sides * Square);
        _temporary = arena.Floats(Square);
        _rank = arena.Floats(2 * Sides);
        _values = arena.Floats(Sides * n);
        _vectors = arena.Floats(Sides * Square);
        _statistics = arena.Floats(16 * n);
        _scratch = arena.Take<double>(Sides * EigenSymmetricGpu.ScratchLength(Rows, Settings.LargestGroupProblem));
        _fromRight = Sides == 2 ? arena.Floats(Square) : default;
        _fromLeft = Sides == 2 ? arena.Floats(Square) : default;
        _bare = Sides == 2 ? arena.Floats(2 * Square) : default;
        for (int side = 0; side < 2; side++)
        {
            bool isReconstructed = side < Sides;
            bool hasLengths = isReconstructed && IsCosine;
            _sides[side] = new ReconstructedSide
            {
                Reconstruction = isReconstructed ? arena.Floats(Square) : default,
                Product = hasLengths ? arena.Floats(Square) : default,
                Scale = hasLengths ? arena.Floats(n) : default,
                Shrink = hasLengths ? arena.Floats(n) : default,
                IsStopped = IsExact ? 0 : 1,
                Size = Rows,
            };
        }
    }

    /// <inheritdoc/>
    public override void Run(Gpu gpu, AcceleratorStream stream, StepOperands step)
    {
        int n = Rows;
        LogitStatistics logits = new()
        {
            Cosines = _cosines,
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
        Products(gpu, stream, step);
        EigenSymmetricGpu.Run(gpu, stream, Sides, Settings.EigenThreads, Settings.LargestGroupProblem, new EigenArguments
        {
            Matrix = _grams.SubView(0, Sides * Square), Values = _values, Vectors = _vectors, Scratch = _scratch, Kept = step.Kept, Summary = _rank,
            Size = n, Tau = Options.Tau, IsGram = 1,
        });
        for (int side = 0; side < Sides; side++)
        {
            Reconstruct(gpu, stream, step, side, logits);
        }

        ComponentCosines(gpu, stream);
        gpu.Launch(stream, ContrastiveLossGpu.Kernel, Warps(4 * n), Threads, logits);
        for (int side = 0; side < Sides && IsCosine; side++)
        {
            gpu.Launch(stream, GramRowsGpu.ShrinkKernel, Warps(n), Threads, RowsArguments(logits, side));
        }

        Combine(gpu, stream, logits);
        for (int side = 0; side < Sides; side++)
        {
            BasisGradient(gpu, stream, DecompositionOf(step, side), logits, side);
        }

        FeatureLeft left = new() { First = _combined, Second = _second, Size = n, Sides = Sides };
        FeatureRight right = new() { Unit = step.Unit, Size = n, Columns = Columns };
        Contrast(gpu, stream, 2, new GemmArguments<FeatureLeft, FeatureRight, FeatureGradient>
        {
            A = left, B = right, Rows = n, Columns = Columns, Depth = 2 * n,
            C = new()
            {
                Left = left, Right = right, Logits = logits, Summary = new StepSummary { Numbers = step.Summary, Rank = _rank },
                Gram = _grams.SubView(Sides * Square, Sides * Square), InverseNorm = step.InverseNorm, GradQueries = step.GradQueries, GradKeys = step.GradKeys,
            },
        });
    }

    // A; of each side K and x x^T, always strict, so that m is the same in every precision.
    private void Products(Gpu gpu, AcceleratorStream stream, StepOperands step)
    {
        int all = 1 + (2 * Sides);
        bool isStrict = Settings.Precision == GpuPrecision.Strict;
        GramLeft left = new() { Unit = step.Unit, Size = Rows, Columns = Columns, Sides = Sides };
        GemmArguments<GramLeft, GramRight, GramResult> product = new()
        {
            A = left, B = new() { Left = left }, C = new() { Grams = _grams, Cosines = _cosines, Size = Rows }, Rows = Rows, Columns = Rows, Depth = Columns,
        };
        if (isStrict)
        {
            Multiply(gpu, stream, all, product);
            return;
        }

        Contrast(gpu, stream, 1, product);
        product.A.FirstGroup = 1;
        product.B.Left.FirstGroup = 1;
        product.C.FirstGroup = 1;
        Multiply(gpu, stream, all - 1, product);
    }

    private Decomposition DecompositionOf(StepOperands step, int side) => new()
    {
        Values = _values.SubView(side * Rows, Rows), Vectors = _vectors.SubView(side * Square, Square), Kept = step.Kept.SubView(side, 1), Size = Rows,
    };

    private GramRowsArguments RowsArguments(LogitStatistics logits, int side) => new() { Side = _sides[side], Logits = logits, IsKeys = side == 0 ? 1 : 0 };

    // M, and r
    private void Reconstruct(Gpu gpu, AcceleratorStream stream, StepOperands step, int side, LogitStatistics logits)
    {
        KeptVectorsOperand kept = new() { Decomposition = DecompositionOf(step, side) };
        Multiply(gpu, stream, kept, kept, new MeanAddedResult { Data = _sides[side].Reconstruction, Size = Rows });
        if (IsCosine)
        {
            Multiply(
                gpu, stream, StridedMatrix.Rows(_sides[side].Reconstruction, Rows), StridedMatrix.Columns(_grams.SubView((Sides + side) * Square, Square), Rows),
                StridedMatrix.Rows(_sides[side].Product, Rows));
            gpu.Launch(stream, GramRowsGpu.ScaleKernel, Warps(Rows), Threads, RowsArguments(logits, side));
        }
    }

    // B, and for both sides A M_k and M_q A
    private void ComponentCosines(Gpu gpu, AcceleratorStream stream)
    {
        StridedMatrix a = StridedMatrix.Rows(_cosines, Rows);
        StridedMatrix keys = StridedMatrix.Columns(_sides[0].Reconstruction, Rows);
        CosineResult result = new() { Data = _cosines.SubView(Square, Square), Queries = _sides[1], Keys = _sides[0] };
        if (Sides == 1)
        {
            Multiply(gpu, stream, a, keys, result);
            return;
        }

        StridedMatrix queries = StridedMatrix.Rows(_sides[1].Reconstruction, Rows);
        Multiply(gpu, stream, a, keys, StridedMatrix.Rows(_fromRight, Rows));
        Multiply(gpu, stream, queries, StridedMatrix.Columns(_cosines, Rows), StridedMatrix.Rows(_fromLeft, Rows));
        Multiply(gpu, stream, queries, StridedMatrix.Columns(_fromRight, Rows), result);
    }

    // Both E1, T of each side
    private void Combine(Gpu gpu, AcceleratorStream stream, LogitStatistics logits)
    {
        CombineResult result = new() { Logits = logits, Queries = _sides[1], Keys = _sides[0], Data = _combined };
        Multiply(gpu, stream, 2 + Sides, new GemmArguments<CombineLeft, CombineRight, CombineResult>
        {
            A = new() { Logits = logits, Queries = _sides[1], Keys = _sides[0] },
            B = new() { Keys = _sides[0], FromLeft = Sides == 2 ? _fromLeft : _cosines, FromRight = _fromRight },
            C = result with { IsBare = Sides - 1, Bare = _bare }, Rows = Rows, Columns = Rows, Depth = Rows,
        });
        if (Sides == 2)
        {
            Multiply(gpu, stream, 2, new GemmArguments<QuerySideLeft, StridedMatrix, CombineResult>
            {
                A = new() { Queries = _sides[1] }, B = StridedMatrix.Columns(_bare, Rows, Square), C = result, Rows = Rows, Columns = Rows, Depth = Rows,
            });
        }
    }

    // E2 of a side
    private void BasisGradient(Gpu gpu, AcceleratorStream stream, Decomposition side, LogitStatistics logits, int index)
    {
        int n = Rows;
        ArrayView<float> t = _combined.SubView((2 + index) * Square, Square);
        ArrayView<float> e2 = _second.SubView(index * Square, Square);
        StridedMatrix vectors = StridedMatrix.Columns(side.Vectors, n);      // outer index: vector
        StridedMatrix components = StridedMatrix.Rows(side.Vectors, n);
        if (IsExact)
        {
            Multiply(gpu, stream, new SymmetrizedOperand { Data = t, Size = n }, vectors, StridedMatrix.Rows(e2, n));
            Multiply(gpu, stream, vectors, StridedMatrix.Columns(e2, n), new CoupledResult { Data = _temporary, Decomposition = side });
            Multiply(gpu, stream, components, StridedMatrix.Columns(_temporary, n), StridedMatrix.Rows(t, n));
            Multiply(gpu, stream, StridedMatrix.Rows(t, n), components, new DoubledResult { Data = e2, Size = n });
        }
        else
        {
            Multiply(gpu, stream, StridedMatrix.Rows(t, n), vectors, new InverseScaledResult { Data = _temporary, Decomposition = side });
            gpu.Launch(
                stream, BatchMeanGpu.CenterKernel, new Index3D((n + Threads - 1) / Threads, 1, 1), Threads, new CenterArguments { Data = _temporary, Rows = n, Columns = n });
            Multiply(gpu, stream, StridedMatrix.Rows(_temporary, n), components, StridedMatrix.Rows(e2, n));
        }

        if (IsCosine)
        {
            Multiply(
                gpu, stream, new ShrinkLeft { Side = _sides[index], Logits = logits }, StridedMatrix.Columns(_sides[index].Reconstruction, n),
                new SubtractedResult { Data = e2, Size = n });
        }
    }

    private void Multiply<TA, TB, TC>(Gpu gpu, AcceleratorStream stream, TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        Multiply(gpu, stream, 1, new GemmArguments<TA, TB, TC> { A = a, B = b, C = c, Rows = Rows, Columns = Rows, Depth = Rows });
}
