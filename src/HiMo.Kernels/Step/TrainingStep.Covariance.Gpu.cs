// SPDX-License-Identifier: Apache-2.0
// The step on the GPU for N > d, through factors of m + 1 columns, and for any N where lambda is 0; logits exist a tile or a strip at a time.
//            C = X^T X = W Lambda W^T,   Y = [1, X W_m],   V = [q . mu, q W_m],   logits s q k^T and s V Y^T diag(r)
// Backward   J = D_c diag(r) Y,  L = D_c^T V,   dq = D_g k + J [mu, W_m]^T,   dk = D_g^T q + dX + 1 c^T,  c as in CovarianceRows.Gpu.cs
//            dX from L and T = J^T q + L^T X as in CovarianceBasis.Gpu.cs:  the dropped vectors meet d x d matrices only
//   cosine   L loses what lies along the rows, and T gets h^T mu
//   both     the queries of the component branch are v' = Y_v [mu_v, W_v]^T, scaled with cosines, and J [mu, W]^T goes back through them:
//            G_v W_v takes the place of L, T_v = Y_v^T G_v + (G_v W_v)^T X_v
//   without gatherWithGrad, D is its row part in dq and its column part in dk, T and c.
// Launches   22 with the exact basis, one side and one strip; one more for C and for T where DepthParts.cs splits them; 3 more a strip of StripRows rows; the eigensystem's own beyond 176 columns.
// Memory     about 9 N d floats and two strips (four without gatherWithGrad). No N x N matrix.
// Precision  float32 as in the header of each kernel; HiDe's products with the error of float32 in every precision.
// Source     HiMo-CLIP (arXiv:2511.06653); the form is derived in docs/design.md.
using ILGPU;

namespace HiMo.Kernels;

/// <summary>The form for N > d.</summary>
internal sealed class CovarianceStepGpu : StepFormGpu
{
    private readonly CovarianceBasisGpu _basis;
    private FactorLoss _loss;
    private ArrayView<float> _reverse;                  // J of the keys' gradient, N + 1 rows of d + 1
    private ArrayView<float> _coordinates;              // V
    private ArrayView<float> _rowScale;                 // r
    private ArrayView<float> _shrink;                   // -g
    private ArrayView<float> _rows;                     // v'
    private ArrayView<float> _rowsInverse;
    private ArrayView<float> _gradRows;                 // dL/dv'

    public CovarianceStepGpu(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
        : base(shape, options, settings) =>
        _basis = new CovarianceBasisGpu(shape, Sides, options.BasisGradient, settings);

    /// <inheritdoc/>
    public override bool SharesLaunches => false;

    private bool HasGlobal => Options.GlobalWeight != 0.0 || !HasComponent;

    private bool HasComponent => Options.Lambda != 0.0;

    private bool HasBothSides => Options.ReconstructsImages && Options.ReconstructsTexts;

    private int Sides => HasBothSides ? 2 : 1;

    private bool IsSplit => !Options.GatherWithGrad;

    private int Branches => (HasGlobal ? 1 : 0) + (HasComponent ? 1 : 0);

    private int Width => HasComponent ? Columns + 1 : Columns;

    /// <inheritdoc/>
    public override void Layout(DeviceArena arena)
    {
        long n = Rows;
        int lines = 2 * Rows;
        int stripRows = Math.Min(Settings.StripRows, Rows);
        int parts = IsSplit ? 2 : 1;
        _loss.Branches = Branches;
        _loss.Width = Width;
        _loss.Pass.Branches = new BranchStatistics
        {
            Largest = arena.Floats(Branches * lines), Inverse = arena.Floats(Branches * lines), Miss = arena.Floats(Branches * lines),
            Loss = arena.Floats(Branches * lines), GradScale = arena.Floats(Branches * lines), Total = arena.Floats(Branches * lines),
            Target = arena.Floats(Branches * n), Rows = Rows, Columns = Rows, LabelSmoothing = (float)Options.LabelSmoothing, HasColumns = 1,
            FirstWeight = (float)((HasGlobal ? Options.GlobalWeight : Options.Lambda) / (2.0 * Rows)), SecondWeight = (float)(Options.Lambda / (2.0 * Rows)),
        };
        _loss.Pass.Partial = arena.Take<LineStatistics>((long)Branches * LogitPassGpu.Splits * lines);
        if (Settings is { Precision: GpuPrecision.Bf16, Warpgroups: true } && !IsSplit)
        {
            _loss.Packed = PackedLoss.Take(arena, Rows, Rows, HasGlobal ? Columns : Width, HasGlobal && HasComponent ? Width : 0);
        }
        else
        {
            _loss.Strip = new GradientStrip { Data = arena.Floats((long)Branches * parts * stripRows * n), StripRows = stripRows, Parts = parts };
        }

        if (!HasComponent)
        {
            return;
        }

        int pitch = Columns + 1;
        _basis.Layout(arena);
        ArrayView<float> gradKeys = _basis.Side(0, default, default).Gradient.Data;
        _coordinates = arena.Floats((n + 1) * pitch);
        ArrayView<float> forQueries = arena.Floats((n + 1) * pitch);
        _reverse = IsSplit ? arena.Floats((n + 1) * pitch) : forQueries;
        _loss.GradQueries = new FactorGradient { FirstPitch = HasGlobal ? Columns : pitch, SecondPitch = pitch, First = forQueries, Second = forQueries, Extra = IsSplit ? _reverse : default };
        _loss.GradKeys = new FactorGradient { FirstPitch = HasGlobal ? Columns : pitch, SecondPitch = pitch, First = gradKeys, Second = gradKeys };
        if (IsCosine)
        {
            _rowScale = arena.Floats(n);
            _shrink = arena.Floats(n);
        }

        if (HasBothSides)
        {
            _rows = arena.Floats(n * Columns);
            _rowsInverse = arena.Floats(n);
            _gradRows = arena.Floats(n * Columns);
        }
    }

    /// <inheritdoc/>
    public override void Run(BatchStream stream, StepOperands step)
    {
        long matrix = (long)Rows * Columns;
        ArrayView<float> unitQueries = step.Unit.Data.SubView(0, matrix);
        ArrayView<float> unitKeys = step.Unit.Data.SubView(matrix, matrix);
        ArrayView<float> componentQueries = unitQueries;
        FactorLoss loss = _loss;
        loss.Pass.Branches.LogitScale = step.LogitScale.Data;
        loss.Pass.Depths = new DeviceLimit { FirstGroup = HasGlobal ? 1 : 0, Before = Columns };
        CovarianceSide keys = default;
        CovarianceSide queries = default;
        if (HasComponent)
        {
            keys = _basis.Side(0, unitKeys, step.Kept);
            _basis.Covariance(stream, keys);
            if (HasBothSides)
            {
                queries = _basis.Side(1, unitQueries, step.Kept);
                _basis.Covariance(stream, queries);
            }

            _basis.Decompositions.Run(stream, Options.Tau, step.Kept);
            componentQueries = HasBothSides ? ReconstructQueries(stream, queries) : unitQueries;
            Project(stream, componentQueries, keys);
            loss.Pass.Depths = loss.Pass.Depths with { Kept = step.Kept.Data, Extra = 1 }; // Grid.Z is the branch there
        }

        loss.Pass.Queries = Factors(unitQueries, Columns, _coordinates, default);
        loss.Pass.Keys = Factors(unitKeys, Columns, keys.Coordinates.Data, IsCosine ? _rowScale : default);
        if (HasGlobal)
        {
            loss.GradQueries.First = step.GradQueries.Data;
            loss.GradQueries.FirstPitch = Columns;
            loss.GradKeys.First = step.GradKeys.Data;
            loss.GradKeys.FirstPitch = Columns;
        }

        ContrastiveFactorsGpu.Run(stream.Gpu, stream.Stream, loss, Settings.Precision);
        StepSummaryGpu.Run(stream.Gpu, stream.Stream, new StepSummaryArguments
        {
            Branches = loss.Pass.Branches, Numbers = step.Summary.Data, Rank = HasComponent ? _basis.Decompositions.Rank.Data : default, GlobalWeight = Options.GlobalWeight, Lambda = Options.Lambda,
        });
        if (HasComponent)
        {
            ComponentGradient(stream, step, componentQueries, keys, queries);
        }

        stream.Lines(L2NormalizeGpu.BackwardKernel, 2 * Rows, new L2NormalizeBackwardArguments
        {
            First = step.GradQueries.Data, Second = step.GradKeys.Data, Unit = step.Unit.Data, InverseNorm = step.InverseNorm.Data, LogitScale = step.LogitScale.Data,
            Rows = Rows, TotalRows = 2 * Rows, Columns = Columns,
        });
    }

    private FactorOperand Factors(ArrayView<float> global, int globalPitch, ArrayView<float> component, ArrayView<float> componentScale) => new()
    {
        First = HasGlobal ? global : component,
        FirstPitch = HasGlobal ? globalPitch : Columns + 1,
        FirstScale = HasGlobal ? default : componentScale,
        Second = component,
        SecondPitch = Columns + 1,
        SecondScale = componentScale,
    };

    // v' = Y_v [mu_v, W_v]^T over the kept vectors
    private ArrayView<float> ReconstructQueries(BatchStream stream, CovarianceSide queries)
    {
        _basis.Reconstruct(stream, queries, _rows);
        if (IsCosine)
        {
            stream.Lines(L2NormalizeGpu.Kernel, Rows, new L2NormalizeArguments
            {
                Images = _rows, Texts = _rows, Unit = _rows, InverseNorm = _rowsInverse, Rows = Rows, TotalRows = Rows, Columns = Columns,
            });
        }

        return _rows;
    }

    // V and Y, and r
    private void Project(BatchStream stream, ArrayView<float> componentQueries, CovarianceSide keys)
    {
        int pitch = Columns + 1;
        stream.Multiply(2, new GemmArguments<ProjectedRows, BasisOperand, Coordinates>
        {
            A = new() { Queries = componentQueries, Keys = keys.Rows, Rows = Rows }, B = keys.Basis,
            C = new() { Queries = _coordinates, Keys = keys.Coordinates, Rows = Rows, Pitch = pitch }, Rows = Rows + 1, Columns = pitch, Depth = Columns,
            ColumnLimit = keys.KeptAndMean,
        });
        if (IsCosine)
        {
            stream.Lines(CovarianceRowsGpu.ScaleKernel, Rows, RowArguments(keys));
        }
    }

    private CovarianceRowsArguments RowArguments(CovarianceSide keys) => new()
    {
        Keys = keys.Coordinates, MeanRow = _coordinates.SubView((long)Rows * (Columns + 1), Columns + 1), Gradient = keys.Gradient,
        RowScale = _rowScale, Shrink = _shrink, Decomposition = keys.Decomposition, Rows = Rows,
    };

    private void ComponentGradient(
        BatchStream stream, StepOperands step, ArrayView<float> componentQueries, CovarianceSide keys, CovarianceSide queries)
    {
        int pitch = Columns + 1;
        ArrayView<float> shrunk = default;
        if (IsCosine)
        {
            stream.Lines(CovarianceRowsGpu.GradientKernel, Rows, RowArguments(keys));
            shrunk = _reverse.SubView((long)Rows * pitch, pitch);
            _basis.ColumnSum(
                stream, new WeightedRows { Data = keys.Coordinates, Weights = _shrink, Columns = pitch, Pitch = pitch, WeightPitch = 1 }, pitch, keys.KeptAndMean, shrunk);
        }

        WeightedRows weighted = new() { Data = componentQueries, Weights = _reverse, Columns = Columns, Pitch = Columns, WeightPitch = pitch };
        _basis.GradientOfCoordinates(stream, keys, _reverse, componentQueries, weighted, shrunk, step.GradKeys, HasGlobal);
        BatchView<float> gradRows = HasBothSides ? _gradRows : step.GradQueries;
        stream.Multiply(1, new GemmArguments<StridedMatrix, TransposedBasisOperand, AddedResult>
        {
            A = StridedMatrix.Rows(_loss.GradQueries.Second, pitch), B = new() { Basis = keys.Basis },
            C = new() { Data = gradRows, Columns = Columns, IsAdded = HasGlobal && !HasBothSides ? 1 : 0 },
            Rows = Rows, Columns = Columns, Depth = pitch, DepthLimit = keys.KeptAndMean,
        });
        if (HasBothSides && IsCosine)
        {
            stream.Lines(L2NormalizeGpu.BackwardKernel, Rows, new L2NormalizeBackwardArguments
            {
                First = _gradRows, Second = _gradRows, Unit = _rows, InverseNorm = _rowsInverse, Rows = Rows, TotalRows = Rows, Columns = Columns,
            });
        }

        if (HasBothSides)
        {
            _basis.Gradient(stream, queries, _gradRows, step.GradQueries, HasGlobal);
        }
    }
}
