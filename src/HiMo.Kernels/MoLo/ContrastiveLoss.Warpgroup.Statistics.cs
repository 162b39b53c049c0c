// SPDX-License-Identifier: Apache-2.0
// The forward pass of ContrastiveLoss.Gpu.Statistics.cs on packed bf16 factors, for Hopper's warpgroup instructions: the same numbers in the same memory.
// Mapping    grid (x, y, branch): a region of tiles of 128 x 128 each; a group of 256 threads. Logits never leave the registers.
//            rows     every thread keeps running numbers of its own columns of two rows, four lanes add theirs up where the region ends.
//            columns  a warp's 16 rows meet by shuffles, a tile's eight warps in shared memory, the region's tiles in global memory.
// Exponentials  one a logit, relative to the tile's largest, while the tile's logits differ by no more than Narrow: a line's own largest is then as near, and
//            what underflows is below e^-27 of it. Wider tiles take two, relative to the largest of the row and of the column.
// Precision, determinism  as there; the order of the sums is another, and fixed.
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
internal static class WarpgroupPassGpu
{
    /// <summary>A logit that does not count: far below every other, and finite, because a row may have no other.</summary>
    private const float Masked = -1e30f;

    // With 60, the sum of a line in the tile is at least e^-60 of the unit that it is counted in.
    private const float Narrow = 60.0f;

    private const int Warps = WarpgroupMma.Threads / Gpu.WarpSize;

    /// <summary>One region of one branch.</summary>
    public static void Kernel(WarpgroupPass p)
    {
        ArrayView<uint> ring = SharedMemory.GetDynamic<uint>();
        ArrayView<LineStatistics> columns = SharedMemory.Allocate<LineStatistics>(Warps * WarpgroupMma.Tile);
        ArrayView<float> ends = SharedMemory.Allocate<float>(TileRange.SharedLength);
        int branch = Grid.IdxZ;
        PackedMatrix queries = p.Queries.Of(branch);
        PackedMatrix keys = p.Keys.Of(branch);
        int depth = PackedMatrix.DepthTilesOf(p.Pass.Depths.Apply(branch, int.MaxValue - PackedMatrix.TileDepth));
        float scale = p.Pass.Branches.Scale;
        int firstOfRows = Grid.IdxY * p.Pass.RegionRows;
        int endOfRows = Math.Min(firstOfRows + p.Pass.RegionRows, p.Pass.Branches.Rows);
        int firstOfColumns = Grid.IdxX * p.Pass.RegionColumns;
        int endOfColumns = Math.Min(firstOfColumns + p.Pass.RegionColumns, p.Pass.Branches.Columns);
        int multiplied = 0;
        for (int firstRow = firstOfRows; firstRow < endOfRows; firstRow += WarpgroupMma.Tile)
        {
            LineStatistics upper = LineStatistics.Empty;
            LineStatistics lower = LineStatistics.Empty;
            for (int firstColumn = firstOfColumns; firstColumn < endOfColumns; firstColumn += WarpgroupMma.Tile)
            {
                WarpgroupTile tile = WarpgroupMma.Multiply(
                    ring, queries.Words, queries.Tile(firstRow / WarpgroupMma.Tile, 0), keys.Words, keys.Tile(firstColumn / WarpgroupMma.Tile, 0), depth, multiplied);
                multiplied += depth;
                Totals totals = new() { Scale = scale };
                WarpgroupTileVisits.Visit(ref tile, ref totals);
                upper.Total += totals.Upper;
                lower.Total += totals.Lower;
                TileRange range = TileRange.Begin(ref tile, ends);
                float total0 = ColumnTotal(tile.T0, tile.T1, tile.T2, tile.T3);
                float total1 = ColumnTotal(tile.T4, tile.T5, tile.T6, tile.T7);
                float total2 = ColumnTotal(tile.T8, tile.T9, tile.T10, tile.T11);
                float total3 = ColumnTotal(tile.T12, tile.T13, tile.T14, tile.T15);
                int diagonal = firstRow + p.Pass.Branches.TargetOffset - firstColumn;
                bool isWhole = firstRow + WarpgroupMma.Tile <= p.Pass.Branches.Rows && firstColumn + WarpgroupMma.Tile <= p.Pass.Branches.Columns;
                if (!isWhole || (diagonal > -WarpgroupMma.Tile && diagonal < WarpgroupMma.Tile))
                {
                    Mask mask = Mask.Of(p.Pass.Branches, firstRow, firstColumn);
                    WarpgroupTileVisits.Visit(ref tile, ref mask);
                    mask.StoreTargets(p.Pass.Branches, branch, firstRow);
                }

                range.End(ends);
                bool isNarrow = range.Largest - range.Smallest <= Narrow;
                if (isNarrow)
                {
                    LineStatistics nextUpper = LineStatistics.Empty;
                    LineStatistics nextLower = LineStatistics.Empty;
                    nextUpper.Largest = range.Largest;
                    nextLower.Largest = range.Largest;
                    StoreColumn(columns, 0, NarrowColumn(ref nextUpper, ref nextLower, tile.T0, tile.T1, tile.T2, tile.T3, total0));
                    StoreColumn(columns, 32, NarrowColumn(ref nextUpper, ref nextLower, tile.T4, tile.T5, tile.T6, tile.T7, total1));
                    StoreColumn(columns, 64, NarrowColumn(ref nextUpper, ref nextLower, tile.T8, tile.T9, tile.T10, tile.T11, total2));
                    StoreColumn(columns, 96, NarrowColumn(ref nextUpper, ref nextLower, tile.T12, tile.T13, tile.T14, tile.T15, total3));
                    upper = Merged(upper, nextUpper);
                    lower = Merged(lower, nextLower);
                }
                else
                {
                    TakeRows(ref upper, ref lower, ref tile);
                    StoreColumn(columns, 0, Column(tile.T0, tile.T1, tile.T2, tile.T3, total0));
                    StoreColumn(columns, 32, Column(tile.T4, tile.T5, tile.T6, tile.T7, total1));
                    StoreColumn(columns, 64, Column(tile.T8, tile.T9, tile.T10, tile.T11, total2));
                    StoreColumn(columns, 96, Column(tile.T12, tile.T13, tile.T14, tile.T15, total3));
                }

                Group.Barrier();
                TakeColumn(p.Pass, columns, branch, firstColumn, firstRow == firstOfRows, isNarrow); // the next tile's product begins with a barrier
            }

            StoreRow(p.Pass, upper, branch, firstRow + WarpgroupTileVisits.Row());
            StoreRow(p.Pass, lower, branch, firstRow + WarpgroupTileVisits.Row() + 8);
        }
    }

    /// <summary>Scales the logits and adds them up along the rows.</summary>
    private struct Totals : ITileVisitor
    {
        public float Scale;
        public float Upper;
        public float Lower;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Visit(ref Float4 value, int field)
        {
            value.X *= Scale;
            value.Y *= Scale;
            value.Z *= Scale;
            value.W *= Scale;
            Upper += value.X + value.Y;
            Lower += value.Z + value.W;
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

    private struct RowSums : ITileVisitor
    {
        public LineStatistics Upper;
        public LineStatistics Lower;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Visit(ref Float4 value, int field)
        {
            Add(ref Upper, value.X);
            Add(ref Upper, value.Y);
            Add(ref Lower, value.Z);
            Add(ref Lower, value.W);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Add(ref LineStatistics line, float logit)
        {
            float relative = logit - line.Largest;
            float exponential = LogitStatistics.Exp(relative);
            line.ExpSum += exponential;
            line.Weighted += exponential * relative;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TakeRows(ref LineStatistics upper, ref LineStatistics lower, ref WarpgroupTile tile)
    {
        RowLargest largest = new() { Upper = upper.Largest, Lower = lower.Largest };
        WarpgroupTileVisits.Visit(ref tile, ref largest);
        RowSums sums = new() { Upper = upper.RelativeTo(largest.Upper), Lower = lower.RelativeTo(largest.Lower) };
        WarpgroupTileVisits.Visit(ref tile, ref sums);
        upper = sums.Upper;
        lower = sums.Lower;
    }

    // Four lanes have the columns of a row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(LogitPass p, LineStatistics line, int branch, int row)
    {
        float largest = XMath.Max(line.Largest, Warp.ShuffleXor(line.Largest, 1));
        largest = XMath.Max(largest, Warp.ShuffleXor(largest, 2));
        LineStatistics all = line.RelativeTo(largest);
        all.ExpSum = Four(all.ExpSum);
        all.Weighted = Four(all.Weighted);
        all.Total = Four(all.Total);
        if (Group.IdxX % 4 == 0 && row < p.Branches.Rows)
        {
            p.Partial[p.PartialIndex(branch, Grid.IdxX, row)] = all;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Four(float value)
    {
        value += Warp.ShuffleXor(value, 1);
        return value + Warp.ShuffleXor(value, 2);
    }

    // Numbers of one of 32 columns, over the warp's 16 rows: lane 4 g + q gets column g of the eight of its q.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics Column(Float4 a, Float4 b, Float4 c, Float4 d, float total)
    {
        Eight largest = new()
        {
            V0 = XMath.Max(a.X, a.Z), V1 = XMath.Max(a.Y, a.W), V2 = XMath.Max(b.X, b.Z), V3 = XMath.Max(b.Y, b.W),
            V4 = XMath.Max(c.X, c.Z), V5 = XMath.Max(c.Y, c.W), V6 = XMath.Max(d.X, d.Z), V7 = XMath.Max(d.Y, d.W),
        };
        largest = largest.LargestOfRows();
        Eight sums = default;
        Eight weighted = default;
        Add(ref sums.V0, ref weighted.V0, largest.V0, a.X, a.Z);
        Add(ref sums.V1, ref weighted.V1, largest.V1, a.Y, a.W);
        Add(ref sums.V2, ref weighted.V2, largest.V2, b.X, b.Z);
        Add(ref sums.V3, ref weighted.V3, largest.V3, b.Y, b.W);
        Add(ref sums.V4, ref weighted.V4, largest.V4, c.X, c.Z);
        Add(ref sums.V5, ref weighted.V5, largest.V5, c.Y, c.W);
        Add(ref sums.V6, ref weighted.V6, largest.V6, d.X, d.Z);
        Add(ref sums.V7, ref weighted.V7, largest.V7, d.Y, d.W);
        LineStatistics line = default;
        line.Largest = largest.Own();
        line.ExpSum = sums.SumOfRows();
        line.Weighted = weighted.SumOfRows();
        line.Total = total;
        return line;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(ref float sum, ref float weighted, float largest, float upper, float lower)
    {
        float first = upper - largest;
        float second = lower - largest;
        float firstExp = LogitStatistics.Exp(first);
        float secondExp = LogitStatistics.Exp(second);
        sum = firstExp + secondExp;
        weighted = (firstExp * first) + (secondExp * second);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float ColumnTotal(Float4 a, Float4 b, Float4 c, Float4 d)
    {
        Eight sums = new() { V0 = a.X + a.Z, V1 = a.Y + a.W, V2 = b.X + b.Z, V3 = b.Y + b.W, V4 = c.X + c.Z, V5 = c.Y + c.W, V6 = d.X + d.Z, V7 = d.Y + d.W };
        return sums.SumOfRows();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreColumn(ArrayView<LineStatistics> columns, int first, LineStatistics line)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int own = lane / 4;
        columns[(Group.IdxX / Gpu.WarpSize * WarpgroupMma.Tile) + first + (own / 2 * 8) + (lane % 4 * 2) + (own % 2)] = line;
    }

    // A column's eight warps, then what the region's tiles above left.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TakeColumn(LogitPass p, ArrayView<LineStatistics> columns, int branch, int firstColumn, bool isFirst, bool isNarrow)
    {
        int column = firstColumn + Group.IdxX;
        if (Group.IdxX >= WarpgroupMma.Tile || column >= p.Branches.Columns || p.Branches.ColumnWeight(branch) == 0.0f)
        {
            return;
        }

        long index = p.PartialIndex(branch, Grid.IdxY, p.Branches.Rows + column);
        LineStatistics all = LineStatistics.Empty;
        if (!isFirst)
        {
            all = p.Partial[index];
        }

        LineStatistics part = columns[Group.IdxX];
        if (isNarrow)
        {
            for (int warp = 1; warp < Warps; warp++)
            {
                LineStatistics other = columns[(warp * WarpgroupMma.Tile) + Group.IdxX]; // with the same largest
                part.ExpSum += other.ExpSum;
                part.Weighted += other.Weighted;
                part.Total += other.Total;
            }
        }
        else
        {
            for (int warp = 1; warp < Warps; warp++)
            {
                part = Merged(part, columns[(warp * WarpgroupMma.Tile) + Group.IdxX]);
            }
        }

        p.Partial[index] = Merged(all, part);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics Merged(LineStatistics first, LineStatistics second)
    {
        float largest = XMath.Max(first.Largest, second.Largest);
        LineStatistics all = first.RelativeTo(largest);
        LineStatistics part = second.RelativeTo(largest);
        all.ExpSum += part.ExpSum;
        all.Weighted += part.Weighted;
        all.Total += part.Total;
        return all;
    }

    // As Column, with one exponential a logit, which counts in its row as well.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics NarrowColumn(ref LineStatistics upper, ref LineStatistics lower, Float4 a, Float4 b, Float4 c, Float4 d, float total)
    {
        Eight sums = default;
        Eight weighted = default;
        AddBoth(ref sums.V0, ref weighted.V0, ref upper, ref lower, a.X, a.Z);
        AddBoth(ref sums.V1, ref weighted.V1, ref upper, ref lower, a.Y, a.W);
        AddBoth(ref sums.V2, ref weighted.V2, ref upper, ref lower, b.X, b.Z);
        AddBoth(ref sums.V3, ref weighted.V3, ref upper, ref lower, b.Y, b.W);
        AddBoth(ref sums.V4, ref weighted.V4, ref upper, ref lower, c.X, c.Z);
        AddBoth(ref sums.V5, ref weighted.V5, ref upper, ref lower, c.Y, c.W);
        AddBoth(ref sums.V6, ref weighted.V6, ref upper, ref lower, d.X, d.Z);
        AddBoth(ref sums.V7, ref weighted.V7, ref upper, ref lower, d.Y, d.W);
        LineStatistics line = default;
        line.Largest = upper.Largest;
        line.ExpSum = sums.SumOfRows();
        line.Weighted = weighted.SumOfRows();
        line.Total = total;
        return line;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddBoth(ref float sum, ref float weighted, ref LineStatistics upper, ref LineStatistics lower, float upperLogit, float lowerLogit)
    {
        float first = upperLogit - upper.Largest;
        float second = lowerLogit - lower.Largest;
        float firstExp = LogitStatistics.Exp(first);
        float secondExp = LogitStatistics.Exp(second);
        upper.ExpSum += firstExp;
        lower.ExpSum += secondExp;
        sum = firstExp + secondExp;
        float firstWeighted = firstExp * first;
        float secondWeighted = secondExp * second;
        upper.Weighted += firstWeighted;
        lower.Weighted += secondWeighted;
        weighted = firstWeighted + secondWeighted;
    }

    /// <summary>A number for each of eight columns; lanes that differ in bits 2 to 4 have other rows of the same ones.</summary>
    private struct Eight
    {
        public float V0;
        public float V1;
        public float V2;
        public float V3;
        public float V4;
        public float V5;
        public float V6;
        public float V7;

        /// <summary>The largest over the rows, for all columns in every lane.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Eight LargestOfRows() => new()
        {
            V0 = Rows(V0), V1 = Rows(V1), V2 = Rows(V2), V3 = Rows(V3), V4 = Rows(V4), V5 = Rows(V5), V6 = Rows(V6), V7 = Rows(V7),
        };

        /// <summary>The sum over the rows of the lane's own column: each exchange halves the columns.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly float SumOfRows()
        {
            bool high = (Group.IdxX & 16) != 0;
            float s0 = Exchanged(V0, V4, high, 16);
            float s1 = Exchanged(V1, V5, high, 16);
            float s2 = Exchanged(V2, V6, high, 16);
            float s3 = Exchanged(V3, V7, high, 16);
            high = (Group.IdxX & 8) != 0;
            s0 = Exchanged(s0, s2, high, 8);
            s1 = Exchanged(s1, s3, high, 8);
            return Exchanged(s0, s1, (Group.IdxX & 4) != 0, 4);
        }

        /// <summary>The lane's own column.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly float Own()
        {
            bool high = (Group.IdxX & 16) != 0;
            float s0 = high ? V4 : V0;
            float s1 = high ? V5 : V1;
            float s2 = high ? V6 : V2;
            float s3 = high ? V7 : V3;
            high = (Group.IdxX & 8) != 0;
            s0 = high ? s2 : s0;
            s1 = high ? s3 : s1;
            return (Group.IdxX & 4) != 0 ? s1 : s0;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static float Rows(float value)
        {
            value = XMath.Max(value, Warp.ShuffleXor(value, 4));
            value = XMath.Max(value, Warp.ShuffleXor(value, 8));
            return XMath.Max(value, Warp.ShuffleXor(value, 16));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static float Exchanged(float low, float high, bool takesHigh, int mask) =>
            (takesHigh ? high : low) + Warp.ShuffleXor(takesHigh ? low : high, mask);
    }
}
