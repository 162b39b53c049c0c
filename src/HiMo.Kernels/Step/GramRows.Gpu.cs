// SPDX-License-Identifier: Apache-2.0
// Sums along rows in the N x N form, beside products: lengths of reconstructed rows, their share of the gradient, and what a row's gradient has along the row itself.
//            r_j = 1 / |u'_j|,  |u'_j|^2 = (M x x^T M)_jj,      g_j = r_j^2 sum_i D_ij C_ij, C the scaled cosines
//            g . y = sum_k E1_ik A_ik + sum_k E2_ik (y y^T)_ik for a unit query y; a unit key's likewise, with columns of E1 and A
//            (E2 y y^T)_ii = sum_a F_ia (y y^T W)_ia - s sum_k M*_ik g_k (M y y^T)_ki, which needs no E2
// Mapping    a warp a row of a side; for g . y one thread group more adds up the losses. Every warp of a thread group goes the same way: IGemmLines.
// Precision  lengths and g . y in float64, g_j in float32.
// Determinism  a lane adds every 32nd element, four at a time for g . y, then the lanes by five exchanges: the order follows from N.
// Limits     N up to 3,840, as the eigenproblem's.
using System.Runtime.CompilerServices;
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

/// <summary>r of each side; a row without a direction gets 0.</summary>
internal struct LengthLines : IGemmLines
{
    private const double MinSquare = 1.0 / (1 << 22); // below, float32 cannot tell a reconstructed row from zero

    public ReconstructedSide Sides;

    /// <summary>Rows of all sides.</summary>
    public int Rows;

    /// <inheritdoc/>
    public readonly int Groups(int warps) => RowOfWarp.Groups(Rows, warps);

    /// <inheritdoc/>
    public readonly void Run(int group)
    {
        RowOfWarp own = new(group, Rows);
        int n = Sides.Size;
        ArrayView<float> product = Sides.Product.OwnFrom((long)own.Row * n);
        ArrayView<float> reconstruction = Sides.Reconstruction.OwnFrom((long)own.Row * n);
        double square = 0.0;
        for (int k = Group.IdxX % Gpu.WarpSize; k < n; k += Gpu.WarpSize)
        {
            square += (double)product[k] * reconstruction[k];
        }

        square = GroupSum.Warp(square);
        if (own.Writes != 0)
        {
            Sides.Scale[own.Row] = square > MinSquare ? (float)(1.0 / XMath.Sqrt(square)) : 0.0f;
        }
    }
}

/// <summary>s g of each side.</summary>
internal struct ShrinkLines : IGemmLines
{
    public ReconstructedSide Sides;
    public LogitStatistics Logits;

    /// <summary>Rows of all sides.</summary>
    public int Rows;

    /// <inheritdoc/>
    public readonly int Groups(int warps) => RowOfWarp.Groups(Rows, warps);

    /// <inheritdoc/>
    public readonly void Run(int group)
    {
        RowOfWarp line = new(group, Rows);
        int n = Sides.Size;
        bool isKeys = line.Row < n; // their rows are the logits' columns
        int own = isKeys ? line.Row : line.Row - n;
        float scale = Logits.Scale;
        float sum = 0.0f;
        for (int k = Group.IdxX % Gpu.WarpSize; k < n; k += Gpu.WarpSize)
        {
            int row = isKeys ? k : own;
            int column = isKeys ? own : k;
            float cosine = Logits.Cosine(1, row, column) * Logits.ComponentScale(row, column);
            sum += cosine * Logits.Share(1, cosine, row, column, scale, isOfImages: !isKeys);
        }

        sum = GroupSum.Warp(sum);
        if (line.Writes != 0)
        {
            Sides.Shrink[line.Row] = scale * Sides.Scale[line.Row] * Sides.Scale[line.Row] * sum;
        }
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
    public ReconstructedSide Sides;

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
        int lane = Group.IdxX % Gpu.WarpSize;
        int n = Logits.Size;
        if (group * (Group.DimX / Gpu.WarpSize) >= 2 * n)
        {
            Summary.Write(Logits, lane, writes: Group.IdxX == 0);
            return; // the whole group leaves
        }

        RowOfWarp line = new(group, 2 * n);
        bool isQuery = line.Row < n;
        int row = isQuery ? line.Row : line.Row - n;
        int side = isQuery ? HasQueries : 0;
        long square = (long)n * n;
        AlongRow own = new()
        {
            First = First.OwnFrom(isQuery ? (long)row * n : square + row), Cosines = Logits.Cosines.OwnFrom(isQuery ? (long)row * n : row), Step = isQuery ? 1 : n,
            Factor = Factor.OwnFrom((side * square) + ((long)row * n)), TurnedGrams = TurnedGrams.OwnFrom((side * square) + ((long)row * n)), Size = n,
            HasSide = !isQuery | HasQueries != 0 ? 1 : 0,
        };
        double sum = 0.0;
        for (int k = lane; k < n; k += 4 * Gpu.WarpSize)
        {
            sum += own.Term(k) + own.Term(k + Gpu.WarpSize) + (own.Term(k + (2 * Gpu.WarpSize)) + own.Term(k + (3 * Gpu.WarpSize)));
        }

        if (!Sides.Shrink.IsEmpty & own.HasSide != 0)
        {
            sum -= Shrunk(side, row, lane);
        }

        sum = GroupSum.Warp(sum);
        if (line.Writes != 0)
        {
            Along[line.Row] = (float)sum;
        }
    }

    // A lane's part of s sum_k M*_ik g_k (M x x^T)_ki.
    private readonly double Shrunk(int side, int row, int lane)
    {
        int n = Logits.Size;
        ArrayView<float> reconstruction = Sides.Reconstruction.OwnFrom(((long)side * n * n) + ((long)row * n));
        ArrayView<float> product = Sides.Product.OwnFrom(((long)side * n * n) + row);
        ArrayView<float> shrink = Sides.Shrink.OwnFrom((long)side * n);
        double sum = 0.0;
        for (int k = lane; k < n; k += Gpu.WarpSize)
        {
            float back = Sides.IsStopped != 0 ? 1.0f / n : reconstruction[k];
            sum += (double)back * shrink[k] * product[(long)k * n];
        }

        return sum;
    }
}

/// <summary>What <see cref="AlongLines"/> multiply of one row.</summary>
internal struct AlongRow
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

    /// <summary>N.</summary>
    public int Size;

    /// <summary>0: the row's side is not reconstructed.</summary>
    public int HasSide;

    /// <summary>One step of g . y, 0 behind the end; no branch around a load, so that four steps wait together.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly double Term(int step)
    {
        int k = XMath.Min(step, Size - 1);
        double first = (double)First[(long)k * Step] * Cosines[(long)k * Step];
        double second = (double)Factor[k] * TurnedGrams[k];
        return step < Size ? first + (HasSide != 0 ? second : 0.0) : 0.0;
    }
}
