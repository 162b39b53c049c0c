// SPDX-License-Identifier: Apache-2.0
// HiDe by the covariance on the GPU, for N > d: the decomposition of one side or two, reconstruction and derivative.
//            C = X^T X = W Lambda W^T,  Y = [1, X W_m],  u' = Y [mu, W_m]^T                            HiMo-CLIP (arXiv:2511.06653), equation 1
// Backward   with L = G W_m for the gradient G of u', the rows get dX + 1 c^T,  c as in CovarianceRows.Gpu.cs
//            exact:    dX = L W_m^T + 2 X (W Z W^T),  2 Z = coupling of T W (kept x dropped),  T = Y^T G + L^T X
//                      made as F W_m^T + Y A,  A = (2 Z) W^T,  F = L + X A^T: nothing that is dropped has N rows
//            stopped:  dX = L W_m^T
// Launches   3 a side and the eigensystem's; Y: 1; u': 1; backward from L: 8, 4 stopped; L: 1; one more for C and for T in parts.
// Work       N d (d + 1) + 2 N d m each for Y and u';  2 N d m for L, 4 N d m for T, 2 N d m for F and 4 N d m for dX, 4 d^2 m for Z and A.
// Precision  the error of float32.

namespace HiMo.Kernels;

/// <summary>One side in the basis of its components.</summary>
internal struct CovarianceSide
{
    public CentredRows Rows;
    public Decomposition Decomposition;

    /// <summary>C, d x d, until it is decomposed; 2 Z^T then.</summary>
    public BatchView<float> Matrix;

    /// <summary>Y, N rows of d + 1, of which m + 1 are made.</summary>
    public BatchView<float> Coordinates;

    /// <summary>L, and F in its place, as <see cref="Coordinates"/>; column 0 is not used.</summary>
    public BatchView<float> Gradient;

    /// <summary>mu, then W.</summary>
    public readonly BasisOperand Basis => new() { Rows = Rows, Decomposition = Decomposition };

    /// <summary>m + 1.</summary>
    public readonly DeviceLimit KeptAndMean => new() { Kept = Decomposition.Kept, Extra = 1 };

    /// <summary>X: outer index row, depth column.</summary>
    /// <param name="count">N.</param>
    public readonly ProjectedRows Centred(int count) => new() { Queries = Rows.Unit, Keys = Rows, Rows = count, Group = 1 };
}

/// <summary>HiDe of some sides by their covariances.</summary>
/// <param name="shape">N x d.</param>
/// <param name="sides">Decompositions of a batch, 1 or 2.</param>
/// <param name="basisGradient">How gradients treat the directions.</param>
/// <param name="settings">Of the eigensystem.</param>
internal sealed class CovarianceBasisGpu(MatrixShape shape, int sides, BasisGradient basisGradient, GpuStepSettings settings)
{
    private readonly CovarianceSide[] _sides = new CovarianceSide[sides];
    private BatchView<double> _partial;                 // of column sums
    private BatchView<float> _parts;                    // of products over the rows
    private BatchView<float> _coupled;                  // T^T, then A^T; in the place of the first of the parts
    private BatchView<float> _sums;                     // of G, or J_i0 q_i; then f
    private BatchView<float> _constant;                 // c

    private int Rows => shape.Rows;

    private int Columns => shape.Columns;

    private int Pitch => shape.Columns + 1;

    /// <summary>The eigensystems of C.</summary>
    public DecompositionsGpu Decompositions { get; } = new(shape.Columns, sides, isGram: false, settings);

    /// <summary>Takes memory.</summary>
    public void Layout(DeviceArena arena)
    {
        long square = (long)Columns * Columns;
        Decompositions.Layout(arena);
        _partial = arena.EachBatch<double>(ColumnSumGpu.PartialLength(Rows, 2 * Columns));
        _parts = arena.EachBatch(Math.Max(DepthPartsGpu.ScratchLength(Columns, Columns, 2 * Rows), basisGradient == BasisGradient.Exact ? square : 0));
        _coupled = _parts;
        _sums = arena.EachBatch(2L * Columns);
        _constant = arena.EachBatch(Columns);
        for (int side = 0; side < sides; side++)
        {
            _sides[side].Rows = new CentredRows { Delta = arena.EachBatch(Columns), Mean = arena.EachBatch(Columns), Columns = Columns };
            _sides[side].Coordinates = arena.EachBatch((long)Rows * Pitch);
            _sides[side].Gradient = arena.EachBatch((long)Rows * Pitch);
        }
    }

    /// <summary>A side of a run.</summary>
    /// <param name="side">From 0.</param>
    /// <param name="rows">x, N x d.</param>
    /// <param name="kept">m of the sides, side by side.</param>
    public CovarianceSide Side(int side, BatchView<float> rows, BatchView<int> kept)
    {
        CovarianceSide found = _sides[side];
        found.Rows.Unit = rows;
        found.Decomposition = Decompositions.Side(side, kept);
        found.Matrix = Decompositions.Matrices.From((long)side * Columns * Columns);
        return found;
    }

    /// <summary>Enqueues mu and C of a side.</summary>
    public void Covariance(BatchStream stream, CovarianceSide side)
    {
        ColumnSumGpu.Run(
            stream, new ShiftedRows { Rows = side.Rows }, Rows, Columns, 1.0 / Rows, _partial, side.Rows.Delta, line: side.Rows.Unit, withLine: side.Rows.Mean);
        DepthPartsGpu.Run(stream, new GemmArguments<CentredRows, CentredRows, SymmetricResult>
        {
            A = side.Rows, B = side.Rows, C = new() { Data = side.Matrix, Size = Columns }, Rows = Columns, Columns = Columns, Depth = Rows, IsSymmetric = 1,
        }, _parts);
    }

    /// <summary>Enqueues Y and u' of a side.</summary>
    public void Reconstruct(BatchStream stream, CovarianceSide side, BatchView<float> result)
    {
        stream.Multiply(1, new GemmArguments<ProjectedRows, BasisOperand, Coordinates>
        {
            A = side.Centred(Rows), B = side.Basis, C = new() { Queries = side.Coordinates, Keys = side.Coordinates, Rows = Rows, Pitch = Pitch, FirstGroup = 1 },
            Rows = Rows, Columns = Pitch, Depth = Columns, ColumnLimit = side.KeptAndMean,
        });
        stream.Multiply(1, new GemmArguments<StridedMatrix, TransposedBasisOperand, StridedMatrix>
        {
            A = StridedMatrix.Rows(side.Coordinates, Pitch), B = new() { Basis = side.Basis }, C = StridedMatrix.Rows(result, Columns),
            Rows = Rows, Columns = Columns, Depth = Pitch, DepthLimit = side.KeptAndMean,
        });
    }

    /// <summary>Enqueues the rows' gradient from G = dL/du'.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="side">The side, Y included.</param>
    /// <param name="gradRows">G, N x d.</param>
    /// <param name="gradient">Receives dL/dx, N x d.</param>
    /// <param name="isAdded">Whether it is added to what is there.</param>
    public void Gradient(BatchStream stream, CovarianceSide side, BatchView<float> gradRows, BatchView<float> gradient, bool isAdded)
    {
        stream.Multiply(1, new GemmArguments<StridedMatrix, BasisOperand, StridedMatrix>
        {
            A = StridedMatrix.Rows(gradRows, Columns), B = side.Basis, C = StridedMatrix.Rows(side.Gradient, Pitch),
            Rows = Rows, Columns = Pitch, Depth = Columns, ColumnLimit = side.KeptAndMean,
        });
        WeightedRows sum = new() { Data = gradRows, Columns = Columns, Pitch = Columns };
        GradientOfCoordinates(stream, side, side.Coordinates, gradRows, sum, default, gradient, isAdded);
    }

    /// <summary>Enqueues T = first^T second + L^T X + h^T mu, Z, F, c, and the rows' gradient dX + 1 c^T.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="side">The side, Y and L included.</param>
    /// <param name="first">N rows of d + 1.</param>
    /// <param name="second">N x d.</param>
    /// <param name="weighted">What adds up to N times the gradient of the mean: G, or the rows J_i0 q_i; N x d.</param>
    /// <param name="shrunk">h, d + 1; empty: 0.</param>
    /// <param name="gradient">Receives dL/dx, N x d.</param>
    /// <param name="isAdded">Whether it is added to what is there.</param>
    public void GradientOfCoordinates(
        BatchStream stream, CovarianceSide side, BatchView<float> first, BatchView<float> second, WeightedRows weighted, BatchView<float> shrunk,
        BatchView<float> gradient, bool isAdded)
    {
        DeviceLimit kept = new() { Kept = side.Decomposition.Kept };
        weighted.Beside = side.Gradient.From(1);
        weighted.BesidePitch = Pitch;
        ColumnSum(stream, weighted, 2 * Columns, kept with { Extra = Columns }, _sums);
        bool isExact = basisGradient == BasisGradient.Exact;
        if (isExact)
        {
            Couple(stream, side, first, second, shrunk);
        }

        stream.Lines(CovarianceRowsGpu.ConstantKernel, Columns, new MeanGradientArguments
        {
            Weighted = _sums, Shrunk = shrunk, Sums = _sums.From(Columns), Result = _constant, Basis = side.Basis, Rows = Rows,
        });
        stream.Multiply(1, new GemmArguments<GradientCoordinates, GradientDirections, AddedResult>
        {
            A = new() { Direct = side.Gradient, Coordinates = side.Coordinates, IsStopped = isExact ? 0 : 1, Decomposition = side.Decomposition },
            B = new() { Coupled = _coupled, Decomposition = side.Decomposition },
            C = new() { Data = gradient, Constant = _constant, Columns = Columns, IsAdded = isAdded ? 1 : 0 },
            Rows = Rows, Columns = Columns, Depth = 2 * Columns, DepthLimit = kept with { Doubled = isExact ? 1 : 0 },
        });
    }

    /// <summary>Enqueues sums down N rows of up to 2 d columns.</summary>
    public void ColumnSum(BatchStream stream, WeightedRows data, int columns, DeviceLimit limit, BatchView<float> result) =>
        ColumnSumGpu.Run(stream, data, Rows, columns, 1.0, _partial, result, limit);

    // T^T, 2 Z^T, A^T, and F in the place of L: columns are kept vectors
    private void Couple(BatchStream stream, CovarianceSide side, BatchView<float> first, BatchView<float> second, BatchView<float> shrunk)
    {
        DeviceLimit kept = new() { Kept = side.Decomposition.Kept };
        StridedMatrix coupled = StridedMatrix.Columns(_coupled, Columns);
        DepthPartsGpu.Run(stream, new GemmArguments<CouplingComponents, CouplingVectors, CouplingResult>
        {
            A = new() { Queries = second, Keys = side.Rows, Rows = Rows }, B = new() { First = first, Second = side.Gradient, Rows = Rows, Pitch = Pitch },
            C = new() { Data = _coupled, Mean = side.Rows.Mean, Shrunk = shrunk, Size = Columns }, Rows = Columns, Columns = Columns, Depth = 2 * Rows, ColumnLimit = kept,
        }, _parts);
        stream.Multiply(1, new GemmArguments<StridedMatrix, StridedMatrix, CoupledResult>
        {
            A = StridedMatrix.Columns(side.Decomposition.Vectors, Columns), B = coupled, C = new() { Data = side.Matrix, Decomposition = side.Decomposition },
            Rows = Columns, Columns = Columns, Depth = Columns, ColumnLimit = kept,
        });
        stream.Multiply(1, new GemmArguments<StridedMatrix, StridedMatrix, StridedMatrix>
        {
            A = StridedMatrix.Rows(side.Decomposition.Vectors, Columns), B = StridedMatrix.Columns(side.Matrix, Columns), C = StridedMatrix.Rows(_coupled, Columns),
            Rows = Columns, Columns = Columns, Depth = Columns, ColumnLimit = kept,
        });
        stream.Multiply(1, new GemmArguments<ProjectedRows, StridedMatrix, RowGradient>
        {
            A = side.Centred(Rows), B = coupled, C = new() { Direct = side.Gradient, Decomposition = side.Decomposition },
            Rows = Rows, Columns = Columns, Depth = Columns, ColumnLimit = kept,
        });
    }
}
