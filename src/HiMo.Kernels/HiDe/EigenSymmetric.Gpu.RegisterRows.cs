// SPDX-License-Identifier: Apache-2.0
// What a warp does with its rows in EigenSymmetric.Gpu.RegisterReduction.cs: takes them from shared memory, updates them, and forms their products with
// a vector. `first` is the first block of rows and columns that is not finished, a constant once these functions are inlined.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    /// <summary>A warp's rows 32 b + 4 w + t for one t; component b' of a row is its column 32 b' + lane.</summary>
    private struct BlockRows
    {
        public Float4 B0;
        public Float4 B1;
        public Float4 B2;
        public Float4 B3;
    }

    /// <summary>Rows behind their update, the lane's part of their products with c, and of S.</summary>
    private struct RowProducts
    {
        public BlockRows Rows;
        public Float4 Sums;
        public float Share;
    }

    /// <summary>The sum over a row, another in each pair of lanes, and the warp's share of S.</summary>
    private struct Folded
    {
        public float Product;
        public float Share;
    }

    // Rows i, i + 32, i + 64, i + 96, zeros where there is none; blocks of columns that are not there have anything, and take no part.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static BlockRows FromShared(RegisterReduction p, int i, int lane)
    {
        BlockRows rows = default;
        rows.B0 = RowFromShared(p, i, lane);
        rows.B1 = RowFromShared(p, i + 32, lane);
        rows.B2 = RowFromShared(p, i + 64, lane);
        rows.B3 = RowFromShared(p, i + 96, lane);
        return rows;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 RowFromShared(RegisterReduction p, int i, int lane)
    {
        bool isRow = i >= p.Shift && i <= p.Last;
        ArrayView<float> elements = p.A.SubView((XMath.Clamp(i, p.Shift, p.Last) - p.Shift) * p.Pitch, Narrow);
        int column = lane - p.Shift;
        Float4 row = default;
        row.X = isRow ? elements[XMath.Max(column, 0)] : 0.0f;
        row.Y = isRow ? elements[XMath.Max(column + 32, 0)] : 0.0f;
        row.Z = isRow ? elements[XMath.Max(column + 64, 0)] : 0.0f;
        row.W = isRow ? elements[XMath.Max(column + 96, 0)] : 0.0f;
        return row;
    }

    // A lane's components from block `first` on of a vector that begins in `place`.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 FromShared(ArrayView<float> source, int place, int first)
    {
        Float4 x = default;
        x.X = first <= 0 ? source[place] : 0.0f;
        x.Y = first <= 1 ? source[place + 32] : 0.0f;
        x.Z = first <= 2 ? source[place + 64] : 0.0f;
        x.W = source[place + 96];
        return x;
    }

    // The same components; `target` begins with block `first`.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ToShared(ArrayView<float> target, Float4 x, int first)
    {
        if (first <= 0)
        {
            target[0] = x.X;
        }

        if (first <= 1)
        {
            target[32 - (32 * first)] = x.Y;
        }

        if (first <= 2)
        {
            target[64 - (32 * first)] = x.Z;
        }

        target[96 - (32 * first)] = x.W;
    }

    // The place of row t among a lane's four, and the row in place t.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Order(int t, int lane) => t ^ (lane >> 3);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Block(BlockRows rows, int block) => block == 0 ? rows.B0 : block == 1 ? rows.B1 : block == 2 ? rows.B2 : rows.B3;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Component(Float4 x, int block) => block == 0 ? x.X : block == 1 ? x.Y : block == 2 ? x.Z : x.W;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Scaled(float factor, Float4 x)
    {
        x.X *= factor;
        x.Y *= factor;
        x.Z *= factor;
        x.W *= factor;
        return x;
    }

    // A - v w^T.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static BlockRows Minus(BlockRows rows, Float4 v, Float4 w, int first)
    {
        rows.B0 = first <= 0 ? Minus(rows.B0, v.X, w, first) : rows.B0;
        rows.B1 = first <= 1 ? Minus(rows.B1, v.Y, w, first) : rows.B1;
        rows.B2 = first <= 2 ? Minus(rows.B2, v.Z, w, first) : rows.B2;
        rows.B3 = Minus(rows.B3, v.W, w, first);
        return rows;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Minus(Float4 x, float factor, Float4 y, int first)
    {
        x.X = first <= 0 ? x.X - (factor * y.X) : x.X;
        x.Y = first <= 1 ? x.Y - (factor * y.Y) : x.Y;
        x.Z = first <= 2 ? x.Z - (factor * y.Z) : x.Z;
        x.W -= factor * y.W;
        return x;
    }

    // The warp's rows of one t: the update's second half, and products with c. Own: w of these rows, and c behind it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static RowProducts Pass(BlockRows rows, ColumnStart start, ArrayView<Float4> own, int first)
    {
        Float4 c = own[Gpu.WarpSize];
        RowProducts products = default;
        products.Rows = Minus(rows, own[0], start.V, first);
        products.Sums.X = first <= 0 ? Dot(products.Rows.B0, start.Column, first) : 0.0f;
        products.Sums.Y = first <= 1 ? Dot(products.Rows.B1, start.Column, first) : 0.0f;
        products.Sums.Z = first <= 2 ? Dot(products.Rows.B2, start.Column, first) : 0.0f;
        products.Sums.W = Dot(products.Rows.B3, start.Column, first);
        products.Share = Dot(products.Sums, c, first);
        return products;
    }

    // The lane's part of x . y from block `first` on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot(Float4 x, Float4 y, int first)
    {
        float sum = x.W * y.W;
        sum = first <= 2 ? sum + (x.Z * y.Z) : sum;
        sum = first <= 1 ? sum + (x.Y * y.Y) : sum;
        return first <= 0 ? sum + (x.X * y.X) : sum;
    }

    // Sums over the warp of the products with rows: of row t = lane / 8 in block lane / 2 modulo 4, those before `first` aside; and of the shares.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Folded Fold(Float4 x0, Float4 x1, Float4 x2, Float4 x3, float share, int lane, int first)
    {
        x0 = PlusOther(x0, x2, 16, first);
        x1 = PlusOther(x1, x3, 16, first);
        share += WarpLanes.Xor(share, 16);
        x0 = PlusOther(x0, x1, 8, first);
        share += WarpLanes.Xor(share, 8);
        bool isUpper = (lane & 4) != 0;
        float even = isUpper || first > 1 ? x0.Z : x0.X;
        float odd = isUpper || first > 1 ? x0.W : x0.Y;
        float evenAside = isUpper && first <= 1 ? x0.X : x0.Z;
        float oddAside = isUpper && first <= 1 ? x0.Y : x0.W;
        even += first <= 2 ? WarpLanes.Xor(evenAside, 4) : 0.0f;
        odd += WarpLanes.Xor(oddAside, 4);
        share += WarpLanes.Xor(share, 4);
        bool isOdd = (lane & 2) != 0 || first > 2;
        float sum = isOdd ? odd : even;
        float aside = isOdd && first <= 2 ? even : odd;
        sum += WarpLanes.Xor(aside, 2);
        share += WarpLanes.Xor(share, 2);
        Folded folded = default;
        folded.Product = sum + WarpLanes.Xor(sum, 1);
        folded.Share = share + WarpLanes.Xor(share, 1);
        return folded;
    }

    // x and what the lane aside has as y.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 PlusOther(Float4 x, Float4 y, int distance, int first)
    {
        x.X += first <= 0 ? WarpLanes.Xor(y.X, distance) : 0.0f;
        x.Y += first <= 1 ? WarpLanes.Xor(y.Y, distance) : 0.0f;
        x.Z += first <= 2 ? WarpLanes.Xor(y.Z, distance) : 0.0f;
        x.W += WarpLanes.Xor(y.W, distance);
        return x;
    }
}
