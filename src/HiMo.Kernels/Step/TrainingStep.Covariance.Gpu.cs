// SPDX-License-Identifier: Apache-2.0
// The step on the GPU for N > d, through factors of m + 1 columns, and for any N where lambda is 0; logits exist a tile or a strip at a time.
//            C = X^T X = W Lambda W^T,   Y = [1, X W],   V = [q . mu, q W],   logits s q k^T and s V Y^T diag(r), both over the first m + 1 columns
// Backward   J = D_c diag(r) Y,  L = D_c^T V,   dq = D_g k + J [mu, W]^T,   dk = D_g^T q + F W^T + 1 c^T,  c as in CovarianceRows.Gpu.cs
//   stopped  F = L
//   exact    F = L + 2 Y Z,   Z = coupling of J^T V + L^T Y (kept x dropped)
//   cosine   L loses what lies along the rows, and J gets a row N, h, that meets row N of V, W^T mu
//   both     the queries of the component branch are v' = Y_v [mu_v, W_v]^T, scaled with cosines, and J [mu, W]^T goes back through them:
//            G_v W_v takes the place of L, Z_v = coupling of Y_v^T G_v W_v + (G_v W_v)^T Y_v
//   without gatherWithGrad, D is its row part in dq and its column part in dk, Z and c.
// Launches   22 with the exact basis, one side and one strip; 3 more a strip of StripRows rows; the eigensystem's own beyond 176 columns.
// Memory     about 9 N d floats and two strips (four without gatherWithGrad). No N x N matrix.
// Precision  float32 as in the header of each kernel; HiDe's products with the error of float32 in every precision.
// Source     HiMo-CLIP (arXiv:2511.06653); the form is derived in docs/design.md.
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>The form for N > d.</summary>
internal sealed class CovarianceStepGpu(MatrixShape shape, MoLoOptions options, GpuStepSettings settings) : StepFormGpu(shape, options, settings)
{
    private FactorLoss _loss;
    private ArrayView<double> _partial;                 // of column sums
    private ArrayView<double> _scratch;                 // of the eigensystem
    private ArrayView<float> _rank;
    private CovarianceSide _keys;
    private CovarianceSide _queries;                    // both sides reconstructed
    private ArrayView<float> _matrices;
    private ArrayView<float> _values;
    private ArrayView<float> _vectors;
    private ArrayView<float> _coordinates;              // V
    private ArrayView<float> _rowScale;                 // r
    private ArrayView<float> _shrink;                   // -g
    private ArrayView<float> _rows;                     // v'
    private ArrayView<float> _rowsInverse;
    private ArrayView<float> _gradRows;                 // dL/dv'
    private ArrayView<float> _rowGradient;              // F
    private ArrayView<float> _coupling;                 // Z
    private ArrayView<float> _weighted;
    private ArrayView<float> _sums;
    private ArrayView<float> _constant;

    /// <inheritdoc/>
    public override bool SharesLaunches => false;

    private bool HasGlobal => Options.GlobalWeight != 0.0 || !HasComponent;

    private bool HasComponent => Options.Lambda != 0.0;

    private bool HasBothSides => Options.ReconstructsImages && Options.ReconstructsTexts;

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
        _loss.Strip = new GradientStrip { Data = arena.Floats((long)Branches * parts * stripRows * n), StripRows = stripRows, Parts = parts };
        if (!HasComponent)
        {
            return;
        }

        int sides = HasBothSides ? 2 : 1;
        int pitch = Columns + 1;
        long square = (long)Columns * Columns;
        _partial = arena.Take<double>(ColumnSumGpu.PartialLength(pitch));
        _scratch = arena.Take<double>(sides * EigenSymmetricGpu.ScratchLength(Columns, Settings.LargestGroupProblem));
        _rank = arena.Floats(2 * sides);
        _matrices = arena.Floats(sides * square);
        _values = arena.Floats(sides * Columns);
        _vectors = arena.Floats(sides * square);
        _keys = new CovarianceSide { Delta = arena.Floats(Columns), Coordinates = arena.Floats(n * pitch), Gradient = arena.Floats(n * pitch) };
        _coordinates = arena.Floats((n + 1) * pitch);
        ArrayView<float> forQueries = arena.Floats((n + 1) * pitch);
        ArrayView<float> forKeys = IsSplit ? arena.Floats((n + 1) * pitch) : forQueries;
        _loss.GradQueries = new FactorGradient { FirstPitch = HasGlobal ? Columns : pitch, SecondPitch = pitch, First = forQueries, Second = forQueries, Extra = IsSplit ? forKeys : default };
        _loss.GradKeys = new FactorGradient { FirstPitch = HasGlobal ? Columns : pitch, SecondPitch = pitch, First = _keys.Gradient, Second = _keys.Gradient };
        _keys.Reverse = forKeys;
        _rowGradient = IsExact ? arena.Floats(n * Columns) : default;
        _coupling = IsExact ? arena.Floats(square) : default;
        _weighted = arena.Floats(Columns);
        _sums = arena.Floats(Columns);
        _constant = arena.Floats(Columns);
        if (IsCosine)
        {
            _rowScale = arena.Floats(n);
            _shrink = arena.Floats(n);
        }

        if (HasBothSides)
        {
            _queries = new CovarianceSide { Delta = arena.Floats(Columns), Coordinates = arena.Floats(n * pitch), Gradient = arena.Floats(n * pitch) };
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
        CovarianceSide keys = _keys;
        CovarianceSide queries = _queries;
        if (HasComponent)
        {
            keys.Rows = new CentredRows { Unit = unitKeys, Delta = keys.Delta, Columns = Columns };
            queries.Rows = new CentredRows { Unit = unitQueries, Delta = queries.Delta, Columns = Columns };
            Decompose(stream, step, ref keys, ref queries);
            componentQueries = HasBothSides ? ReconstructQueries(stream, queries) : unitQueries;
            Project(stream, componentQueries, keys);
            loss.Pass.Depths = loss.Pass.Depths with { Kept = step.Kept.Data, Extra = 1 }; // Grid.Z is the branch there
        }

        loss.Pass.Queries = Factors(unitQueries, Columns, _coordinates, default);
        loss.Pass.Keys = Factors(unitKeys, Columns, keys.Coordinates, IsCosine ? _rowScale : default);
        if (HasGlobal)
        {
            loss.GradQueries.First = step.GradQueries.Data;
            loss.GradQueries.FirstPitch = Columns;
            loss.GradKeys.First = step.GradKeys.Data;
            loss.GradKeys.FirstPitch = Columns;
        }

        ContrastiveFactorsGpu.Run(stream.Gpu, stream.Stream, loss, Settings.Precision);
        stream.Gpu.Launch(stream.Stream, StepSummaryGpu.Kernel, new Index3D(1, 1, 1), StepSummaryGpu.Threads, new StepSummaryArguments
        {
            Branches = loss.Pass.Branches, Numbers = step.Summary.Data, Rank = _rank, GlobalWeight = Options.GlobalWeight, Lambda = Options.Lambda,
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

    // mu, C, W and m of every side that is reconstructed
    private void Decompose(BatchStream stream, StepOperands step, ref CovarianceSide keys, ref CovarianceSide queries)
    {
        int sides = HasBothSides ? 2 : 1;
        long square = (long)Columns * Columns;
        for (int side = 0; side < sides; side++)
        {
            CentredRows rows = side == 0 ? keys.Rows : queries.Rows;
            ColumnSumGpu.Run(stream, new ShiftedRows { Rows = rows }, Rows, Columns, 1.0 / Rows, _partial, rows.Delta);
            stream.Multiply(1, new GemmArguments<CentredRows, CentredRows, StridedMatrix>
            {
                A = rows, B = rows, C = StridedMatrix.Rows(_matrices.SubView(side * square, square), Columns), Rows = Columns, Columns = Columns, Depth = Rows,
            });
        }

        EigenSymmetricGpu.Run(stream.Gpu, stream.Stream, sides, Settings.EigenThreads, Settings.LargestGroupProblem, new EigenArguments
        {
            Matrix = _matrices, Values = _values, Vectors = _vectors, Scratch = _scratch, Kept = step.Kept.Data, Summary = _rank, Size = Columns, Tau = Options.Tau,
        });
        keys.Decomposition = DecompositionOf(step, 0);
        queries.Decomposition = HasBothSides ? DecompositionOf(step, 1) : default;
    }

    private Decomposition DecompositionOf(StepOperands step, int side)
    {
        long square = (long)Columns * Columns;
        return new()
        {
            Values = _values.SubView(side * Columns, Columns), Vectors = _vectors.SubView(side * square, square), Kept = step.Kept.From(side), Size = Columns,
        };
    }

    // v' = Y_v [mu_v, W_v]^T over the kept vectors
    private ArrayView<float> ReconstructQueries(BatchStream stream, CovarianceSide queries)
    {
        int pitch = Columns + 1;
        stream.Multiply(1, new GemmArguments<ProjectedRows, BasisOperand, Coordinates>
        {
            A = new() { Queries = queries.Rows.Unit, Keys = queries.Rows, Rows = Rows, FirstGroup = 1 }, B = queries.Basis,
            C = new() { Queries = queries.Coordinates, Keys = queries.Coordinates, Rows = Rows, Pitch = pitch, FirstGroup = 1 }, Rows = Rows, Columns = pitch, Depth = Columns,
        });
        stream.Multiply(1, new GemmArguments<StridedMatrix, TransposedBasisOperand, StridedMatrix>
        {
            A = StridedMatrix.Rows(queries.Coordinates, pitch), B = new() { Basis = queries.Basis }, C = StridedMatrix.Rows(_rows, Columns),
            Rows = Rows, Columns = Columns, Depth = pitch, DepthLimit = queries.KeptAndMean,
        });
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
            shrunk = keys.Reverse.SubView((long)Rows * pitch, pitch);
            ColumnSumGpu.Run(
                stream, new WeightedRows { Data = keys.Coordinates, Weights = _shrink, Pitch = pitch, WeightPitch = 1 }, Rows, pitch, 1.0, _partial, shrunk);
        }

        ColumnSumGpu.Run(
            stream, new WeightedRows { Data = componentQueries, Weights = keys.Reverse, Pitch = Columns, WeightPitch = pitch },
            Rows, Columns, 1.0, _partial, _weighted);
        SideGradient(stream, keys, keys.Reverse, _coordinates, shrunk, step.GradKeys.Data);
        ArrayView<float> gradRows = HasBothSides ? _gradRows : step.GradQueries.Data;
        stream.Multiply(1, new GemmArguments<StridedMatrix, TransposedBasisOperand, AddedResult>
        {
            A = StridedMatrix.Rows(_loss.GradQueries.Second, pitch), B = new() { Basis = keys.Basis },
            C = new() { Data = gradRows, Columns = Columns, IsAdded = HasGlobal && !HasBothSides ? 1 : 0 },
            Rows = Rows, Columns = Columns, Depth = pitch, DepthLimit = keys.KeptAndMean,
        });
        if (HasBothSides)
        {
            QueryGradient(stream, step, queries);
        }
    }

    // From dL/dv' back to the unit queries.
    private void QueryGradient(BatchStream stream, StepOperands step, CovarianceSide queries)
    {
        int pitch = Columns + 1;
        if (IsCosine)
        {
            stream.Lines(L2NormalizeGpu.BackwardKernel, Rows, new L2NormalizeBackwardArguments
            {
                First = _gradRows, Second = _gradRows, Unit = _rows, InverseNorm = _rowsInverse, Rows = Rows, TotalRows = Rows, Columns = Columns,
            });
        }

        stream.Multiply(1, new GemmArguments<StridedMatrix, BasisOperand, StridedMatrix>
        {
            A = StridedMatrix.Rows(_gradRows, Columns), B = queries.Basis, C = StridedMatrix.Rows(queries.Gradient, pitch), Rows = Rows, Columns = pitch, Depth = Columns,
        });
        ColumnSumGpu.Run(stream, new WeightedRows { Data = _gradRows, Pitch = Columns }, Rows, Columns, 1.0, _partial, _weighted);
        SideGradient(stream, queries, queries.Coordinates, queries.Gradient, default, step.GradQueries.Data);
    }

    // Z from first^T second + L^T Y, F, c, and gradient = F W^T + 1 c^T beside what is there
    private void SideGradient(
        BatchStream stream, CovarianceSide side, ArrayView<float> first, ArrayView<float> second, ArrayView<float> shrunk, ArrayView<float> gradient)
    {
        int pitch = Columns + 1;
        RowGradient rows = new() { Direct = side.Gradient, Data = _rowGradient, Decomposition = side.Decomposition };
        if (IsExact)
        {
            CouplingOperand left = new() { First = first, Second = side.Gradient, Decomposition = side.Decomposition, Rows = Rows, Pitch = pitch, OnlyKept = 1 };
            stream.Multiply(1, new GemmArguments<CouplingOperand, CouplingOperand, CrossCoupledResult>
            {
                A = left, B = left with { First = second, Second = side.Coordinates, OnlyKept = 0 }, C = new() { Data = _coupling, Decomposition = side.Decomposition },
                Rows = Columns, Columns = Columns, Depth = (2 * Rows) + (shrunk.Length > 0 ? 1 : 0),
            });
            stream.Multiply(1, new GemmArguments<StridedMatrix, StridedMatrix, RowGradient>
            {
                A = StridedMatrix.Rows(side.Coordinates.SubView(1, side.Coordinates.Length - 1), pitch), B = StridedMatrix.Rows(_coupling, Columns), C = rows,
                Rows = Rows, Columns = Columns, Depth = Columns,
            });
        }

        ColumnSumGpu.Run(stream, rows, Rows, Columns, 1.0, _partial, _sums);
        stream.Lines(CovarianceRowsGpu.ConstantKernel, Columns, new MeanGradientArguments
        {
            Weighted = _weighted, Shrunk = shrunk, Sums = _sums, Result = _constant, Basis = side.Basis, Rows = Rows,
        });
        stream.Multiply(1, new GemmArguments<RowGradient, StridedMatrix, AddedResult>
        {
            A = rows, B = StridedMatrix.Rows(side.Decomposition.Vectors, Columns),
            C = new() { Data = gradient, Constant = _constant, Columns = Columns, IsAdded = HasGlobal ? 1 : 0 }, Rows = Rows, Columns = Columns, Depth = Columns,
        });
    }

    /// <summary>One side that is reconstructed.</summary>
    private struct CovarianceSide
    {
        public ArrayView<float> Delta;
        public CentredRows Rows;
        public Decomposition Decomposition;
        public ArrayView<float> Coordinates;   // Y, N rows of d + 1
        public ArrayView<float> Gradient;      // L, or G_v W_v; N rows of d + 1
        public ArrayView<float> Reverse;       // J of the keys' gradient, N + 1 rows of d + 1

        public readonly BasisOperand Basis => new() { Rows = Rows, Decomposition = Decomposition };

        public readonly DeviceLimit KeptAndMean => new() { Kept = Decomposition.Kept, Extra = 1 };
    }
}
