// SPDX-License-Identifier: Apache-2.0
// Sums along rows in the N x N form, beside products: lengths of reconstructed rows, their share of the gradient, and what a row's gradient has along the row itself.
//            r_j = 1 / |u'_j|,  |u'_j|^2 = (M x x^T M)_jj,      g_j = r_j^2 sum_i D_ij C_ij, C the scaled cosines
//            g . y = sum_k E1_ik A_ik + sum_k E2_ik (y y^T)_ik for a unit query y; a unit key's likewise, with columns of E1 and A
//            (E2 y y^T)_ii = sum_a F_ia (y y^T W)_ia - s sum_k M*_ik g_k (M y y^T)_ki, which needs no E2
// Mapping    a warp a row of a side; for g . y one thread group more adds up the losses. Every warp of a thread group goes the same way: IGemmLines.
// Precision  sums in float64, results in float32. E2's own rounding along y stays in the gradient, where g . y from E2 would take it out: it is of the size of what its rounding leaves elsewhere.
// Determinism  as LineSum: the order follows from N.
// Limits     N up to 3,840, as the eigenproblem's.
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>A warp's row of those that some thread groups go through.</summary>
internal readonly struct RowOfWarp
{
    /// <summary>The row; the last one again behind the end.</summary>
    public readonly int Row;

    /// <summary>1: the lane writes the row's result.</summary>
    public readonly int Writes;

    /// <param name="group">Thread group.</param>
    /// <param name="rows">All rows.</param>
    public RowOfWarp(int group, int rows)
    {
        int row = (group * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        Row = XMath.Min(row, rows - 1);
        Writes = Group.IdxX % Gpu.WarpSize == 0 & row < rows ? 1 : 0;
    }

    /// <summary>Thread groups of some warps that go through some rows.</summary>
    public static int Groups(int rows, int warps) => (rows + warps - 1) / warps;
}

/// <summary>Elements of two lines, one times the other.</summary>
internal struct ProductTerm : ILineTerm
{
    /// <summary>From the lines' first elements on.</summary>
    public ArrayView<float> First;

    /// <inheritdoc cref="First"/>
    public ArrayView<float> Second;

    /// <inheritdoc/>
    public readonly double At(int place) => (double)First[place] * Second[place];
}

/// <summary>r of each side; a row without a direction gets 0.</summary>
internal struct LengthLines : IGemmLines
{
    private const double MinSquare = 1.0 / (1 << 22); // below, float32 cannot tell a reconstructed row from zero

    public ReconstructedSide Reconstructed;

    /// <summary>Rows of all sides.</summary>
    public int Rows;

    /// <inheritdoc/>
    public readonly int Groups(int warps) => RowOfWarp.Groups(Rows, warps);

    /// <inheritdoc/>
    public readonly void Run(int group)
    {
        RowOfWarp own = new(group, Rows);
        int n = Reconstructed.Size;
        ProductTerm term = new() { First = Reconstructed.Product.OwnFrom((long)own.Row * n), Second = Reconstructed.Reconstruction.OwnFrom((long)own.Row * n) };
        double square = LineSum.Of(term, n);
        if (own.Writes != 0)
        {
            Reconstructed.Scale[own.Row] = square > MinSquare ? (float)(1.0 / XMath.Sqrt(square)) : 0.0f;
        }
    }
}

/// <summary>s g of each side.</summary>
internal struct ShrinkLines : IGemmLines
{
    public ReconstructedSide Reconstructed;
    public LogitStatistics Logits;

    /// <summary>Rows of all sides.</summary>
    public int Rows;

    /// <inheritdoc/>
    public readonly int Groups(int warps) => RowOfWarp.Groups(Rows, warps);

    /// <inheritdoc/>
    public readonly void Run(int group)
    {
        RowOfWarp own = new(group, Rows);
        int n = Reconstructed.Size;
        bool isKeys = own.Row < n; // their rows are the logits' columns
        double sum = LineSum.Of(new ShrinkTerm { Logits = Logits, Scale = Logits.Scale, Row = isKeys ? own.Row : own.Row - n, IsKeys = isKeys ? 1 : 0 }, n);
        if (own.Writes != 0)
        {
            Reconstructed.Shrink[own.Row] = Logits.Scale * Reconstructed.Scale[own.Row] * Reconstructed.Scale[own.Row] * (float)sum;
        }
    }
}

/// <summary>D_ij C_ij.</summary>
internal struct ShrinkTerm : ILineTerm
{
    public LogitStatistics Logits;

    /// <summary>s.</summary>
    public float Scale;

    /// <summary>Row of the side.</summary>
    public int Row;

    /// <summary>1: of the keys.</summary>
    public int IsKeys;

    /// <inheritdoc/>
    public readonly double At(int place)
    {
        int row = IsKeys != 0 ? place : Row;
        int column = IsKeys != 0 ? Row : place;
        float cosine = Logits.Cosine(1, row, column) * Logits.ComponentScale(row, column);
        return (double)cosine * Logits.Share(1, cosine, row, column, Scale, isOfImages: IsKeys == 0);
    }
}

/// <summary>g . y of each row of the unit queries, then of the unit keys; and the step's numbers.</summary>
internal struct AlongLines : IGemmLines
{
    /// <summary>The queries' E1, the keys' E1; N x N each.</summary>
    public BatchView<float> First;

    /// <summary>F of the keys, then, where both sides are reconstructed, of the queries; N x N each, as what follows.</summary>
    public BatchView<float> Factor;

    /// <summary>x x^T W.</summary>
    public BatchView<float> TurnedGrams;
    public ReconstructedSide Reconstructed;

    /// <summary>1: both sides are reconstructed.</summary>
    public int HasQueries;
    public LogitStatistics Logits;
    public StepSummary Summary;

    /// <summary>Receives g . y; 2 N.</summary>
    public BatchView<float> Along;

    /// <inheritdoc/>
    public readonly int Groups(int warps) => RowOfWarp.Groups(2 * Logits.Size, warps) + 1;

    /// <inheritdoc/>
    public readonly void Run(int group)
    {
        int n = Logits.Size;
        if (group * (Group.DimX / Gpu.WarpSize) >= 2 * n)
        {
            Summary.Write(Logits, lane: Group.IdxX % Gpu.WarpSize, writes: Group.IdxX == 0);
            return; // the whole group leaves
        }

        RowOfWarp own = new(group, 2 * n);
        bool isQuery = own.Row < n;
        int row = isQuery ? own.Row : own.Row - n;
        long square = (long)n * n, start = (isQuery & HasQueries != 0 ? square : 0) + ((long)row * n);
        double sum = LineSum.Of(
            new AlongTerm
            {
                First = First.OwnFrom(isQuery ? (long)row * n : square + row), Cosines = Logits.Cosines.OwnFrom(isQuery ? (long)row * n : row), Step = isQuery ? 1 : n,
                Factor = Factor.OwnFrom(start), TurnedGrams = TurnedGrams.OwnFrom(start), HasSide = !isQuery | HasQueries != 0 ? 1 : 0,
            }, n);
        if (!Reconstructed.Shrink.IsEmpty) // the same for every warp; a side that is not reconstructed takes the other's and leaves it
        {
            double shrunk = LineSum.Of(
                new ShrunkTerm
                {
                    Reconstruction = Reconstructed.Reconstruction.OwnFrom(start), Product = Reconstructed.Product.OwnFrom(start - ((long)row * n) + row),
                    Shrink = Reconstructed.Shrink.OwnFrom(isQuery & HasQueries != 0 ? n : 0), Size = n, IsStopped = Reconstructed.IsStopped,
                }, n);
            sum -= !isQuery | HasQueries != 0 ? shrunk : 0.0;
        }

        if (own.Writes != 0)
        {
            Along[own.Row] = (float)sum;
        }
    }
}

/// <summary>One term of g . y, without what lengths take out.</summary>
internal struct AlongTerm : ILineTerm
{
    /// <summary>From E1's and A's first element of the row, or column, on.</summary>
    public ArrayView<float> First;

    /// <inheritdoc cref="First"/>
    public ArrayView<float> Cosines;

    /// <summary>From one of these to the next.</summary>
    public int Step;

    /// <summary>From F's and x x^T W's first element of the row on.</summary>
    public ArrayView<float> Factor;

    /// <inheritdoc cref="Factor"/>
    public ArrayView<float> TurnedGrams;

    /// <summary>0: the row's side is not reconstructed.</summary>
    public int HasSide;

    /// <inheritdoc/>
    public readonly double At(int place)
    {
        double first = (double)First[(long)place * Step] * Cosines[(long)place * Step];
        double second = (double)Factor[place] * TurnedGrams[place];
        return first + (HasSide != 0 ? second : 0.0);
    }
}

/// <summary>s M*_ik g_k (M x x^T)_ki.</summary>
internal struct ShrunkTerm : ILineTerm
{
    /// <summary>From M's first element of the row on.</summary>
    public ArrayView<float> Reconstruction;

    /// <summary>From the first element of the column of M x x^T on.</summary>
    public ArrayView<float> Product;

    /// <summary>s g of the side.</summary>
    public ArrayView<float> Shrink;

    /// <summary>N.</summary>
    public int Size;

    /// <summary>1: the directions are constants.</summary>
    public int IsStopped;

    /// <inheritdoc/>
    public readonly double At(int place)
    {
        float kept = Reconstruction[place];
        float back = IsStopped != 0 ? 1.0f / Size : kept;
        return (double)back * Shrink[place] * Product[(long)place * Size];
    }
}
