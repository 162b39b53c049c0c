// SPDX-License-Identifier: Apache-2.0
// The columns' part of the forward pass on warpgroup instructions; the head of ContrastiveLoss.Warpgroup.Statistics.cs describes it.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class WarpgroupPassGpu
{
    // Numbers of all columns over the warp's 16 rows, relative to the given largest logits; returns the largest of the lane's four sums.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float StoreColumns(ArrayView<float> lines, int placeOfLargest, WarpgroupTile tile)
    {
        float largest = StoreColumn(lines, 0, ColumnNumbers(lines.SubView(placeOfLargest, WarpgroupMma.Tile), 0, tile.T0, tile.T1, tile.T2, tile.T3));
        largest = XMath.Max(largest, StoreColumn(lines, 32, ColumnNumbers(lines.SubView(placeOfLargest, WarpgroupMma.Tile), 4, tile.T4, tile.T5, tile.T6, tile.T7)));
        largest = XMath.Max(largest, StoreColumn(lines, 64, ColumnNumbers(lines.SubView(placeOfLargest, WarpgroupMma.Tile), 8, tile.T8, tile.T9, tile.T10, tile.T11)));
        return XMath.Max(largest, StoreColumn(lines, 96, ColumnNumbers(lines.SubView(placeOfLargest, WarpgroupMma.Tile), 12, tile.T12, tile.T13, tile.T14, tile.T15)));
    }

    // The largest logits of all columns over the warp's 16 rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreLargest(ArrayView<float> lines, WarpgroupTile tile)
    {
        ArrayView<float> column = lines.SubView(((Group.IdxX >> 5) * WarpgroupMma.Tile) + OwnColumn(), WarpgroupMma.Tile - OwnColumn());
        column[0] = Largest(tile.T0, tile.T1, tile.T2, tile.T3);
        column[32] = Largest(tile.T4, tile.T5, tile.T6, tile.T7);
        column[64] = Largest(tile.T8, tile.T9, tile.T10, tile.T11);
        column[96] = Largest(tile.T12, tile.T13, tile.T14, tile.T15);
    }

    // Of the lane's own column: the exchanges of a sum, with maxima.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Largest(Float4 a, Float4 b, Float4 c, Float4 d)
    {
        Eight largest = new()
        {
            V0 = XMath.Max(a.X, a.Z), V1 = XMath.Max(a.Y, a.W), V2 = XMath.Max(b.X, b.Z), V3 = XMath.Max(b.Y, b.W),
            V4 = XMath.Max(c.X, c.Z), V5 = XMath.Max(c.Y, c.W), V6 = XMath.Max(d.X, d.Z), V7 = XMath.Max(d.Y, d.W),
        };
        return largest.OverRows<MaximumOfTwo>();
    }

    // Numbers of one of 32 columns, relative to a largest logit of each of the tile's columns. Lanes with the same q = lane modulo 4 have the same eight columns, and lane
    // 4 g + q gets number g of these.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics ColumnNumbers(ArrayView<float> largest, int firstField, Float4 a, Float4 b, Float4 c, Float4 d)
    {
        int first = WarpgroupTileVisits.Column(0);
        ArrayView<float> own = largest.SubView(first, WarpgroupMma.Tile - first); // constant places in a view are free, others cost a register each
        Eight sums = default;
        Eight weighted = default;
        AddField(own, firstField, a, ref sums.V0, ref weighted.V0, ref sums.V1, ref weighted.V1);
        AddField(own, firstField + 1, b, ref sums.V2, ref weighted.V2, ref sums.V3, ref weighted.V3);
        AddField(own, firstField + 2, c, ref sums.V4, ref weighted.V4, ref sums.V5, ref weighted.V5);
        AddField(own, firstField + 3, d, ref sums.V6, ref weighted.V6, ref sums.V7, ref weighted.V7);
        LineStatistics line = default;
        line.Largest = largest.SubView(OwnColumn(), WarpgroupMma.Tile - OwnColumn())[8 * firstField];
        LineStatistics summed = default;
        summed.ExpSum = sums.OverRows<SumOfTwo>();
        summed.Weighted = weighted.OverRows<SumOfTwo>();
        return Joined(line, summed);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddField(
        ArrayView<float> largest, int field, Float4 logits, ref float leftSum, ref float leftWeighted, ref float rightSum, ref float rightWeighted)
    {
        AddPair(largest[8 * field], logits.X, logits.Z, ref leftSum, ref leftWeighted);
        AddPair(largest[(8 * field) + 1], logits.Y, logits.W, ref rightSum, ref rightWeighted);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddPair(float largest, float upper, float lower, ref float sum, ref float weighted)
    {
        float shift = Shift(largest);
        float first = Exp2.Approximate((upper * LogitStatistics.Log2E) - shift);
        float second = Exp2.Approximate((lower * LogitStatistics.Log2E) - shift);
        sum = first + second;
        weighted = (first * upper) + (second * lower);
    }

    // Stores the sums of one column a lane; returns that of its exponentials.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float StoreColumn(ArrayView<float> lines, int first, LineStatistics line)
    {
        int start = ((Group.IdxX >> 5) * WarpgroupMma.Tile) + OwnColumn();
        ArrayView<float> own = lines.SubView(start, lines.Length - start);
        own[Sums + first] = line.ExpSum;
        own[Weighted + first] = line.Weighted;
        return line.ExpSum;
    }

    // The lane's column of the first 32, after an exchange: for lane 4 g + q column g of the eight that q had, 8 (g / 2) + 2 q + g % 2.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int OwnColumn() => (Group.IdxX & 24) + ((Group.IdxX & 3) << 1) + ((Group.IdxX >> 2) & 1);

    // What a warp stored of a column.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LineStatistics Stored(ArrayView<float> lines, int warp, int column)
    {
        int index = (warp * WarpgroupMma.Tile) + column;
        LineStatistics line = default;
        line.Largest = lines[index];
        line.ExpSum = lines[Sums + index];
        line.Weighted = lines[Weighted + index];
        return line;
    }

    // What the region's tiles above left of each column; a column outside of the matrix has nothing but masked logits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadKnown(LogitPass p, ArrayView<float> lines, int branch, int firstColumn, bool isFirstRow)
    {
        int column = firstColumn + Group.IdxX;
        if (Group.IdxX < WarpgroupMma.Tile)
        {
            LineStatistics line = LineStatistics.Empty;
            if (column >= p.Branches.Columns)
            {
                line.Largest = 0.0f;
            }
            else if (!isFirstRow && p.Branches.ColumnWeight(branch) != 0.0f)
            {
                line = p.Partial[p.PartialIndex(branch, Grid.IdxY, p.Branches.Rows + column)];
            }

            lines[KnownLargest + Group.IdxX] = line.Largest;
            lines[KnownSums + Group.IdxX] = line.ExpSum;
            lines[KnownWeighted + Group.IdxX] = line.Weighted;
        }
    }

    // A column's eight warps join what the tiles above left.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TakeColumn(LogitPass p, ArrayView<float> lines, int branch, int firstColumn, bool isKnown)
    {
        int column = firstColumn + Group.IdxX;
        if (Group.IdxX >= WarpgroupMma.Tile || column >= p.Branches.Columns || p.Branches.ColumnWeight(branch) == 0.0f)
        {
            return;
        }

        LineStatistics running = default;
        running.Largest = lines[KnownLargest + Group.IdxX];
        running.ExpSum = lines[KnownSums + Group.IdxX];
        running.Weighted = lines[KnownWeighted + Group.IdxX];
        if (!isKnown)
        {
            for (int warp = 0; warp < Warps; warp++)
            {
                running = Merged(running, Stored(lines, warp, Group.IdxX));
            }
        }
        else
        {
            for (int warp = 0; warp < Warps; warp++)
            {
                LineStatistics part = Stored(lines, warp, Group.IdxX); // relative to the same largest
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

        /// <summary>The lane's own column over all rows: each exchange halves the columns.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly float OverRows<TJoin>()
            where TJoin : struct, IJoin
        {
            bool high = (Group.IdxX & 16) != 0;
            float s0 = Exchanged<TJoin>(V0, V4, high, 16);
            float s1 = Exchanged<TJoin>(V1, V5, high, 16);
            float s2 = Exchanged<TJoin>(V2, V6, high, 16);
            float s3 = Exchanged<TJoin>(V3, V7, high, 16);
            high = (Group.IdxX & 8) != 0;
            s0 = Exchanged<TJoin>(s0, s2, high, 8);
            s1 = Exchanged<TJoin>(s1, s3, high, 8);
            return Exchanged<TJoin>(s0, s1, (Group.IdxX & 4) != 0, 4);
        }
    }

    // What two lanes have of the low and of the high one of two numbers; one of both is the lane's.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Exchanged<TJoin>(float low, float high, bool takesHigh, int mask)
        where TJoin : struct, IJoin =>
        TJoin.Of(takesHigh ? high : low, WarpLanes.Xor(takesHigh ? low : high, mask));

    /// <summary>How numbers of two lanes become one.</summary>
    private interface IJoin
    {
        static abstract float Of(float first, float second);
    }

    private readonly struct SumOfTwo : IJoin
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Of(float first, float second) => first + second;
    }

    private readonly struct MaximumOfTwo : IJoin
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Of(float first, float second) => XMath.Max(first, second);
    }
}
