// SPDX-License-Identifier: Apache-2.0
// The step on the GPU for N <= d: everything after the first products happens in N x N.
//            A = q k^T,  K = H k k^T H,  M = W_m W_m^T + 1 1^T / N of each side that is reconstructed (else the identity),  u' = M k
//            B = diag(r_q) M_q A M_k diag(r_k),  r = 1 with plain components                        HiMo-CLIP (arXiv:2511.06653), equation 1
//            D stands for diag(r_q) D_c diag(r_k);  M* = M, or 1 1^T / N with a stopped basis, or the identity
// Backward   E1 of the queries = s (D_g + M*_q D M_k), of the keys = s (D_g + M_q D M*_k);  T_k = s (D^T M_q A - g_k M_k k k^T), T_q likewise
//            T W_k = s (D^T V_k - g_k R_k) with V_k = M_q A W_k, R_k = M_k k k^T W_k, which need no gradient and come with B
//            E2 from T W as in GramBasis.Gpu.cs, less s M* diag(g) M
//            dq = E1 k + E2_q q,  dk = E1^T q + E2_k k,  then back through the normalisation
// Launches   with plain texts or images: 1 normalise  2 A, K, k k^T  3 eigensystem and m  4 M  5 B, V  6 softmax statistics  7 both E1, T W
//            8 Y  9 W Z  10 E2  11 g . y and loss  12 gradients;  stopped: 8 H (T W)_m Lambda^-1  9 E2  10 g . y and loss  11 gradients.
//            Four more with cosines, three more for both sides; for N > 176 N + 6 more, and in lower precisions one. As many for any number of batches.
// Precision  the last product as the settings say, and for N > 176 A, which a launch of its own would make later than exact products beside K do;
//            everything else with the error of float32. Deterministic: every sum has one order.
// Memory     of a batch about 15 N^2 floats, 28 for both sides, two more a side with cosines: N is at most d.

namespace HiMo.Kernels;

/// <summary>The N x N form.</summary>
internal sealed class GramStepGpu : StepFormGpu
{
    private readonly GramBasisGpu _basis;
    private ReconstructedSide _sides;            // keys, and where they are reconstructed, queries
    private ReconstructedSide _queries;
    private BatchView<float> _grams;            // x x^T of each side
    private BatchView<float> _cosines;          // A and B, side by side for the statistics
    private BatchView<float> _combined;         // both E1, T W of each side
    private BatchView<float> _crossed;          // M_q A, M_k A^T
    private BatchView<float> _turned;           // V of each side, with cosines R of each
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

    private long Square => (long)Rows * Rows;

    /// <inheritdoc/>
    public override void Layout(DeviceArena arena)
    {
        long n = Rows;
        _basis.Layout(arena);
        _grams = arena.EachBatch(Sides * Square);
        _cosines = arena.EachBatch(2 * Square);
        _combined = arena.EachBatch((2 + Sides) * Square);
        _turned = arena.EachBatch((IsCosine ? 2 : 1) * Sides * Square);
        _second = _turned;
        _statistics = arena.EachBatch(16 * n);
        _along = arena.EachBatch(2 * n);
        _crossed = Sides == 2 ? arena.EachBatch(2 * Square) : _cosines;
        _bare = Sides == 2 ? arena.EachBatch(2 * Square) : default;
        _sides = new ReconstructedSide { Reconstruction = arena.EachBatch(Sides * Square), IsStopped = IsExact ? 0 : 1, Size = Rows };
        if (IsCosine)
        {
            _sides.Product = arena.EachBatch(Sides * Square);
            _sides.TurnedProduct = _turned.From(Sides * Square);
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
        Products(stream, step);
        _basis.Decompositions.Run(stream, Options.Tau, step.Kept);
        GramRowsArguments rows = new() { Sides = _sides, Logits = logits };
        _basis.Reconstruction(stream, step.Kept, _sides.Reconstruction);
        if (IsCosine)
        {
            Multiply(stream, Sides, Plain(_sides.Reconstruction), Transposed(_grams), Plain(_sides.Product));
            stream.Lines(GramRowsGpu.ScaleKernel, n, rows, Sides);
        }

        Components(stream);
        stream.Lines(ContrastiveLossGpu.Kernel, 4 * n, logits);
        if (IsCosine)
        {
            stream.Lines(GramRowsGpu.ShrinkKernel, n, rows, Sides);
        }

        Combine(stream, logits);
        _basis.Gradient(stream, step.Kept, _combined.From(2 * Square), _second);
        if (IsCosine)
        {
            Multiply(
                stream, Sides, new ShrinkLeft { Side = _sides, Logits = logits }, Transposed(_sides.Reconstruction), new SubtractedResult { Data = _second, Size = Rows });
        }

        FeatureLeft left = new() { First = _combined, Second = _second, Size = n, Sides = Sides };
        FeatureRight right = new() { Unit = step.Unit, Size = n, Columns = Columns };
        stream.Lines(GramRowsGpu.AlongKernel, (2 * n) + 1, new GramAlongArguments
        {
            Left = left, Logits = logits, Summary = new StepSummary { Numbers = step.Summary, Rank = _basis.Decompositions.Rank }, Gram = _grams, Along = _along,
        });
        stream.Multiply(
            2,
            new GemmArguments<FeatureLeft, FeatureRight, FeatureGradient>
            {
                A = left, B = right, Rows = n, Columns = Columns, Depth = 2 * n,
                C = new() { Right = right, Along = _along, InverseNorm = step.InverseNorm, GradQueries = step.GradQueries, GradKeys = step.GradKeys },
            },
            Settings.Precision);
    }

    // A; of each side K and x x^T, always strict, so that m is the same in every precision.
    private void Products(BatchStream stream, StepOperands step)
    {
        int all = 1 + (2 * Sides);
        bool isTogether = Settings.Precision == GpuPrecision.Strict || Rows <= EigenSymmetricGpu.MaxSize;
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

    // B, V and R of each side, and for both sides M_q A and M_k A^T
    private void Components(BatchStream stream)
    {
        if (Sides == 2)
        {
            Multiply(stream, 1, Plain(_queries.Reconstruction), Transposed(_cosines), Plain(_crossed));
            Multiply(stream, 1, Plain(_sides.Reconstruction), Plain(_cosines), Plain(_crossed.From(Square)));
        }

        Multiply(
            stream, 1 + ((IsCosine ? 2 : 1) * Sides),
            new ComponentLeft { Crossed = _crossed, Products = _sides.Product, Size = Rows, Sides = Sides },
            new ComponentRight { Keys = _sides.Reconstruction, Vectors = _basis.Decompositions.Vectors, Size = Rows, Sides = Sides },
            new ComponentResult { Cosines = _cosines.From(Square), Turned = _turned, Queries = _queries, Keys = _sides });
    }

    // Both E1, T W of each side
    private void Combine(BatchStream stream, LogitStatistics logits)
    {
        CombineResult result = new() { Logits = logits, Queries = _queries, Keys = _sides, Data = _combined };
        Multiply(
            stream, 2 + Sides, new CombineLeft { Logits = logits, Queries = _queries, Keys = _sides }, new CombineRight { Keys = _sides, Turned = _turned },
            result with { IsBare = Sides - 1, Bare = _bare });
        if (Sides == 2)
        {
            Multiply(stream, 2, new QuerySideLeft { Queries = _queries }, Transposed(_bare), result);
        }
    }

    private StridedMatrix Plain(BatchView<float> data) => StridedMatrix.Rows(data, Rows, Square);

    private StridedMatrix Transposed(BatchView<float> data) => StridedMatrix.Columns(data, Rows, Square);

    private void Multiply<TA, TB, TC>(BatchStream stream, int groups, TA a, TB b, TC c)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        stream.Multiply(groups, new GemmArguments<TA, TB, TC> { A = a, B = b, C = c, Rows = Rows, Columns = Rows, Depth = Rows });
}
