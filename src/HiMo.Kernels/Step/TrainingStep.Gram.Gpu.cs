// SPDX-License-Identifier: Apache-2.0
// The step on the GPU for N <= d: everything after the first products happens in N x N.
//            A = q k^T,  K = H k k^T H,  M = W_m W_m^T + 1 1^T / N of each side that is reconstructed (else the identity),  u' = M k
//            B = diag(r_q) M_q A M_k diag(r_k),  r = 1 with plain components                        HiMo-CLIP (arXiv:2511.06653), equation 1
//            D stands for diag(r_q) D_c diag(r_k);  M* = M, or 1 1^T / N with a stopped basis, or the identity
// Backward   E1 of the queries = s (D_g + M*_q D M_k), of the keys = s (D_g + M_q D M*_k);  T_k = s (D^T M_q A - g_k M_k k k^T), T_q likewise
//            T W_k = U_k - s g_k R_k, U_k = s D^T V_k, with V_k = M_q A W_k, R_k = M_k k k^T W_k, which need no gradient and come with B
//            E2 from T W as in GramBasis.Gpu.cs, less s M* diag(g) M
//            dq = E1 k + E2_q q,  dk = E1^T q + E2_k k,  then back through the normalisation
// Launches   with plain texts or images: 1 normalise  2 A, K, k k^T  3 eigensystem and m  4 M  5 B, V, k k^T W  6 softmax statistics  7 both E1, U
//            8 Y  9 F = 2 W Z  10 E2, beside it g . y and loss  11 gradients;  stopped: 8 F = H (T W)_m Lambda^-1  9 E2 and beside it  10 gradients.
//            One more with cosines (M x x^T), with both sides (M_q A, M_k A^T), or with these together, and another for both sides with a stopped basis (both E1, elsewhere beside Y);
//            with cosines r goes beside B and s g beside both E1. For N > 176 7 more and what EigenSymmetric.Gpu.Large.cs says, and in lower precisions one. As many for any number of batches.
// Precision  the last product as the settings say, and for N > 176 A, which a launch of its own would make later than exact products beside K do;
//            everything else with the error of float32. Deterministic: every sum has one order.
// Memory     of a batch about 16 N^2 floats, 30 for both sides, two more a side with cosines: N is at most d.

namespace HiMo.Kernels;

/// <summary>The N x N form.</summary>
internal sealed class GramStepGpu : StepFormGpu
{
    private readonly GramBasisGpu _basis;
    private ReconstructedSide _sides;            // keys, and where they are reconstructed, queries
    private ReconstructedSide _queries;
    private BatchView<float> _grams;            // x x^T of each side
    private BatchView<float> _cosines;          // A and B, side by side for the statistics
    private BatchView<float> _combined;         // both E1, U of each side; F in the place of U
    private BatchView<float> _crossed;          // M_q A, M_k A^T
    private BatchView<float> _turned;           // V of each side, x x^T W of each, with cosines R of each
    private BatchView<float> _bare;             // D M_k, D M*_k before the queries' M
    private BatchView<float> _second;           // E2 of each side, in the place of V
    private BatchView<float> _statistics;
    private BatchView<float> _along;            // g . y of both sides

    public GramStepGpu(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
        : base(shape, options, settings) =>
        _basis = new GramBasisGpu(Rows, Sides, Options.BasisGradient, settings);

    /// <inheritdoc/>
    public override bool SharesLaunches => true;

    private int Sides => Options.ReconstructsImages && Options.ReconstructsTexts ? 2 : 1;

    private long Elements => (long)Rows * Rows;

    /// <inheritdoc/>
    public override void Layout(DeviceArena arena)
    {
        long n = Rows;
        _basis.Layout(arena);
        _grams = arena.EachBatch(Sides * Elements);
        _cosines = arena.EachBatch(2 * Elements);
        _combined = arena.EachBatch((2 + Sides) * Elements);
        _turned = arena.EachBatch((IsCosine ? 3 : 2) * Sides * Elements);
        _second = _turned;
        _statistics = arena.EachBatch(16 * n);
        _along = arena.EachBatch(2 * n);
        _crossed = Sides == 2 ? arena.EachBatch(2 * Elements) : _cosines;
        _bare = Sides == 2 ? arena.EachBatch(2 * Elements) : default;
        _sides = new ReconstructedSide { Reconstruction = arena.EachBatch(Sides * Elements), IsStopped = IsExact ? 0 : 1, Size = Rows };
        if (IsCosine)
        {
            _sides.Product = arena.EachBatch(Sides * Elements);
            _sides.TurnedProduct = _turned.From(2 * Sides * Elements);
            _sides.Scale = arena.EachBatch(Sides * n);
            _sides.Shrink = arena.EachBatch(Sides * n);
        }

        _queries = Sides == 2 ? _sides.Side(1) : new ReconstructedSide { IsStopped = _sides.IsStopped, Size = Rows };
    }

    /// <inheritdoc/>
    public override void Run(BatchStream stream, StepOperands step)
    {
        int n = Rows;
        LogitStatistics logits = new()
        {
            Cosines = _cosines,
            Largest = _statistics,
            Inverse = _statistics.From(4 * n),
            Loss = _statistics.From(8 * n),
            GradScale = _statistics.From(12 * n),
            LogitScale = step.LogitScale,
            Size = n,
            InverseSize = 1.0f / n,
            LabelSmoothing = (float)Options.LabelSmoothing,
            GlobalWeight = (float)Options.GlobalWeight,
            Lambda = (float)Options.Lambda,
            GatherWithGrad = Options.GatherWithGrad ? 1 : 0,
        };
        if (IsCosine)
        {
            logits.RowScale = _queries.Scale;
            logits.ColumnScale = _sides.Scale;
        }

        Products(stream, step);
        _basis.Decompositions.Run(stream, Options.Tau, step.Kept);
        _basis.Reconstruction(stream, step.Kept, _sides.Reconstruction);
        Cross(stream);
        Components(stream);
        stream.Lines(ContrastiveLossGpu.Kernel, 4 * n, logits);
        Combine(stream, logits);
        Turn(stream, step, logits);
        BatchView<float> factor = _combined.From(2 * Elements);
        _basis.Factor(stream, step.Kept, new CenterArguments { Data = factor, Shrink = _sides.Shrink, Shrunk = _sides.TurnedProduct });
        Second(stream, factor, new AlongLines
        {
            First = _combined, Factor = factor, TurnedGrams = _turned.From(Sides * Elements), Reconstructed = _sides, HasQueries = Sides - 1, Logits = logits,
            Summary = new StepSummary { Numbers = step.Summary, Rank = _basis.Decompositions.Rank }, Along = _along,
        });
        FeatureRight right = new() { Unit = step.Unit, Size = n, Columns = Columns };
        stream.Multiply(
            2,
            new GemmArguments<FeatureLeft, FeatureRight, FeatureGradient>
            {
                A = new() { First = _combined, Second = _second, Size = n, Sides = Sides }, B = right, Rows = n, Columns = Columns, Depth = 2 * n,
                C = new() { Right = right, Along = _along, InverseNorm = step.InverseNorm, GradQueries = step.GradQueries, GradKeys = step.GradKeys },
            },
            Settings.Precision);
    }

    // A; of each side K and x x^T, always strict, so that m is the same in every precision. Behind a large eigensystem a launch more counts for little.
    private void Products(BatchStream stream, StepOperands step)
    {
        int all = 1 + (2 * Sides);
        bool isTogether = Settings.Precision == GpuPrecision.Strict || Rows <= Settings.LargestGroupProblem;
        GramLeft left = new() { Unit = step.Unit, Size = Rows, Columns = Columns, Sides = Sides };
        GemmArguments<GramLeft, GramRight, GramResult> product = new()
        {
            A = left, B = new() { Left = left }, Rows = Rows, Columns = Rows, Depth = Columns,
            C = new() { Cosines = _cosines, Matrices = _basis.Decompositions.Matrices, Grams = _grams, Size = Rows, Sides = Sides },
        };
        stream.Multiply(isTogether ? all : 1, product, isTogether ? GpuPrecision.Strict : Settings.Precision);
        if (!isTogether)
        {
            product.A.Product = 1;
            product.B.Left.Product = 1;
            product.C.FirstGroup = 1;
            stream.Multiply(all - 1, product);
        }
    }

    // Products of both sides come first, so one side begins behind them (SideOperands.Gpu.cs).
    private int FirstProduct => Sides == 2 ? 0 : 2;

    // For both sides M_q A and M_k A^T, with cosines M x x^T of each
    private void Cross(BatchStream stream)
    {
        int products = (IsCosine ? 2 + Sides : 2) - FirstProduct;
        if (products > 0)
        {
            stream.Multiply(products, Square<CrossedLeft, CrossedRight, CrossedResult>(
                new() { Reconstruction = _sides.Reconstruction, Size = Rows, Sides = Sides },
                new() { Cosines = _cosines, Grams = _grams, Size = Rows, FirstProduct = FirstProduct },
                new() { Crossed = _crossed, Products = _sides.Product, Size = Rows, FirstProduct = FirstProduct }));
        }
    }

    // B; V, x x^T W and with cosines R of each side, and beside them r
    private void Components(BatchStream stream)
    {
        GemmArguments<ComponentLeft, ComponentRight, ComponentResult> product = Square<ComponentLeft, ComponentRight, ComponentResult>(
            new() { Crossed = _crossed, Grams = _grams, Products = _sides.Product, Size = Rows, Sides = Sides },
            new() { Keys = _sides.Reconstruction, Vectors = _basis.Decompositions.Vectors, Size = Rows, Sides = Sides },
            new() { Cosines = _cosines.From(Elements), Turned = _turned, Size = Rows });
        if (IsCosine)
        {
            stream.Multiply(1 + (3 * Sides), product, new LengthLines { Reconstructed = _sides, Rows = Sides * Rows });
        }
        else
        {
            stream.Multiply(1 + (2 * Sides), product);
        }
    }

    // Both E1, or with both sides what the queries' M is still to meet, U of each side, and with cosines beside them s g
    private void Combine(BatchStream stream, LogitStatistics logits)
    {
        GemmArguments<CombineLeft, CombineRight, CombineResult> product = Square<CombineLeft, CombineRight, CombineResult>(
            new() { Logits = logits }, new() { Keys = _sides, Turned = _turned }, new() { Logits = logits, Data = _combined, Bare = _bare, IsBare = Sides - 1 });
        if (IsCosine)
        {
            stream.Multiply(2 + Sides, product, new ShrinkLines { Reconstructed = _sides, Logits = logits, Rows = Sides * Rows });
        }
        else
        {
            stream.Multiply(2 + Sides, product);
        }
    }

    // With both sides both E1, with an exact basis Y of each side
    private void Turn(BatchStream stream, StepOperands step, LogitStatistics logits)
    {
        BatchView<float> turned = _combined.From(2 * Elements);
        if (Sides == 1 && !IsCosine)
        {
            _basis.Couple(stream, step.Kept, turned);
            return;
        }

        int products = (IsExact ? 2 + Sides : 2) - FirstProduct;
        if (products > 0)
        {
            GemmArguments<TurnedLeft, TurnedRight, TurnedResult> product = Square<TurnedLeft, TurnedRight, TurnedResult>(
                new() { Queries = _queries, Vectors = _basis.Decompositions.Vectors, Shrink = _sides.Shrink, Size = Rows, FirstProduct = FirstProduct },
                new() { Bare = _bare, Turned = turned, Shrunk = _sides.TurnedProduct, Size = Rows, FirstProduct = FirstProduct },
                new()
                {
                    Combined = new() { Logits = logits, Data = _combined }, Coupled = new() { Data = _basis.Coupled, Decomposition = _basis.Decompositions.All(step.Kept) },
                    FirstProduct = FirstProduct,
                });
            product.Depth = IsCosine ? 2 * Rows : Rows;
            product.DepthLimit = new DeviceLimit { FirstGroup = 2 - FirstProduct, Before = Rows };
            stream.Multiply(products, product);
        }
    }

    // E2 of each side
    private void Second(BatchStream stream, BatchView<float> factor, AlongLines along)
    {
        StridedMatrix result = StridedMatrix.Rows(_second, Rows, Elements);
        BatchView<float> vectors = _basis.Decompositions.Vectors;
        if (IsCosine)
        {
            GemmArguments<SecondLeft, SecondRight, StridedMatrix> product = Square<SecondLeft, SecondRight, StridedMatrix>(
                new() { Factor = factor, Reconstructed = _sides }, new() { Vectors = vectors, Reconstruction = _sides.Reconstruction, Size = Rows }, result);
            product.Depth = 2 * Rows;
            stream.Multiply(Sides, product, along);
        }
        else
        {
            stream.Multiply(
                Sides, Square<StridedMatrix, StridedMatrix, StridedMatrix>(StridedMatrix.Rows(factor, Rows, Elements), StridedMatrix.Rows(vectors, Rows, Elements), result), along);
        }
    }

    private GemmArguments<TA, TB, TC> Square<TA, TB, TC>(TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        new() { A = a, B = b, C = c, Rows = Rows, Columns = Rows, Depth = Rows };
}
