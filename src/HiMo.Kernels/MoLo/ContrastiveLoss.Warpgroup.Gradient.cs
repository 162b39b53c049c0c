// SPDX-License-Identifier: Apache-2.0
// The backward pass of ContrastiveLoss.Gpu.Gradient.cs on packed bf16 factors, for Hopper's warpgroup instructions.
// Words      at the heads of ContrastiveLoss.Gpu.Statistics.cs, ILGPU's, and of ContrastiveLoss.Warpgroup.Statistics.cs, a tile's.
// Mapping    tiles of 128 x 128, a group each, in blocks of eight rows of tiles, so that what the chip works on at a time stays in the second-level cache.
//            D is computed in the registers that hold its logits and stored twice, packed as the left operand of dQ = D K and, transposed, of dK = D^T Q.
// Exponentials  l: log2 of a line's sum; L: the largest of a tile's 256. One exponential an element, e_ij = 2^(S_ij log2 e - L), D_ij = e_ij (w_row 2^(L - l_i)
//            + w_column 2^(L - l_j)) - smoothing, while the lines' l differ by no more than Narrow; else two.
// Precision  D in float32, rounded to bf16 when it is stored; exponentials of base 2, with log2 of the sums inside.
// Determinism  as there.
// Limits     D in one part: with gatherWithGrad. sm_90a or the emulation, groups of 256 threads.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Where a group's tile of a grid of tiles is.</summary>
internal static class TileOrder
{
    private const int Height = 8;

    /// <summary>Row of tiles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Row() => First() + (Within() % Math.Min(Height, Grid.DimY - First()));

    /// <summary>Column of tiles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Column() => Within() / Math.Min(Height, Grid.DimY - First());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int First() => ((Grid.IdxY * Grid.DimX) + Grid.IdxX) / (Height * Grid.DimX) * Height;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Within() => ((Grid.IdxY * Grid.DimX) + Grid.IdxX) % (Height * Grid.DimX);
}

/// <summary>Arguments of <see cref="WarpgroupGradientGpu.DerivativeKernel"/>.</summary>
internal struct WarpgroupStrip
{
    public BranchStatistics Statistics;
    public PackedFactors Queries;
    public PackedFactors Keys;
    public DeviceLimit Depths;

    /// <summary>Receives D of the strip: its rows x N.</summary>
    public PackedFactors Derivative;

    /// <summary>Receives D^T.</summary>
    public PackedFactors Transposed;

    /// <summary>First row of the strip, a multiple of the tile.</summary>
    public int FirstRow;
}

/// <summary>Arguments of <see cref="WarpgroupGradientGpu.ProductKernel"/>.</summary>
internal struct WarpgroupProduct
{
    public PackedFactors Left;
    public PackedFactors Right;

    /// <summary>Where the depth of the right operand begins, in tiles.</summary>
    public int FirstDepthTile;

    /// <summary>Tiles along the depth.</summary>
    public int DepthTiles;
    public int Rows;
    public int Columns;
    public DeviceLimit ColumnLimit;
    public FactorGradient Result;
}

/// <summary>The kernels.</summary>
internal static class WarpgroupGradientGpu
{
    // 2^100 and its inverse are float32 numbers, and so is their product with anything here. At the other end a share R_ij below 2^-26 may become 0 where a line
    // lies 2^100 below the tile's largest: N 2^-26 of its mass at most, less than bf16 leaves.
    private const float Narrow = 100.0f;

    // A shift that leaves nothing of an exponential.
    private const float Vanishing = 1e30f;

    /// <summary>A tile of D.</summary>
    [ResidentGroups(2)] // one multiplies while the other one works on its results
    public static void DerivativeKernel(WarpgroupStrip p)
    {
        ArrayView<uint> ring = SharedMemory.GetDynamic<uint>();
        ArrayView<float> shifts = SharedMemory.Allocate<float>(2 * WarpgroupMma.Tile);      // of the columns, then of the rows
        ArrayView<float> factors = SharedMemory.Allocate<float>(2 * WarpgroupMma.Tile);
        ArrayView<float> ends = SharedMemory.Allocate<float>(TileRange.SharedLength);
        int branch = Grid.IdxZ;
        int rowTile = TileOrder.Row();
        int columnTile = TileOrder.Column();
        int firstRow = p.FirstRow + (rowTile * WarpgroupMma.Tile);
        int firstColumn = columnTile * WarpgroupMma.Tile;
        PackedMatrix queries = p.Queries.Of(branch);
        PackedMatrix keys = p.Keys.Of(branch);
        int depth = PackedMatrix.DepthTilesOf(p.Depths.Apply(branch, int.MaxValue - PackedMatrix.TileDepth));
        WarpgroupMma.Begin(ring, queries.Words, queries.Tile(firstRow / WarpgroupMma.Tile, 0), keys.Words, keys.Tile(columnTile, 0), depth, 0);
        long lines = (long)branch * p.Statistics.Lines;
        bool isColumn = Group.IdxX < WarpgroupMma.Tile;
        int line = Group.IdxX % WarpgroupMma.Tile;
        float shift = isColumn && p.Statistics.HasColumns != 0
            ? Shift(p.Statistics, lines + p.Statistics.Rows, firstColumn + line, p.Statistics.Columns)
            : Shift(p.Statistics, lines, firstRow + line, p.Statistics.Rows);
        shifts[Group.IdxX] = isColumn && p.Statistics.HasColumns == 0 ? Vanishing : shift;
        TileRange range = new() { Largest = shift, Smallest = shift };
        range.Share(ends);
        range.End(ends);
        factors[Group.IdxX] = (isColumn ? p.Statistics.ColumnWeight(branch) : p.Statistics.RowWeight(branch)) * Exp2.Approximate(range.Largest - shift); // read behind the product's barriers
        float scale = p.Statistics.Scale * LogitStatistics.Log2E;
        WarpgroupTile tile = WarpgroupMma.Multiply(ring, queries.Words, queries.Tile(firstRow / WarpgroupMma.Tile, 0), keys.Words, keys.Tile(columnTile, 0), depth, 0);
        float smoothing = (p.Statistics.RowWeight(branch) * p.Statistics.LabelSmoothing / p.Statistics.Columns) + (p.Statistics.ColumnWeight(branch) * p.Statistics.LabelSmoothing / p.Statistics.Rows);
        int upper = WarpgroupMma.Tile + WarpgroupTileVisits.Row();
        int row = firstRow + WarpgroupTileVisits.Row();
        if (range.Largest - range.Smallest <= Narrow)
        {
            NarrowDerivative narrow = new()
            {
                Factors = FromFirstColumn(factors), Upper = factors[upper], Lower = factors[upper + 8], Scale = scale, Shift = range.Largest, Smoothing = smoothing,
            };
            WarpgroupTileVisits.Visit(ref tile, ref narrow);
        }
        else
        {
            Derivative wide = new()
            {
                Shifts = FromFirstColumn(shifts), Upper = shifts[upper], Lower = shifts[upper + 8], Scale = scale, Smoothing = smoothing,
                Weight = p.Statistics.RowWeight(branch),
            };
            WarpgroupTileVisits.Visit(ref tile, ref wide);
        }

        int diagonal = firstRow + p.Statistics.TargetOffset - firstColumn;
        bool isWhole = firstRow + WarpgroupMma.Tile <= p.Statistics.Rows && firstColumn + WarpgroupMma.Tile <= p.Statistics.Columns;
        if (!isWhole || (diagonal > -WarpgroupMma.Tile && diagonal < WarpgroupMma.Tile))
        {
            Targets targets = Targets.Of(p.Statistics, branch, row, firstColumn, smoothing);
            WarpgroupTileVisits.Visit(ref tile, ref targets);
        }

        GroupBarrier.Wait(); // the ring is free: D and D^T meet in it and leave in one piece each
        int start = WarpgroupMma.AlignedStart(ring);
        Stores stores = Stores.Of(ring.SubView(start, 4 * PackedMatrix.TileLength));
        WarpgroupTileVisits.Visit(ref tile, ref stores);
        PackedMatrix result = p.Derivative.Of(branch);
        PackedMatrix transposed = p.Transposed.Of(branch);
        WarpgroupMma.StoreTiles(ring, start, result.Words, result.Tile(rowTile, 2 * columnTile), transposed.Words, transposed.Tile(columnTile, 2 * rowTile));
    }

    /// <summary>A tile of dQ or dK.</summary>
    [ResidentGroups(2)] // one multiplies while the other one works on its results
    public static void ProductKernel(WarpgroupProduct p)
    {
        ArrayView<uint> ring = SharedMemory.GetDynamic<uint>();
        int branch = Grid.IdxZ;
        int rowTile = TileOrder.Row();
        int columnTile = TileOrder.Column();
        int columns = p.ColumnLimit.Apply(branch, p.Columns);
        if (columnTile * WarpgroupMma.Tile >= columns)
        {
            return; // the whole group leaves
        }

        PackedMatrix left = p.Left.Of(branch);
        PackedMatrix right = p.Right.Of(branch);
        WarpgroupMma.Begin(ring, left.Words, left.Tile(rowTile, 0), right.Words, right.Tile(columnTile, p.FirstDepthTile), p.DepthTiles, 0);
        WarpgroupTile tile = WarpgroupMma.Multiply(ring, left.Words, left.Tile(rowTile, 0), right.Words, right.Tile(columnTile, p.FirstDepthTile), p.DepthTiles, 0);
        GradientStores stores = new()
        {
            Result = p.Result, Branch = branch, Row = (rowTile * WarpgroupMma.Tile) + WarpgroupTileVisits.Row(), Rows = p.Rows,
            FirstColumn = columnTile * WarpgroupMma.Tile, Columns = columns, Scale = p.Result.Prepare(branch, 0),
        };
        WarpgroupTileVisits.Visit(ref tile, ref stores);
    }

    // A tile's columns from the thread's first one: constant places in a view are free, others cost a register each.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ArrayView<float> FromFirstColumn(ArrayView<float> columns) =>
        columns.SubView(WarpgroupTileVisits.Column(0), WarpgroupMma.Tile - WarpgroupTileVisits.Column(0));

    // log2 of the sum of a line's exponentials; outside of the matrix of its last line.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Shift(BranchStatistics statistics, long first, int line, int lines)
    {
        long index = first + Math.Min(line, lines - 1);
        return (statistics.Largest[index] * LogitStatistics.Log2E) - XMath.Log2(statistics.Inverse[index]);
    }

    /// <summary>Cosines become elements of D, targets apart.</summary>
    private struct NarrowDerivative : ITileVisitor
    {
        public ArrayView<float> Factors;
        public float Upper;
        public float Lower;
        public float Scale;
        public float Shift;
        public float Smoothing;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Visit(ref Float4 value, int field)
        {
            float left = Factors[8 * field];
            float right = Factors[(8 * field) + 1];
            value.X = Of(value.X, Upper + left);
            value.Y = Of(value.Y, Upper + right);
            value.Z = Of(value.Z, Lower + left);
            value.W = Of(value.W, Lower + right);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly float Of(float cosine, float factor) => (Exp2.Approximate((cosine * Scale) - Shift) * factor) - Smoothing;
    }

    /// <summary>The same where one unit does not fit all lines.</summary>
    private struct Derivative : ITileVisitor
    {
        public ArrayView<float> Shifts;
        public float Upper;
        public float Lower;
        public float Scale;
        public float Weight;
        public float Smoothing;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Visit(ref Float4 value, int field)
        {
            float left = Shifts[8 * field];
            float right = Shifts[(8 * field) + 1];
            value.X = Of(value.X, Upper, left);
            value.Y = Of(value.Y, Upper, right);
            value.Z = Of(value.Z, Lower, left);
            value.W = Of(value.W, Lower, right);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly float Of(float cosine, float rowShift, float columnShift)
        {
            // The larger of both shares, and the other one relative to it (0 where columns do not count, whose shift is Vanishing then): so nothing can be computed before
            // the column's shift is there, and kept until then.
            float larger = Exp2.Approximate((cosine * Scale) - XMath.Min(rowShift, columnShift));
            float smaller = larger * Exp2.Approximate(-XMath.Abs(rowShift - columnShift));
            return (Weight * (larger + smaller)) - Smoothing;
        }
    }

    /// <summary>D of the targets, from the share of the others, and zeros outside of the matrix. Columns count from the thread's first one.</summary>
    private struct Targets : ITileVisitor
    {
        public int UpperEnd;
        public int LowerEnd;
        public int UpperTarget;
        public int LowerTarget;
        public float UpperValue;
        public float LowerValue;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Targets Of(BranchStatistics p, int branch, int row, int firstColumn, float smoothing)
        {
            int column = firstColumn + WarpgroupTileVisits.Column(0);
            return new()
            {
                UpperEnd = row < p.Rows ? p.Columns - column : 0, LowerEnd = row + 8 < p.Rows ? p.Columns - column : 0,
                UpperTarget = row + p.TargetOffset - column, LowerTarget = row + 8 + p.TargetOffset - column,
                UpperValue = Value(p, branch, row, smoothing), LowerValue = Value(p, branch, row + 8, smoothing),
            };
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Visit(ref Float4 value, int field)
        {
            value.X = Of(value.X, 8 * field, UpperEnd, UpperTarget, UpperValue);
            value.Y = Of(value.Y, (8 * field) + 1, UpperEnd, UpperTarget, UpperValue);
            value.Z = Of(value.Z, 8 * field, LowerEnd, LowerTarget, LowerValue);
            value.W = Of(value.W, (8 * field) + 1, LowerEnd, LowerTarget, LowerValue);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static float Of(float other, int column, int end, int target, float targetValue) =>
            column >= end ? 0.0f : column == target ? targetValue : other;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static float Value(BranchStatistics p, int branch, int row, float smoothing)
        {
            float value = 0.0f;
            if (row < p.Rows)
            {
                long line = ((long)branch * p.Lines) + row;
                value = (p.RowWeight(branch) * (p.LabelSmoothing - p.Miss[line])) - smoothing;
                if (p.HasColumns != 0)
                {
                    value += p.RowWeight(branch) * (p.LabelSmoothing - p.Miss[line + p.Rows + p.TargetOffset]);
                }
            }

            return value;
        }
    }

    /// <summary>Stores D and, two rows of a column at a time, D^T: PackedMatrix.Word with all that is the same for a thread taken out.</summary>
    private struct Stores : ITileVisitor
    {
        /// <summary>From the thread's word of field 0, unswizzled, of the upper row; the lower row is 8 further.</summary>
        public ArrayView<uint> Rows;

        /// <summary>From the thread's column of field 0 of D^T; eight columns a field.</summary>
        public ArrayView<uint> Columns;

        /// <summary>Word of the upper row in a column.</summary>
        public int Upper;

        /// <summary>Word of the lower row in a column.</summary>
        public int Lower;

        /// <summary>Two tiles of D, then two of D^T.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Stores Of(ArrayView<uint> tiles)
        {
            int row = WarpgroupTileVisits.Row();
            int lane = Group.IdxX % Gpu.WarpSize;
            int column = (lane % 4 * 2) + (row % 2);
            int depth = row - (row % 2);
            int rows = (row * 32) + (lane % 4);
            int columns = ((2 + (row / PackedMatrix.TileDepth)) * PackedMatrix.TileLength) + (column * 32);
            return new()
            {
                Rows = tiles.SubView(rows, tiles.Length - rows),
                Columns = tiles.SubView(columns, tiles.Length - columns),
                Upper = PackedMatrix.Word(column, depth % PackedMatrix.TileDepth) - (column * 32),
                Lower = PackedMatrix.Word(column, (depth % PackedMatrix.TileDepth) + 8) - (column * 32),
            };
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Visit(ref Float4 value, int field)
        {
            int word = (field / 8 * PackedMatrix.TileLength) + (((field % 8) ^ (Group.IdxX % Gpu.WarpSize / 4)) * 4);
            Rows[word] = Rounding.ToBf16Pair(value.X, value.Y);
            Rows[word + (8 * 32)] = Rounding.ToBf16Pair(value.Z, value.W);
            Columns[(field * 8 * 32) + Upper] = Turned(value.X, value.Y);
            Columns[(field * 8 * 32) + Lower] = Turned(value.Z, value.W);
        }

        // The lane of the next row gives its left element for this one's right one.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static uint Turned(float left, float right)
        {
            bool isOdd = (Group.IdxX & 4) != 0;
            float got = WarpLanes.Xor(isOdd ? left : right, 4);
            return Rounding.ToBf16Pair(isOdd ? got : left, isOdd ? right : got);
        }
    }

    private struct GradientStores : ITileVisitor
    {
        public FactorGradient Result;
        public int Branch;
        public int Row;
        public int Rows;
        public int FirstColumn;
        public int Columns;
        public float Scale;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Visit(ref Float4 value, int field)
        {
            int column = FirstColumn + WarpgroupTileVisits.Column(field);
            Store(value.X, Row, column);
            Store(value.Y, Row, column + 1);
            Store(value.Z, Row + 8, column);
            Store(value.W, Row + 8, column + 1);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void Store(float value, int row, int column)
        {
            if (row < Rows && column < Columns)
            {
                Result.Store(Branch, row, column, value, Scale, Result.Load(Branch, row, column));
            }
        }
    }
}
