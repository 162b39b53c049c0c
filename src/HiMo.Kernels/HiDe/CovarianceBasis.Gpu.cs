// SPDX-License-Identifier: Apache-2.0
// HiDe by the covariance on the GPU, for N > d: the decomposition of one side or two, reconstruction and derivative.
//            C = X^T X = W Lambda W^T,  Y = [1, X W],  u' = Y [mu, W]^T over the first m + 1 columns   HiMo-CLIP (arXiv:2511.06653), equation 1
// Backward   with L = G W for the gradient G of u', the rows get F W^T + 1 c^T,  c as in CovarianceRows.Gpu.cs
//            exact:    F = L over the kept vectors + 2 Y Z,  Z = coupling of Y^T L + L^T Y (kept x dropped)
//            stopped:  F = L over the kept vectors
// Launches   3 a side and the eigensystem's; Y: 1; u': 1; backward from L: 6, 4 stopped; L: 1, and 2 for sum G; one more for C and for Z in parts.
// Precision  the error of float32.

namespace HiMo.Kernels;

/// <summary>One side in the basis of its components.</summary>
internal struct CovarianceSide
{
    public CentredRows Rows;
    public Decomposition Decomposition;

    /// <summary>Y, N rows of d + 1.</summary>
    public BatchView<float> Coordinates;

    /// <summary>L, N rows of d + 1; column 0 is not used.</summary>
    public BatchView<float> Gradient;

    /// <summary>mu, then W.</summary>
    public readonly BasisOperand Basis => new() { Rows = Rows, Decomposition = Decomposition };

    /// <summary>m + 1.</summary>
    public readonly DeviceLimit KeptAndMean => new() { Kept = Decomposition.Kept, Extra = 1 };
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
    private BatchView<float> _coupling;                 // Z
    private BatchView<float> _weighted;                 // sum of G
    private BatchView<float> _sums;                     // f
    private BatchView<float> _constant;                 // c

    private int Rows => shape.Rows;

    private int Columns => shape.Columns;

    private int Pitch => shape.Columns + 1;

    /// <summary>The eigensystems of C.</summary>
    public DecompositionsGpu Decompositions { get; } = new(shape.Columns, sides, isGram: false, settings);

    /// <summary>Receives sum_i J_i0 q_i, d, before <see cref="GradientOfCoordinates"/>.</summary>
    public BatchView<float> Weighted => _weighted;

    /// <summary>Takes memory.</summary>
    public void Layout(DeviceArena arena)
    {
        long square = (long)Columns * Columns;
        Decompositions.Layout(arena);
        _partial = arena.EachBatch<double>(ColumnSumGpu.PartialLength(Pitch));
        bool isExact = basisGradient == BasisGradient.Exact;
        _parts = arena.EachBatch(DepthPartsGpu.ScratchLength(Columns, Columns, (2 * Rows) + 1));
        _coupling = isExact ? arena.EachBatch(square) : default;
        _weighted = arena.EachBatch(Columns);
        _sums = arena.EachBatch(Columns);
        _constant = arena.EachBatch(Columns);
        for (int side = 0; side < sides; side++)
        {
            _sides[side].Rows = new CentredRows { Delta = arena.EachBatch(Columns), Columns = Columns };
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
        return found;
    }

    /// <summary>Enqueues mu and C of a side.</summary>
    public void Covariance(BatchStream stream, int side, CentredRows rows)
    {
        long square = (long)Columns * Columns;
        ColumnSum(stream, new ShiftedRows { Rows = rows }, Columns, 1.0 / Rows, rows.Delta);
        DepthPartsGpu.Run(stream, new GemmArguments<CentredRows, CentredRows, StridedMatrix>
        {
            A = rows, B = rows, C = StridedMatrix.Rows(Decompositions.Matrices.From(side * square), Columns), Rows = Columns, Columns = Columns, Depth = Rows,
        }, _parts);
    }

    /// <summary>Enqueues Y and u' of a side.</summary>
    public void Reconstruct(BatchStream stream, CovarianceSide side, BatchView<float> result)
    {
        stream.Multiply(1, new GemmArguments<ProjectedRows, BasisOperand, Coordinates>
        {
            A = new() { Queries = side.Rows.Unit, Keys = side.Rows, Rows = Rows, FirstGroup = 1 }, B = side.Basis,
            C = new() { Queries = side.Coordinates, Keys = side.Coordinates, Rows = Rows, Pitch = Pitch, FirstGroup = 1 }, Rows = Rows, Columns = Pitch, Depth = Columns,
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
            A = StridedMatrix.Rows(gradRows, Columns), B = side.Basis, C = StridedMatrix.Rows(side.Gradient, Pitch), Rows = Rows, Columns = Pitch, Depth = Columns,
        });
        ColumnSum(stream, new WeightedRows { Data = gradRows, Pitch = Columns }, Columns, 1.0, _weighted);
        GradientOfCoordinates(stream, side, side.Coordinates, side.Gradient, default, gradient, isAdded);
    }

    /// <summary>Enqueues Z from first^T second + L^T Y, F, c, and the rows' gradient F W^T + 1 c^T, with <see cref="Weighted"/> filled in.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="side">The side, Y and L included.</param>
    /// <param name="first">N or, with <paramref name="shrunk"/>, N + 1 rows of d + 1.</param>
    /// <param name="second">As <paramref name="first"/>.</param>
    /// <param name="shrunk">h, d + 1; empty: 0.</param>
    /// <param name="gradient">Receives dL/dx, N x d.</param>
    /// <param name="isAdded">Whether it is added to what is there.</param>
    public void GradientOfCoordinates(
        BatchStream stream, CovarianceSide side, BatchView<float> first, BatchView<float> second, BatchView<float> shrunk, BatchView<float> gradient, bool isAdded)
    {
        RowGradient rows = new() { Direct = side.Gradient, IsExact = basisGradient == BasisGradient.Exact ? 1 : 0, Decomposition = side.Decomposition };
        if (basisGradient == BasisGradient.Exact)
        {
            CouplingOperand left = new() { First = first, Second = side.Gradient, Decomposition = side.Decomposition, Rows = Rows, Pitch = Pitch, OnlyKept = 1 };
            DepthPartsGpu.Run(stream, new GemmArguments<CouplingOperand, CouplingOperand, CrossCoupledResult>
            {
                A = left, B = left with { First = second, Second = side.Coordinates, OnlyKept = 0 }, C = new() { Data = _coupling, Decomposition = side.Decomposition },
                Rows = Columns, Columns = Columns, Depth = (2 * Rows) + (shrunk.IsEmpty ? 0 : 1),
            }, _parts);
            stream.Multiply(1, new GemmArguments<StridedMatrix, StridedMatrix, RowGradient>
            {
                A = StridedMatrix.Rows(side.Coordinates.From(1), Pitch), B = StridedMatrix.Rows(_coupling, Columns), C = rows,
                Rows = Rows, Columns = Columns, Depth = Columns,
            });
        }

        ColumnSum(stream, rows, Columns, 1.0, _sums);
        stream.Lines(CovarianceRowsGpu.ConstantKernel, Columns, new MeanGradientArguments
        {
            Weighted = _weighted, Shrunk = shrunk, Sums = _sums, Result = _constant, Basis = side.Basis, Rows = Rows,
        });
        stream.Multiply(1, new GemmArguments<RowGradient, StridedMatrix, AddedResult>
        {
            A = rows, B = StridedMatrix.Rows(side.Decomposition.Vectors, Columns),
            C = new() { Data = gradient, Constant = _constant, Columns = Columns, IsAdded = isAdded ? 1 : 0 }, Rows = Rows, Columns = Columns, Depth = Columns,
        });
    }

    /// <summary>Enqueues sums down N rows of up to d + 1 columns.</summary>
    public void ColumnSum<T>(BatchStream stream, T data, int columns, double factor, BatchView<float> result)
        where T : struct, IGemmOperand =>
        ColumnSumGpu.Run(stream, data, Rows, columns, factor, _partial, result);
}
