// SPDX-License-Identifier: Apache-2.0
// The forward pass of ContrastiveLoss.Gpu.Statistics.cs on packed bf16 factors, for Hopper's warpgroup instructions: the same numbers in the same memory, but for
// totals, of which only the sum over all rows is right (row i has that of i and i + 8, or none), and M of a column, which need not be its largest logit.
// Words      of ILGPU: at the head of that file. A thread's logits of a tile, T0 to T15, X and Y of its upper row and Z and W of the lower one, 8 below: WarpgroupMma.cs.
//            A visitor is a functor that is called for each of the sixteen, as by an unrolled loop.
// Mapping    grid (x, y, branch): a region of tiles of 128 x 128 each; a group of 256 threads. Logits never leave the registers.
//            rows     (of one warp each) four lanes have the columns of two rows; two of the lanes keep one row's running numbers each, in shared memory.
//            columns  (their totals are nobody's business) a warp's 16 rows meet by shuffles, a tile's eight warps in shared memory, the region's tiles in global memory.
// Exponentials  two a logit: in its row relative to the largest so far; in its column relative to the largest that the region's tiles above knew, which needs no
//            exchange before the exponentials; in the region's first tile, and where a sum came near the end of float32, relative to each warp's own largest.
// Latency    the next tile's operands are on their way while this one's exponentials are computed.
// Precision, determinism  as there; the order of the sums is another, and fixed.
// Limits     sm_90a or the emulation; groups of 256 threads, two of which fit a multiprocessor by their 113 KiB of shared memory each and 128 registers a thread;
//            logits above -1e30, which stands for none.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Packed factors of one or two branches.</summary>
internal struct PackedFactors
{
    public PackedMatrix First;
    public PackedMatrix Second;

    /// <summary>Those of a branch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly PackedMatrix Of(int branch) => branch == 0 ? First : Second;
}

/// <summary>Arguments of the pass.</summary>
internal struct WarpgroupPass
{
    public LogitPass Pass;
    public PackedFactors Queries;
    public PackedFactors Keys;
}

/// <summary>The pass.</summary>
internal static partial class WarpgroupPassGpu
{
    /// <summary>A logit that does not count: far below every other, and finite, because a row may have no other.</summary>
    private const float Masked = -1e30f;

    // Above this a column's sum is computed again from a shift of its own; a sum over the warps and tiles still has room. So M is no smaller than the column's
    // largest logit less ln 1e30 = 69, and nothing vanishes that would count relative to that logit itself.
    private const float LargestSum = 1e30f;

    private const int Warps = WarpgroupMma.Threads / Gpu.WarpSize;

    // Numbers of columns in shared memory: largest logits by warp, then those that the tiles above know; sums by warp; weighted sums by warp; the sums that the
    // tiles above know. Then running numbers of rows.
    private const int KnownLargest = Warps * WarpgroupMma.Tile;
    private const int Sums = KnownLargest + WarpgroupMma.Tile;
    private const int Weighted = Sums + (Warps * WarpgroupMma.Tile);
    private const int KnownSums = Weighted + (Warps * WarpgroupMma.Tile);
    private const int KnownWeighted = KnownSums + WarpgroupMma.Tile;
    private const int LargestOfRows = KnownWeighted + WarpgroupMma.Tile;
    private const int SumsOfRows = LargestOfRows + WarpgroupMma.Tile;
    private const int WeightedOfRows = SumsOfRows + WarpgroupMma.Tile;
    private const int TotalsOfRows = WeightedOfRows + WarpgroupMma.Tile;
    private const int SharedLength = TotalsOfRows + WarpgroupMma.Tile;

    /// <summary>One region of one branch.</summary>
    [ResidentGroups(2)] // one multiplies while the other one works on its results
    public static void StatisticsKernel(WarpgroupPass p)
    {
        ArrayView<uint> ring = SharedMemory.GetDynamic<uint>();
        ArrayView<float> lines = SharedMemory.Allocate<float>(SharedLength); // with 113 more, two groups would not fit a multiprocessor
        int branch = Grid.IdxZ;
        PackedMatrix queries = p.Queries.Of(branch);
        PackedMatrix keys = p.Keys.Of(branch);
        int depth = PackedMatrix.DepthTilesOf(p.Pass.Depths.Apply(branch, int.MaxValue - PackedMatrix.TileDepth));
        float scale = p.Pass.Branches.Scale;
        int firstOfRows = Grid.IdxY * p.Pass.RegionRows;
        int firstOfColumns = Grid.IdxX * p.Pass.RegionColumns;
        int endOfRows = Math.Min(firstOfRows + p.Pass.RegionRows, p.Pass.Branches.Rows);
        int endOfColumns = Math.Min(firstOfColumns + p.Pass.RegionColumns, p.Pass.Branches.Columns);
        Begin(ring, queries, keys, firstOfRows, firstOfColumns, depth, 0);
        int firstRow = firstOfRows;
        int firstColumn = firstOfColumns;
        int multiplied = 0;
        while (firstRow < endOfRows)
        {
            LoadKnown(p.Pass, lines, branch, firstColumn, firstRow == firstOfRows); // read behind the product's barriers
            WarpgroupTile tile = WarpgroupMma.Multiply(
                ring, queries.Words, queries.Tile(firstRow / WarpgroupMma.Tile, 0), keys.Words, keys.Tile(firstColumn / WarpgroupMma.Tile, 0), depth, multiplied);
            bool isLastColumn = firstColumn + WarpgroupMma.Tile >= endOfColumns;
            int nextRow = isLastColumn ? firstRow + WarpgroupMma.Tile : firstRow;
            int nextColumn = isLastColumn ? firstOfColumns : firstColumn + WarpgroupMma.Tile;
            if (nextRow < endOfRows)
            {
                Begin(ring, queries, keys, nextRow, nextColumn, depth, multiplied + depth);
            }

            Totals totals = new() { Scale = scale };
            WarpgroupTileVisits.Visit(ref tile, ref totals);
            int diagonal = firstRow + p.Pass.Branches.TargetOffset - firstColumn;
            bool isWhole = firstRow + WarpgroupMma.Tile <= p.Pass.Branches.Rows && firstColumn + WarpgroupMma.Tile <= p.Pass.Branches.Columns;
            if (!isWhole || (diagonal > -WarpgroupMma.Tile && diagonal < WarpgroupMma.Tile))
            {
                Mask mask = Mask.Of(p.Pass.Branches, firstRow, firstColumn);
                WarpgroupTileVisits.Visit(ref tile, ref mask);
                mask.StoreTargets(p.Pass.Branches, branch, firstRow);
            }

            TakeRows(lines, ref tile, totals.Sum, firstColumn == firstOfColumns);
            if (isLastColumn)
            {
                StoreRow(p.Pass, lines, branch, firstRow);
            }

            bool isKnown = firstRow > firstOfRows;      // tiles above have an M of the columns: exponentials are relative to it, and it stays
            bool isDone = p.Pass.Branches.HasColumns == 0;
            while (!isDone)                             // twice at most: known shifts, and if a sum was too large for them, the warps' own
            {
                int placeOfLargest = KnownLargest;
                if (!isKnown)
                {
                    placeOfLargest = (Group.IdxX >> 5) * WarpgroupMma.Tile;
                    StoreLargest(lines, tile);
                    WarpLanes.Barrier(); // the warp's largest logits are there
                }

                // All warps' sums are there, and all warps take the same turn next. Not below: a sum that is not a number is too large as well.
                bool isTooLarge = GroupBarrier.Or(!(StoreColumns(lines, placeOfLargest, tile) < LargestSum));
                isDone = !(isTooLarge && isKnown);
                isKnown &= isDone;
            }

            TakeColumn(p.Pass, lines, branch, firstColumn, isKnown); // by the threads that load what is known of a column; other stores come behind the next product's barriers
            multiplied += depth;              // here and below, not from above: three registers less in between
            firstColumn += WarpgroupMma.Tile;
            if (firstColumn >= endOfColumns)
            {
                firstColumn = firstOfColumns;
                firstRow += WarpgroupMma.Tile;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Begin(ArrayView<uint> ring, PackedMatrix queries, PackedMatrix keys, int firstRow, int firstColumn, int depth, int before) =>
        WarpgroupMma.Begin(
            ring, queries.Words, queries.Tile(firstRow / WarpgroupMma.Tile, 0), keys.Words, keys.Tile(firstColumn / WarpgroupMma.Tile, 0), depth, before);

    /// <summary>Scales the logits and adds them up.</summary>
    private struct Totals : ITileVisitor
    {
        public float Scale;
        public float Sum;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Visit(ref Float4 value, int field)
        {
            value.X *= Scale;
            value.Y *= Scale;
            value.Z *= Scale;
            value.W *= Scale;
            Sum += value.X + value.Y + (value.Z + value.W);
        }
    }

    /// <summary>Takes targets out, and what lies outside of the matrix. Columns count from the thread's first one; those of Y and W are odd.</summary>
    private struct Mask : ITileVisitor
    {
        public int UpperEnd;
        public int LowerEnd;
        public int UpperTarget;
        public int LowerTarget;
        public float UpperLogit;
        public float LowerLogit;

        /// <summary>For the tile that begins at a row and a column.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Mask Of(BranchStatistics p, int firstRow, int firstColumn)
        {
            int row = firstRow + WarpgroupTileVisits.Row();
            int column = firstColumn + WarpgroupTileVisits.Column(0);
            return new()
            {
                UpperEnd = row < p.Rows ? p.Columns - column : 0, LowerEnd = row + 8 < p.Rows ? p.Columns - column : 0,
                UpperTarget = row + p.TargetOffset - column, LowerTarget = row + 8 + p.TargetOffset - column,
            };
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Visit(ref Float4 value, int field)
        {
            value.X = Of(value.X, 8 * field, UpperEnd, UpperTarget, ref UpperLogit);
            value.Y = Of(value.Y, (8 * field) + 1, UpperEnd, UpperTarget, ref UpperLogit);
            value.Z = Of(value.Z, 8 * field, LowerEnd, LowerTarget, ref LowerLogit);
            value.W = Of(value.W, (8 * field) + 1, LowerEnd, LowerTarget, ref LowerLogit);
        }

        /// <summary>Stores the targets that were seen.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void StoreTargets(BranchStatistics p, int branch, int firstRow)
        {
            long row = ((long)branch * p.Rows) + firstRow + WarpgroupTileVisits.Row();
            if (IsHere(UpperTarget, UpperEnd))
            {
                p.Target[row] = UpperLogit;
            }

            if (IsHere(LowerTarget, LowerEnd))
            {
                p.Target[row + 8] = LowerLogit;
            }
        }

        // Whether one of the thread's columns of this tile is the target.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static bool IsHere(int target, int end) => target >= 0 && target < end && target < WarpgroupMma.Tile && target % 8 < 2;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static float Of(float logit, int column, int end, int target, ref float targetLogit)
        {
            bool isTarget = column == target;
            targetLogit = isTarget ? logit : targetLogit;
            return isTarget || column >= end ? Masked : logit;
        }
    }

    private struct RowLargest : ITileVisitor
    {
        public float Upper;
        public float Lower;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Visit(ref Float4 value, int field)
        {
            Upper = XMath.Max(Upper, XMath.Max(value.X, value.Y));
            Lower = XMath.Max(Lower, XMath.Max(value.Z, value.W));
        }
    }

    /// <summary>Adds exponentials, and logits weighted by them, to sums that begin at 0.</summary>
    private struct RowSums : ITileVisitor
    {
        public LineStatistics Upper;
        public LineStatistics Lower;
        public float UpperShift;
        public float LowerShift;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Visit(ref Float4 value, int field)
        {
            Add(ref Upper, UpperShift, value.X);
            Add(ref Upper, UpperShift, value.Y);
            Add(ref Lower, LowerShift, value.Z);
            Add(ref Lower, LowerShift, value.W);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Add(ref LineStatistics line, float shift, float logit)
        {
            float exponential = Exp2.Approximate((logit * LogitStatistics.Log2E) - shift);
            line.ExpSum += exponential;
            line.Weighted += exponential * logit;
        }
    }

    // Four lanes have the columns of two rows. Where their sums have met, the even ones have a row each, the same from tile to tile, so sums need no barrier. The largest
    // logits are read by all four lanes: before the sums meet and are stored, and behind the next product's barriers again.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TakeRows(ArrayView<float> lines, ref WarpgroupTile tile, float total, bool isFirstColumn)
    {
        ArrayView<float> rows = lines.SubView(WarpgroupTileVisits.Row(), TotalsOfRows + 9); // constant places in a view are free, others cost a register each
        RowLargest largest = new() { Upper = float.NegativeInfinity, Lower = float.NegativeInfinity };
        if (!isFirstColumn)
        {
            largest.Upper = rows[LargestOfRows];
            largest.Lower = rows[LargestOfRows + 8];
        }

        WarpgroupTileVisits.Visit(ref tile, ref largest);
        largest.Upper = Four<MaximumOfTwo>(largest.Upper);
        largest.Lower = Four<MaximumOfTwo>(largest.Lower);
        RowSums sums = new() { UpperShift = Shift(largest.Upper), LowerShift = Shift(largest.Lower) };
        WarpgroupTileVisits.Visit(ref tile, ref sums);
        bool isLower = (Group.IdxX & 2) != 0;
        LineStatistics summed = default;
        summed.ExpSum = Exchanged<SumOfTwo>(sums.Upper.ExpSum, sums.Lower.ExpSum, isLower, 2);
        summed.Weighted = Exchanged<SumOfTwo>(sums.Upper.Weighted, sums.Lower.Weighted, isLower, 2);
        summed.ExpSum += WarpLanes.Xor(summed.ExpSum, 1);
        summed.Weighted += WarpLanes.Xor(summed.Weighted, 1);
        float all = Four<SumOfTwo>(total);  // only the sum over all rows is asked for; logits outside of the matrix are 0, as the packed operands are
        if ((Group.IdxX & 1) == 0)
        {
            LineStatistics line = LineStatistics.Empty;
            if (!isFirstColumn)
            {
                line = RunningRow(lines);
            }

            line = Joined(line.RelativeTo(isLower ? largest.Lower : largest.Upper), summed);
            ArrayView<float> own = lines.SubView(OwnRow(), TotalsOfRows + 1);
            own[LargestOfRows] = line.Largest;
            own[SumsOfRows] = line.ExpSum;
            own[WeightedOfRows] = line.Weighted;
            own[TotalsOfRows] = line.Total + (isLower ? 0.0f : all);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics RunningRow(ArrayView<float> lines)
    {
        ArrayView<float> own = lines.SubView(OwnRow(), TotalsOfRows + 1);
        LineStatistics line = default;
        line.Largest = own[LargestOfRows];
        line.ExpSum = own[SumsOfRows];
        line.Weighted = own[WeightedOfRows];
        line.Total = own[TotalsOfRows];
        return line;
    }

    // The lane's row of its two.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int OwnRow() => WarpgroupTileVisits.Row() + ((Group.IdxX & 2) << 2);

    // Without a logit that counts all exponentials are 0.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Shift(float largest) => largest > Masked ? largest * LogitStatistics.Log2E : 0.0f;

    // A line, and sums over exponentials relative to its largest, whose weighted ones are of the logits themselves.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics Joined(LineStatistics line, LineStatistics sums)
    {
        LineStatistics all = line;
        all.ExpSum += sums.ExpSum;
        all.Weighted += sums.Weighted - (line.Largest * sums.ExpSum);
        return all;
    }

    // At the end of a region's columns.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(LogitPass p, ArrayView<float> lines, int branch, int firstRow)
    {
        int row = firstRow + OwnRow();
        if ((Group.IdxX & 1) == 0 && row < p.Branches.Rows)
        {
            p.Partial[p.PartialIndex(branch, Grid.IdxX, row)] = RunningRow(lines);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Four<TJoin>(float value)
        where TJoin : struct, IJoin
    {
        value = TJoin.Of(value, WarpLanes.Xor(value, 1));
        return TJoin.Of(value, WarpLanes.Xor(value, 2));
    }
}
