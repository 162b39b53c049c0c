// SPDX-License-Identifier: Apache-2.0
// Steps 1 and 2: A = H K H / trace in shared memory, and Householder's reduction to tridiagonal form with one barrier a column. A warp owns
// rows; lane l has columns l + 32 c of them, and of the vectors that all rows need.
// Column k   every warp for itself: w of the reflector before from its product p, the updated column k, its reflector u. Then for the rows
//            that it owns, in one pass over them: update A -= v w^T + w v^T, and p = beta A u. What a warp hands to the others (u, p)
//            lies in two buffers that take turns; row k takes its reflector one column later, when everybody has read it.
// Spare      rows past the end are row n, which nobody reads: so that four rows go through the pass together without conditions.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int RowsTogether = 4;
    private const float LeastTail = 1e-36f; // of a column whose matrix has trace 1: smaller squares are what rounding left, or denormal

    /// <summary>One vector of up to 192 components over a warp: component lane + 32 c in field c.</summary>
    private struct Spread
    {
        public float C0;
        public float C1;
        public float C2;
        public float C3;
        public float C4;
        public float C5;
    }

    // a = H K H / trace, or K / trace, exactly symmetric. Returns the trace. No barrier at the end.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float LoadCentred(ArrayView<float> k, ArrayView<float> a, ArrayView<float> mean, int n, int pitch, int isGram)
    {
        int warp = Group.IdxX / Gpu.WarpSize;
        int warps = Group.DimX / Gpu.WarpSize;
        int lane = Group.IdxX % Gpu.WarpSize;
        for (int start = warp; start < n; start += RowsTogether * warps)
        {
            Spread row0 = FromMemory(k, start, lane, n);
            Spread row1 = FromMemory(k, start + warps, lane, n);
            Spread row2 = FromMemory(k, start + (2 * warps), lane, n);
            Spread row3 = FromMemory(k, start + (3 * warps), lane, n);
            ToShared(a, row0, XMath.Min(start, n), lane, n, pitch);
            ToShared(a, row1, XMath.Min(start + warps, n), lane, n, pitch);
            ToShared(a, row2, XMath.Min(start + (2 * warps), n), lane, n, pitch);
            ToShared(a, row3, XMath.Min(start + (3 * warps), n), lane, n, pitch);
            Float4 sums = default;
            sums.X = Sum(row0);
            sums.Y = Sum(row1);
            sums.Z = Sum(row2);
            sums.W = Sum(row3);
            float sum = SumOfFour(sums, lane);
            if (lane % 8 == 0)
            {
                mean[XMath.Min(start + (lane / 8 * warps), n)] = isGram * sum / n;
            }
        }

        Group.Barrier();
        float total = 0.0f;
        for (int i = lane; i < n; i += Gpu.WarpSize)
        {
            total += mean[i];
        }

        total = GroupSum.Warp(total) / n;
        float trace = 0.0f;
        for (int i = lane; i < n; i += Gpu.WarpSize)
        {
            trace += XMath.Max(a[i * (pitch + 1)] - (2.0f * mean[i]) + total, 0.0f);
        }

        trace = GroupSum.Warp(trace);
        float scale = trace > 0.0f ? 1.0f / trace : 0.0f;
        Group.Barrier(); // everybody has read the diagonal
        for (int i = warp; i < n; i += warps)
        {
            for (int j = (i / Gpu.WarpSize * Gpu.WarpSize) + lane; j < n; j += Gpu.WarpSize)
            {
                if (j >= i)
                {
                    float symmetric = 0.5f * (a[(i * pitch) + j] + a[(j * pitch) + i]);
                    float value = (symmetric - mean[i] - mean[j] + total) * scale;
                    a[(i * pitch) + j] = value;
                    a[(j * pitch) + i] = value;
                }
            }
        }

        return trace;
    }

    // d, e, and row k = the reflector of column k, I - beta v v^T, zeros before it. p and u: two vectors each, `span` apart.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Tridiagonalise(
        ArrayView<float> a, ArrayView<float> d, ArrayView<float> e, ArrayView<float> beta, ArrayView<float> p, ArrayView<float> u, int n, int pitch, int span)
    {
        int warp = Group.IdxX / Gpu.WarpSize;
        int warps = Group.DimX / Gpu.WarpSize;
        int lane = Group.IdxX % Gpu.WarpSize;
        for (int i = Group.IdxX; i < span; i += Group.DimX)
        {
            p[i] = 0.0f;
            u[i] = 0.0f;
        }

        Spread v = default;
        float factor = 0.0f;
        for (int k = 0; k < n; k++)
        {
            int old = k % 2 * span;
            int other = span - old;
            ArrayView<float> row = a.SubView(k * pitch, n);
            Group.Barrier(); // u, p and the rows of the column before are there
            Spread w = FromShared(p.SubView(old, n), lane, k, n);
            Spread column = FromShared(row, lane, k, n);
            float vk = u[old + k];
            int next = XMath.Min(k + 1, n - 1);
            float vNext = u[old + next];
            float half = 0.5f * factor * GroupSum.Warp(Dot(w, v));
            w = Sum(w, -half, v);
            float wk = p[old + k] - (half * vk);
            float wNext = p[old + next] - (half * vNext);
            float diagonal = row[k] - (2.0f * vk * wk);
            float first = row[next] - ((vk * wNext) + (wk * vNext));
            column = Behind(Sum(Sum(column, -vk, w), -wk, v), lane, k + 2);
            float tail = GroupSum.Warp(Dot(column, column));
            bool isNeeded = tail > LeastTail;
            float norm = XMath.Sqrt((first * first) + tail);
            float alpha = isNeeded ? (first > 0.0f ? -norm : norm) : first;
            float nextFactor = isNeeded ? 1.0f / (norm * (norm + XMath.Abs(first))) : 0.0f;
            Spread reflector = isNeeded ? With(column, first - alpha, lane, k + 1) : default;
            if (warp == 0)
            {
                ToShared(u.SubView(other, span), reflector, 0, lane, n, span);
                if (lane == 0)
                {
                    d[k] = diagonal;
                    e[k] = alpha;
                    beta[k] = nextFactor;
                }
            }

            if (k > 0 && warp == warps - 1)
            {
                ToShared(a, v, k - 1, lane, n, pitch);
            }

            for (int start = k + 1 + warp; start < n; start += RowsTogether * warps)
            {
                Rows rows = Take(u.SubView(old, span), p.SubView(old, span), half, start, warps, n, pitch);
                Float4 sums = default;
                sums = Pass(a, rows, 0, lane, k, n, v.C0, w.C0, reflector.C0, sums);
                sums = Pass(a, rows, 1, lane, k, n, v.C1, w.C1, reflector.C1, sums);
                sums = Pass(a, rows, 2, lane, k, n, v.C2, w.C2, reflector.C2, sums);
                sums = Pass(a, rows, 3, lane, k, n, v.C3, w.C3, reflector.C3, sums);
                sums = Pass(a, rows, 4, lane, k, n, v.C4, w.C4, reflector.C4, sums);
                sums = Pass(a, rows, 5, lane, k, n, v.C5, w.C5, reflector.C5, sums);
                float sum = SumOfFour(sums, lane);
                if (lane % 8 == 0)
                {
                    p[other + XMath.Min(start + (lane / 8 * warps), n)] = nextFactor * sum;
                }
            }

            v = reflector;
            factor = nextFactor;
        }
    }

    /// <summary>Four rows of A: where they begin, and their components of v and w.</summary>
    private struct Rows
    {
        public int Start0;
        public int Start1;
        public int Start2;
        public int Start3;
        public Float4 V;
        public Float4 W;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Rows Take(ArrayView<float> v, ArrayView<float> p, float half, int start, int step, int n, int pitch)
    {
        int row0 = start;
        int row1 = XMath.Min(start + step, n);
        int row2 = XMath.Min(start + (2 * step), n);
        int row3 = XMath.Min(start + (3 * step), n);
        Rows rows = default;
        rows.Start0 = row0 * pitch;
        rows.Start1 = row1 * pitch;
        rows.Start2 = row2 * pitch;
        rows.Start3 = row3 * pitch;
        rows.V.X = v[row0];
        rows.V.Y = v[row1];
        rows.V.Z = v[row2];
        rows.V.W = v[row3];
        rows.W.X = p[row0] - (half * rows.V.X);
        rows.W.Y = p[row1] - (half * rows.V.Y);
        rows.W.Z = p[row2] - (half * rows.V.Z);
        rows.W.W = p[row3] - (half * rows.V.W);
        return rows;
    }

    // Columns lane + 32 c of four rows: update, and their share of the products with u.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Pass(ArrayView<float> a, Rows rows, int c, int lane, int k, int n, float v, float w, float u, Float4 sums)
    {
        int first = c * Gpu.WarpSize;
        if (first < n && first + Gpu.WarpSize > k + 1)
        {
            int j = first + lane;
            float a0 = a[rows.Start0 + j];
            float a1 = a[rows.Start1 + j];
            float a2 = a[rows.Start2 + j];
            float a3 = a[rows.Start3 + j];
            a0 -= (rows.V.X * w) + (rows.W.X * v);
            a1 -= (rows.V.Y * w) + (rows.W.Y * v);
            a2 -= (rows.V.Z * w) + (rows.W.Z * v);
            a3 -= (rows.V.W * w) + (rows.W.W * v);
            a[rows.Start0 + j] = a0;
            a[rows.Start1 + j] = a1;
            a[rows.Start2 + j] = a2;
            a[rows.Start3 + j] = a3;
            sums.X += a0 * u;
            sums.Y += a1 * u;
            sums.Z += a2 * u;
            sums.W += a3 * u;
        }

        return sums;
    }

    // The sums of four numbers over a warp: lanes 8 i to 8 i + 7 get the i-th.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float SumOfFour(Float4 sums, int lane)
    {
        bool isUpper = (lane & 16) != 0;
        float even = (isUpper ? sums.Z : sums.X) + ILGPU.Warp.ShuffleXor(isUpper ? sums.X : sums.Z, 16);
        float odd = (isUpper ? sums.W : sums.Y) + ILGPU.Warp.ShuffleXor(isUpper ? sums.Y : sums.W, 16);
        bool isOdd = (lane & 8) != 0;
        float sum = (isOdd ? odd : even) + ILGPU.Warp.ShuffleXor(isOdd ? even : odd, 8);
        sum += ILGPU.Warp.ShuffleXor(sum, 4);
        sum += ILGPU.Warp.ShuffleXor(sum, 2);
        return sum + ILGPU.Warp.ShuffleXor(sum, 1);
    }

    // A row of K, zeros past its end; without branches, so that the loads of several rows are under way together.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Spread FromMemory(ArrayView<float> k, int row, int lane, int n)
    {
        int start = XMath.Min(row, n - 1) * n;
        Spread spread = default;
        spread.C0 = OrZero(k[start + XMath.Min(lane, n - 1)], lane, n);
        spread.C1 = OrZero(k[start + XMath.Min(lane + 32, n - 1)], lane + 32, n);
        spread.C2 = OrZero(k[start + XMath.Min(lane + 64, n - 1)], lane + 64, n);
        spread.C3 = OrZero(k[start + XMath.Min(lane + 96, n - 1)], lane + 96, n);
        spread.C4 = OrZero(k[start + XMath.Min(lane + 128, n - 1)], lane + 128, n);
        spread.C5 = OrZero(k[start + XMath.Min(lane + 160, n - 1)], lane + 160, n);
        return spread;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float OrZero(float value, int j, int n) => j < n ? value : 0.0f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Spread FromShared(ArrayView<float> source, int lane, int first, int n)
    {
        Spread spread = default;
        spread.C0 = Element(source, lane, first, n);
        spread.C1 = Element(source, lane + 32, first, n);
        spread.C2 = Element(source, lane + 64, first, n);
        spread.C3 = Element(source, lane + 96, first, n);
        spread.C4 = Element(source, lane + 128, first, n);
        spread.C5 = Element(source, lane + 160, first, n);
        return spread;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Element(ArrayView<float> source, int j, int first, int n)
    {
        float value = 0.0f;
        if (j >= first && j < n)
        {
            value = source[j];
        }

        return value;
    }

    // Whole blocks of 32 columns, as a row has room for.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ToShared(ArrayView<float> a, Spread values, int row, int lane, int n, int pitch)
    {
        int start = (row * pitch) + lane;
        StoreBlock(a, values.C0, start, 0, n);
        StoreBlock(a, values.C1, start, 32, n);
        StoreBlock(a, values.C2, start, 64, n);
        StoreBlock(a, values.C3, start, 96, n);
        StoreBlock(a, values.C4, start, 128, n);
        StoreBlock(a, values.C5, start, 160, n);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreBlock(ArrayView<float> a, float value, int start, int first, int n)
    {
        if (first < n)
        {
            a[start + first] = value;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot(Spread x, Spread y) => ((x.C0 * y.C0) + (x.C1 * y.C1)) + ((x.C2 * y.C2) + (x.C3 * y.C3)) + ((x.C4 * y.C4) + (x.C5 * y.C5));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Sum(Spread x) => x.C0 + x.C1 + (x.C2 + x.C3) + (x.C4 + x.C5);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Spread Sum(Spread x, float factor, Spread y)
    {
        x.C0 += factor * y.C0;
        x.C1 += factor * y.C1;
        x.C2 += factor * y.C2;
        x.C3 += factor * y.C3;
        x.C4 += factor * y.C4;
        x.C5 += factor * y.C5;
        return x;
    }

    // Zeros before component `first`.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Spread Behind(Spread x, int lane, int first)
    {
        x.C0 = lane >= first ? x.C0 : 0.0f;
        x.C1 = lane + 32 >= first ? x.C1 : 0.0f;
        x.C2 = lane + 64 >= first ? x.C2 : 0.0f;
        x.C3 = lane + 96 >= first ? x.C3 : 0.0f;
        x.C4 = lane + 128 >= first ? x.C4 : 0.0f;
        x.C5 = lane + 160 >= first ? x.C5 : 0.0f;
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Spread With(Spread x, float value, int lane, int j)
    {
        x.C0 = lane == j ? value : x.C0;
        x.C1 = lane + 32 == j ? value : x.C1;
        x.C2 = lane + 64 == j ? value : x.C2;
        x.C3 = lane + 96 == j ? value : x.C3;
        x.C4 = lane + 128 == j ? value : x.C4;
        x.C5 = lane + 160 == j ? value : x.C5;
        return x;
    }
}
