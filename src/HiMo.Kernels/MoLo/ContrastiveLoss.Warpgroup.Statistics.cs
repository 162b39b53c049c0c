// SPDX-License-Identifier: Apache-2.0
// The forward pass of ContrastiveLoss.Gpu.Statistics.cs on packed bf16 factors, for Hopper's warpgroup instructions: the same numbers in the same memory.
// Mapping    grid (x, y, branch): a region of tiles of 128 x 128 each; a group of 256 threads. Logits never leave the registers.
//            rows     every thread keeps running numbers of its own columns of two rows, four lanes add theirs up where the region ends.
//            columns  (their totals are nobody's business) a warp's 16 rows meet by shuffles, a tile's eight warps in shared memory, the region's tiles in global memory.
// Exponentials  two a logit: in its row relative to the largest so far; in its column relative to the largest that the region's tiles above knew, which needs no
//            exchange before the exponentials, and again relative to the tile's own largest where a sum came near the end of float32.
// Latency    the next tile's operands, and the numbers of its columns, are on their way while this one's exponentials are computed.
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

    // Above this a column's sum is computed again from a shift of its own; a sum over the warps and tiles still has room.
    private const float LargestSum = 1e30f;

    private const int Warps = WarpgroupMma.Threads / Gpu.WarpSize;

    /// <summary>One region of one branch.</summary>
    [ResidentGroups(2)] // one multiplies while the other one works on its results
    public static void StatisticsKernel(WarpgroupPass p)
    {
        ArrayView<uint> ring = SharedMemory.GetDynamic<uint>();
        ArrayView<float> columns = SharedMemory.Allocate<float>(3 * Warps * WarpgroupMma.Tile); // with more, two groups would not fit a multiprocessor
        ArrayView<LineStatistics> known = SharedMemory.Allocate<LineStatistics>(WarpgroupMma.Tile);
        int branch = Grid.IdxZ;
        PackedMatrix queries = p.Queries.Of(branch);
        PackedMatrix keys = p.Keys.Of(branch);
        int depth = PackedMatrix.DepthTilesOf(p.Pass.Depths.Apply(branch, int.MaxValue - PackedMatrix.TileDepth));
        float scale = p.Pass.Branches.Scale;
        int firstOfRows = Grid.IdxY * p.Pass.RegionRows;
        int firstOfColumns = Grid.IdxX * p.Pass.RegionColumns;
        int across = Tiles(p.Pass.RegionColumns, p.Pass.Branches.Columns - firstOfColumns);
        int tiles = across * Tiles(p.Pass.RegionRows, p.Pass.Branches.Rows - firstOfRows);
        Begin(ring, queries, keys, firstOfRows, firstOfColumns, depth, 0);
        LineStatistics upper = LineStatistics.Empty;
        LineStatistics lower = LineStatistics.Empty;
        for (int index = 0; index < tiles; index++)
        {
            int firstRow = firstOfRows + (index / across * WarpgroupMma.Tile);
            int firstColumn = firstOfColumns + (index % across * WarpgroupMma.Tile);
            LoadKnown(p.Pass, known, branch, firstColumn, firstRow == firstOfRows); // read behind the product's barriers
            WarpgroupTile tile = WarpgroupMma.Multiply(
                ring, queries.Words, queries.Tile(firstRow / WarpgroupMma.Tile, 0), keys.Words, keys.Tile(firstColumn / WarpgroupMma.Tile, 0), depth, index * depth);
            int next = index + 1;
            if (next < tiles)
            {
                Begin(
                    ring, queries, keys, firstOfRows + (next / across * WarpgroupMma.Tile), firstOfColumns + (next % across * WarpgroupMma.Tile), depth, next * depth);
            }

            Totals totals = new() { Scale = scale };
            WarpgroupTileVisits.Visit(ref tile, ref totals);
            upper.Total += totals.Upper;
            lower.Total += totals.Lower;
            int diagonal = firstRow + p.Pass.Branches.TargetOffset - firstColumn;
            bool isWhole = firstRow + WarpgroupMma.Tile <= p.Pass.Branches.Rows && firstColumn + WarpgroupMma.Tile <= p.Pass.Branches.Columns;
            if (!isWhole || (diagonal > -WarpgroupMma.Tile && diagonal < WarpgroupMma.Tile))
            {
                Mask mask = Mask.Of(p.Pass.Branches, firstRow, firstColumn);
                WarpgroupTileVisits.Visit(ref tile, ref mask);
                mask.StoreTargets(p.Pass.Branches, branch, firstRow);
            }

            TakeRows(ref upper, ref lower, ref tile);
            bool isNew = firstRow == firstOfRows;
            if (p.Pass.Branches.HasColumns == 0)
            {
                isNew = false; // rows alone count
            }
            else if (!isNew)
            {
                float largest = StoreColumn(columns, 0, KnownColumn(known, 0, tile.T0, tile.T1, tile.T2, tile.T3));
                largest = XMath.Max(largest, StoreColumn(columns, 32, KnownColumn(known, 4, tile.T4, tile.T5, tile.T6, tile.T7)));
                largest = XMath.Max(largest, StoreColumn(columns, 64, KnownColumn(known, 8, tile.T8, tile.T9, tile.T10, tile.T11)));
                largest = XMath.Max(largest, StoreColumn(columns, 96, KnownColumn(known, 12, tile.T12, tile.T13, tile.T14, tile.T15)));
                isNew = Group.BarrierOr(!(largest < LargestSum));
            }

            if (isNew)
            {
                _ = StoreColumn(columns, 0, Column(tile.T0, tile.T1, tile.T2, tile.T3));
                _ = StoreColumn(columns, 32, Column(tile.T4, tile.T5, tile.T6, tile.T7));
                _ = StoreColumn(columns, 64, Column(tile.T8, tile.T9, tile.T10, tile.T11));
                _ = StoreColumn(columns, 96, Column(tile.T12, tile.T13, tile.T14, tile.T15));
                Group.Barrier();
            }

            TakeColumn(p.Pass, columns, known, branch, firstColumn, isNew); // a barrier of the next tile's product comes before the next store
            if (next % across == 0)
            {
                StoreRow(p.Pass, upper, branch, firstRow + WarpgroupTileVisits.Row());
                StoreRow(p.Pass, lower, branch, firstRow + WarpgroupTileVisits.Row() + 8);
                upper = LineStatistics.Empty;
                lower = LineStatistics.Empty;
            }
        }
    }

    // Tiles of a region, which ends with the matrix.
    private static int Tiles(int region, int left) => (Math.Min(region, left) + WarpgroupMma.Tile - 1) / WarpgroupMma.Tile;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Begin(ArrayView<uint> ring, PackedMatrix queries, PackedMatrix keys, int firstRow, int firstColumn, int depth, int before) =>
        WarpgroupMma.Begin(
            ring, queries.Words, queries.Tile(firstRow / WarpgroupMma.Tile, 0), keys.Words, keys.Tile(firstColumn / WarpgroupMma.Tile, 0), depth, before);

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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TakeRows(ref LineStatistics upper, ref LineStatistics lower, ref WarpgroupTile tile)
    {
        RowLargest largest = new() { Upper = upper.Largest, Lower = lower.Largest };
        WarpgroupTileVisits.Visit(ref tile, ref largest);
        RowSums sums = new() { UpperShift = RowShift(largest.Upper), LowerShift = RowShift(largest.Lower) };
        WarpgroupTileVisits.Visit(ref tile, ref sums);
        upper = Joined(upper.RelativeTo(largest.Upper), sums.Upper);
        lower = Joined(lower.RelativeTo(largest.Lower), sums.Lower);
    }

    // Without a logit that counts all exponentials are 0.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float RowShift(float largest) => largest > Masked ? largest * LogitStatistics.Log2E : 0.0f;

    // A line, and sums over exponentials relative to its largest, whose weighted ones are of the logits themselves.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics Joined(LineStatistics line, LineStatistics sums)
    {
        LineStatistics all = line;
        all.ExpSum += sums.ExpSum;
        all.Weighted += sums.Weighted - (line.Largest * sums.ExpSum);
        return all;
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
    private static LineStatistics Column(Float4 a, Float4 b, Float4 c, Float4 d)
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

    // As Column, relative to largest logits that are known before; of two neighbours in a field, the first one's place is even.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics KnownColumn(ArrayView<LineStatistics> known, int firstField, Float4 a, Float4 b, Float4 c, Float4 d)
    {
        Eight sums = default;
        Eight weighted = default;
        AddField(known, firstField, a, ref sums.V0, ref weighted.V0, ref sums.V1, ref weighted.V1);
        AddField(known, firstField + 1, b, ref sums.V2, ref weighted.V2, ref sums.V3, ref weighted.V3);
        AddField(known, firstField + 2, c, ref sums.V4, ref weighted.V4, ref sums.V5, ref weighted.V5);
        AddField(known, firstField + 3, d, ref sums.V6, ref weighted.V6, ref sums.V7, ref weighted.V7);
        int own = Group.IdxX % Gpu.WarpSize / 4;
        LineStatistics line = default;
        line.Largest = known[WarpgroupTileVisits.Column(firstField + (own / 2)) + (own % 2)].Largest;
        LineStatistics summed = default;
        summed.ExpSum = sums.SumOfRows();
        summed.Weighted = weighted.SumOfRows();
        line = Joined(line, summed);
        return line;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddField(
        ArrayView<LineStatistics> known, int field, Float4 logits, ref float leftSum, ref float leftWeighted, ref float rightSum, ref float rightWeighted)
    {
        int column = WarpgroupTileVisits.Column(field);
        AddPair(known[column].Largest, logits.X, logits.Z, ref leftSum, ref leftWeighted);
        AddPair(known[column + 1].Largest, logits.Y, logits.W, ref rightSum, ref rightWeighted);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddPair(float largest, float upper, float lower, ref float sum, ref float weighted)
    {
        float shift = largest * LogitStatistics.Log2E;
        float first = Exp2.Approximate((upper * LogitStatistics.Log2E) - shift);
        float second = Exp2.Approximate((lower * LogitStatistics.Log2E) - shift);
        sum = first + second;
        weighted = (first * upper) + (second * lower);
    }

    // Stores one column a lane; returns the sum.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float StoreColumn(ArrayView<float> columns, int first, LineStatistics line)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int own = lane / 4;
        int index = (Group.IdxX / Gpu.WarpSize * WarpgroupMma.Tile) + first + (own / 2 * 8) + (lane % 4 * 2) + (own % 2);
        columns[index] = line.Largest;
        columns[(Warps * WarpgroupMma.Tile) + index] = line.ExpSum;
        columns[(2 * Warps * WarpgroupMma.Tile) + index] = line.Weighted;
        return line.ExpSum;
    }

    // What a warp stored of a column.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics Stored(ArrayView<float> columns, int warp, int column)
    {
        int index = (warp * WarpgroupMma.Tile) + column;
        LineStatistics line = default;
        line.Largest = columns[index];
        line.ExpSum = columns[(Warps * WarpgroupMma.Tile) + index];
        line.Weighted = columns[(2 * Warps * WarpgroupMma.Tile) + index];
        return line;
    }

    // What the region's tiles above left of each column; a column outside of the matrix has nothing but masked logits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadKnown(LogitPass p, ArrayView<LineStatistics> known, int branch, int firstColumn, bool isFirst)
    {
        int column = firstColumn + Group.IdxX;
        if (Group.IdxX < WarpgroupMma.Tile)
        {
            LineStatistics line = LineStatistics.Empty;
            if (column >= p.Branches.Columns)
            {
                line.Largest = 0.0f;
            }
            else if (!isFirst && p.Branches.ColumnWeight(branch) != 0.0f)
            {
                line = p.Partial[p.PartialIndex(branch, Grid.IdxY, p.Branches.Rows + column)];
            }

            known[Group.IdxX] = line;
        }
    }

    // A column's eight warps join what the tiles above left.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TakeColumn(LogitPass p, ArrayView<float> columns, ArrayView<LineStatistics> known, int branch, int firstColumn, bool isNew)
    {
        int column = firstColumn + Group.IdxX;
        if (Group.IdxX >= WarpgroupMma.Tile || column >= p.Branches.Columns || p.Branches.ColumnWeight(branch) == 0.0f)
        {
            return;
        }

        LineStatistics running = known[Group.IdxX];
        if (isNew)
        {
            for (int warp = 0; warp < Warps; warp++)
            {
                running = Merged(running, Stored(columns, warp, Group.IdxX));
            }
        }
        else
        {
            for (int warp = 0; warp < Warps; warp++)
            {
                LineStatistics part = Stored(columns, warp, Group.IdxX); // relative to the same largest
                running.ExpSum += part.ExpSum;
                running.Weighted += part.Weighted;
                }
        }

        p.Partial[p.PartialIndex(branch, Grid.IdxY, p.Branches.Rows + column)] = running;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics Merged(LineStatistics first, LineStatistics second)
    {
        float largest = XMath.Max(first.Largest, second.Largest);
        LineStatistics all = first.RelativeTo(largest);
        LineStatistics part = second.RelativeTo(largest);
        all.ExpSum += part.ExpSum;
        all.Weighted += part.Weighted;
        return all;
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
