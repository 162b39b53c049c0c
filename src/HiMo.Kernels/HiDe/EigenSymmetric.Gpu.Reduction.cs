// SPDX-License-Identifier: Apache-2.0
// Steps 1 and 2: A = H K H / trace in shared memory, and Householder's reduction to tridiagonal form with one barrier a column, in shared
// memory where registers do not hold the matrix (EigenSymmetric.Gpu.RegisterReduction.cs): n > 128, or few warps. A warp owns rows; lane l has columns 4 l to 4 l + 3 of them, and of the vectors that all rows need, and from 128 on four more.
// Column k   every warp for itself: w of the reflector before from its product p, the updated column k, its reflector u. Then for the rows
//            that it owns, in one pass over them: update A -= v w^T + w v^T, and p = beta A u. What a warp hands to the others (u, p)
//            lies in two buffers that take turns; row k takes its reflector one column later, when everybody has read it.
// Zeros      u is 0 up to row k and past the end, p past the end: so nothing else needs conditions. What p still holds of rows before k
//            reaches only columns that are finished; what a column without reflector leaves in u has the factor 0.
// Spare      rows n to n + 7, which nobody reads, take part where eight rows go through the pass together.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int RowsTogether = 4;
    private const int WarpsOfReduction = 8;          // more of them repeat more of a column's own work than they save of its rows'
    private const int Narrow = 4 * Gpu.WarpSize;     // columns that a warp has four a lane
    private const float LeastTail = 1e-36f;          // of a column whose matrix has trace 1: smaller squares are what rounding left, or denormal

    /// <summary>Components lane + 32 c of a vector of up to 192.</summary>
    private struct Spread
    {
        public float C0;
        public float C1;
        public float C2;
        public float C3;
        public float C4;
        public float C5;
    }

    /// <summary>Components 4 lane to 4 lane + 3 of a vector, and those that are 128 later.</summary>
    private struct Lanes
    {
        public Float4 A;
        public Float4 B;
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
            ToShared(a, row0, XMath.Min(start, n), lane, pitch);
            ToShared(a, row1, XMath.Min(start + warps, n), lane, pitch);
            ToShared(a, row2, XMath.Min(start + (2 * warps), n), lane, pitch);
            ToShared(a, row3, XMath.Min(start + (3 * warps), n), lane, pitch);
            Float4 sums = default;
            sums.X = Sum(row0);
            sums.Y = Sum(row1);
            sums.Z = Sum(row2);
            sums.W = Sum(row3);
            float sum = SumOfEight(sums, default, lane);
            int target = start + (lane / RowsTogether * warps);
            if (lane % RowsTogether == 0 && lane < 16 && target < n)
            {
                mean[target] = isGram * sum / n;
            }
        }

        GroupBarrier.Wait(); // all means are there
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
        GroupBarrier.Wait(); // everybody has read the diagonal
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
        int quads = pitch / 4;
        int warp = Group.IdxX / Gpu.WarpSize;
        int warps = XMath.Min(Group.DimX / Gpu.WarpSize, WarpsOfReduction);
        int lane = Group.IdxX % Gpu.WarpSize;
        bool isWide = n > Narrow && (4 * lane) + Narrow < pitch - 4;
        for (int i = Group.IdxX; i < 2 * span; i += Group.DimX)
        {
            p[i] = 0.0f;
            u[i] = 0.0f;
        }

        Lanes v = default;
        float factor = 0.0f;
        int old = 0;
        for (int k = 0; k < n; k++)
        {
            int other = span - old;
            GroupBarrier.Wait(); // u, p and the rows of the column before are there
            if (warp >= warps)
            {
                continue; // to the next barrier
            }

            int row = k * pitch;
            int next = XMath.Min(k + 1, n - 1);
            bool isOpen = (4 * lane) + 3 > k;           // columns up to k are finished, and need not come from shared memory
            Lanes w = FromShared(p, old, lane, isWide);
            Lanes column = FromShared(a, row, lane, isWide);
            float vk = u[old + k];
            float pk = p[old + k];
            float vNext = u[old + next];
            float pNext = p[old + next];
            float half = 0.5f * factor * GroupSum.Warp(Dot(w, v, n));
            w.A = Add(w.A, -half, v.A);
            float wk = pk - (half * vk);
            float wNext = pNext - (half * vNext);
            float diagonal = a[row + k] - (2.0f * vk * wk);
            float first = a[row + next] - (vk * wNext) - (wk * vNext);
            column.A = Behind(Add(Add(column.A, -vk, w.A), -wk, v.A), (4 * lane) - k - 2);
            if (n > Narrow)
            {
                w.B = Add(w.B, -half, v.B);
                column.B = Behind(Add(Add(column.B, -vk, w.B), -wk, v.B), (4 * lane) + Narrow - k - 2);
            }

            float tail = GroupSum.Warp(Dot(column, column, n));
            bool isNeeded = tail > LeastTail;
            float norm = XMath.Sqrt((first * first) + tail);
            float alpha = isNeeded ? (first > 0.0f ? -norm : norm) : first;
            float head = first - alpha;
            float nextFactor = isNeeded ? 2.0f / ((head * head) + tail) : 0.0f; // of what u is, not what it should be: a reflector whatever alpha's error
            column.A = With(column.A, head, k + 1 - (4 * lane));
            column.B = With(column.B, head, k + 1 - (4 * lane) - Narrow);
            if (warp == 0)
            {
                ToShared(u, column, other, lane, isWide);
                if (lane == 0)
                {
                    d[k] = diagonal;
                    e[k] = alpha;
                    beta[k] = nextFactor;
                }
            }

            if (k > 0 && warp == warps - 1)
            {
                ToShared(a, v, row - pitch, lane, isWide);
            }

            for (int start = k + 1 + (2 * RowsTogether * warp); start < n; start += 2 * RowsTogether * warps)
            {
                ArrayView<float> ownV = u.SubView(old + start, 2 * RowsTogether); // constant offsets from here
                ArrayView<float> ownP = p.SubView(old + start, 2 * RowsTogether);
                Rows rows = Take(ownV, ownP, half, 0, (start * quads) + lane);
                Rows more = Take(ownV, ownP, half, RowsTogether, ((start + RowsTogether) * quads) + lane);
                Float4 sums = default;
                Float4 moreSums = default;
                if (isOpen)
                {
                    sums = Pass(a, rows, quads, 0, v.A, w.A, column.A);
                    moreSums = Pass(a, more, quads, 0, v.A, w.A, column.A);
                }

                if (isWide)
                {
                    sums = Add(sums, 1.0f, Pass(a, rows, quads, Gpu.WarpSize, v.B, w.B, column.B));
                    moreSums = Add(moreSums, 1.0f, Pass(a, more, quads, Gpu.WarpSize, v.B, w.B, column.B));
                }

                float sum = SumOfEight(sums, moreSums, lane);
                int target = start + (lane / RowsTogether);
                if (lane % RowsTogether == 0 && target < n)
                {
                    p[other + target] = nextFactor * sum;
                }
            }

            v = column;
            factor = nextFactor;
            old = other;
        }
    }

    /// <summary>Four rows of A: where the lane's columns begin in the first one, and the rows' components of v and w.</summary>
    private struct Rows
    {
        public int Place;
        public Float4 V;
        public Float4 W;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Rows Take(ArrayView<float> v, ArrayView<float> p, float half, int first, int place)
    {
        Rows rows = default;
        rows.Place = place;
        rows.V.X = v[first];
        rows.V.Y = v[first + 1];
        rows.V.Z = v[first + 2];
        rows.V.W = v[first + 3];
        rows.W.X = p[first] - (half * rows.V.X);
        rows.W.Y = p[first + 1] - (half * rows.V.Y);
        rows.W.Z = p[first + 2] - (half * rows.V.Z);
        rows.W.W = p[first + 3] - (half * rows.V.W);
        return rows;
    }

    // Four columns of a lane in four rows: update, and the lane's share of the products with u.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Pass(ArrayView<float> a, Rows rows, int step, int column, Float4 v, Float4 w, Float4 u)
    {
        ArrayView<Float4> quads = a.Cast<Float4>();
        int place0 = rows.Place + column;
        int place1 = place0 + step;
        int place2 = place1 + step;
        int place3 = place2 + step;
        Float4 a0 = quads[place0];
        Float4 a1 = quads[place1];
        Float4 a2 = quads[place2];
        Float4 a3 = quads[place3];
        a0 = Add(Add(a0, -rows.V.X, w), -rows.W.X, v);
        a1 = Add(Add(a1, -rows.V.Y, w), -rows.W.Y, v);
        a2 = Add(Add(a2, -rows.V.Z, w), -rows.W.Z, v);
        a3 = Add(Add(a3, -rows.V.W, w), -rows.W.W, v);
        quads[place0] = a0;
        quads[place1] = a1;
        quads[place2] = a2;
        quads[place3] = a3;
        Float4 sums = default;
        sums.X = Dot(a0, u);
        sums.Y = Dot(a1, u);
        sums.Z = Dot(a2, u);
        sums.W = Dot(a3, u);
        return sums;
    }

    // The sums of eight numbers over a warp: lanes 4 i to 4 i + 3 get the i-th.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float SumOfEight(Float4 x, Float4 y, int lane)
    {
        bool isSecond = (lane & 16) != 0;
        Float4 kept = isSecond ? y : x;
        Float4 given = isSecond ? x : y;
        kept.X += WarpLanes.Xor(given.X, 16);
        kept.Y += WarpLanes.Xor(given.Y, 16);
        kept.Z += WarpLanes.Xor(given.Z, 16);
        kept.W += WarpLanes.Xor(given.W, 16);
        bool isUpper = (lane & 8) != 0;
        float even = (isUpper ? kept.Z : kept.X) + WarpLanes.Xor(isUpper ? kept.X : kept.Z, 8);
        float odd = (isUpper ? kept.W : kept.Y) + WarpLanes.Xor(isUpper ? kept.Y : kept.W, 8);
        bool isOdd = (lane & 4) != 0;
        float sum = (isOdd ? odd : even) + WarpLanes.Xor(isOdd ? even : odd, 4);
        sum += WarpLanes.Xor(sum, 2);
        return sum + WarpLanes.Xor(sum, 1);
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

    // Whole blocks of 32 columns, as a row has room for.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ToShared(ArrayView<float> a, Spread values, int row, int lane, int pitch)
    {
        int start = (row * pitch) + lane;
        a[start] = values.C0;
        a[start + 32] = values.C1;
        a[start + 64] = values.C2;
        a[start + 96] = values.C3;
        if (pitch > Narrow + 4)
        {
            a[start + 128] = values.C4;
            a[start + 160] = values.C5;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Sum(Spread x) => x.C0 + x.C1 + (x.C2 + x.C3) + (x.C4 + x.C5);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Lanes FromShared(ArrayView<float> source, int start, int lane, bool isWide)
    {
        ArrayView<Float4> quads = source.Cast<Float4>();
        Lanes lanes = default;
        lanes.A = quads[(start / 4) + lane];
        if (isWide)
        {
            lanes.B = quads[(start / 4) + lane + Gpu.WarpSize];
        }

        return lanes;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ToShared(ArrayView<float> target, Lanes lanes, int start, int lane, bool isWide)
    {
        ArrayView<Float4> quads = target.Cast<Float4>();
        quads[(start / 4) + lane] = lanes.A;
        if (isWide)
        {
            quads[(start / 4) + lane + Gpu.WarpSize] = lanes.B;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot(Lanes x, Lanes y, int n) => n > Narrow ? Dot(x.A, y.A) + Dot(x.B, y.B) : Dot(x.A, y.A);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot(Float4 x, Float4 y) => (x.X * y.X) + (x.Y * y.Y) + ((x.Z * y.Z) + (x.W * y.W));

    // Zeros where the first component's place and its successors are negative.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Behind(Float4 x, int place)
    {
        x.X = place >= 0 ? x.X : 0.0f;
        x.Y = place >= -1 ? x.Y : 0.0f;
        x.Z = place >= -2 ? x.Z : 0.0f;
        x.W = place >= -3 ? x.W : 0.0f;
        return x;
    }

    // The vector with another component in one place.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 With(Float4 x, float value, int place)
    {
        x.X = place == 0 ? value : x.X;
        x.Y = place == 1 ? value : x.Y;
        x.Z = place == 2 ? value : x.Z;
        x.W = place == 3 ? value : x.W;
        return x;
    }
}
