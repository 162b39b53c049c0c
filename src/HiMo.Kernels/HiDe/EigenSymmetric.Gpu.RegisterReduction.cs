// SPDX-License-Identifier: Apache-2.0
// Step 2 where n <= 128 and a group has more than eight warps: Householder's reduction to tridiagonal form of a matrix that lies in registers.
// Mapping    component 32 b + l of a vector is with lane l, in place b of four. Eight warps have the rows: the w-th one 32 b + 4 w + t for all
//            b and t below 4. The warp before them has the reflectors: the first one of the group, because schedulers prefer early ones, and
//            all others wait for it. Further warps only come to barriers. Where n <= 96 the first blocks of 32 stay empty: k and all
//            indices of rows are shifted here by a multiple of 32.
// Phases     until column 32 b - 1 rows and columns before block b are finished. Four phases leave them out; b is a constant in each, so
//            what is left out costs nothing, and only in block b anything is masked.
// Column k   its reflector is u = c + head e_{k+1} with c, the updated column behind row k + 1. The warps that have rows do not wait for
//            head: they form q = A c and S = c . q while the other one forms head and beta. Behind the barrier everybody has
//            p = beta A u = beta (q + head r), where r is row k + 1 of A, which is about to become the next column anyhow, and
//            u . p = beta (S + 2 head q_{k+1} + head^2 r_{k+1}). One barrier a column; what is handed over takes turns in two buffers.
// Update     A -= v w^T + w v^T needs v and w of a warp's rows in all of its lanes: lanes 4 w to 4 w + 3 have them for the others.
// Order      lane l has its rows t in the order t XOR l / 8: where sums over lanes are folded, what a lane gives away then lies in the same
//            registers in all of them, and needs no choice.
// Zeros      c is 0 up to row k + 1 and past the end, v leaves out head: that changes only rows and columns that are finished and that
//            nobody reads; later reflectors keep their norms.
// Precision  S has third powers: a block of A below some 1e-13 of its trace loses it to float32's range, which changes A by that much.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int WarpsOfRows = 8;

    // Floats of a buffer: q, r, the warps' shares of S, head and beta.
    private const int PlaceOfRow = Narrow;
    private const int PlaceOfShares = 2 * Narrow;
    private const int PlaceOfHead = PlaceOfShares + WarpsOfRows;
    private const int BufferLength = PlaceOfHead + 8;

    // Of what the lanes of each warp share: w, then c.
    private const int OwnLength = 2 * Narrow;

    /// <summary>A warp's rows, and a lane's components of the last column's c.</summary>
    private struct OwnRows
    {
        public BlockRows T0;
        public BlockRows T1;
        public BlockRows T2;
        public BlockRows T3;
        public Float4 V;
    }

    /// <summary>Where things are.</summary>
    private struct RegisterReduction
    {
        public ArrayView<float> A;
        public ArrayView<float> D;
        public ArrayView<float> E;
        public ArrayView<float> Beta;

        /// <summary>Two buffers of the group.</summary>
        public ArrayView<float> Exchange;

        /// <summary>A part of it belongs to each warp.</summary>
        public ArrayView<Float4> Own;
        public int Pitch;

        /// <summary>The multiple of 32 that moves the last row into the last block.</summary>
        public int Shift;

        /// <summary>n - 1, shifted.</summary>
        public int Last;
    }

    /// <summary>What every warp knows of a column: its c, and the update by the reflector before.</summary>
    private struct ColumnStart
    {
        public Float4 V;
        public Float4 W;
        public Float4 Column;

        /// <summary>The lane's element in the pivot's block, whether finished or not.</summary>
        public float Element;
        public float Diagonal;
    }

    /// <summary>A column's reflector u = V + Head e_{k+1}, its beta and its alpha.</summary>
    private struct HeldReflector
    {
        public Float4 V;
        public float Head;
        public float Factor;
        public float Alpha;
    }

    /// <summary>Where a column finds what the one before handed over.</summary>
    private struct ColumnWords
    {
        public ArrayView<float> Own;
        public ArrayView<Float4> Shares;
        public ArrayView<float> Pivot;
    }

    /// <summary>Shift of n rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int ShiftOf(int n) => (Narrow - n) / Gpu.WarpSize * Gpu.WarpSize;

    /// <summary>The first column of a phase. Warps of every role come to one barrier for each column of each phase.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int StartOfPhase(int first, int shift) => XMath.Max((Gpu.WarpSize * first) - 1, shift);

    /// <summary>The column behind the last one of a phase; the last row lies in the last block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int EndOfPhase(int first, int last) => first < 3 ? (Gpu.WarpSize * first) + Gpu.WarpSize - 1 : last;

    // d, e, and row k = the reflector of column k, I - beta v v^T, from the block of its first component on. Exchange: two buffers.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TridiagonaliseInRegisters(ArrayView<float> a, ArrayView<float> d, ArrayView<float> e, ArrayView<float> beta, ArrayView<float> exchange, int n, int pitch)
    {
        int warp = (Group.IdxX / Gpu.WarpSize) - 1; // of those that have rows
        int lane = Group.IdxX % Gpu.WarpSize;
        RegisterReduction p = default;
        p.A = a;
        p.D = d;
        p.E = e;
        p.Beta = beta;
        p.Exchange = exchange;
        p.Own = a.SubView(Narrow * pitch, OwnLength).Cast<Float4>();
        p.Pitch = pitch;
        p.Shift = ShiftOf(n);
        p.Last = p.Shift + n - 1;
        GroupBarrier.Wait(); // the matrix is there
        for (int i = Group.IdxX; i < BufferLength; i += Group.DimX)
        {
            int j = i - PlaceOfRow;
            exchange[i] = j >= p.Shift && j <= p.Last ? a[j - p.Shift] : 0.0f;
        }

        if (warp < 0)
        {
            HeldReflector last = ReflectorsOfPhase(p, default, lane, 0);
            last = ReflectorsOfPhase(p, last, lane, 1);
            last = ReflectorsOfPhase(p, last, lane, 2);
            _ = ReflectorsOfPhase(p, last, lane, 3);
        }
        else if (warp < WarpsOfRows)
        {
            OwnRows rows = default;
            if (lane < 4)
            {
                p.Own[Gpu.WarpSize + (4 * warp) + lane] = default;
            }

            WarpLanes.Barrier(); // v before the first column is there
            rows.T0 = FromShared(p, (4 * warp) + Order(0, lane), lane);
            rows.T1 = FromShared(p, (4 * warp) + Order(1, lane), lane);
            rows.T2 = FromShared(p, (4 * warp) + Order(2, lane), lane);
            rows.T3 = FromShared(p, (4 * warp) + Order(3, lane), lane);
            rows = RowsOfPhase(p, rows, warp, lane, 0);
            rows = RowsOfPhase(p, rows, warp, lane, 1);
            rows = RowsOfPhase(p, rows, warp, lane, 2);
            _ = RowsOfPhase(p, rows, warp, lane, 3);
        }
        else
        {
            for (int k = p.Shift; k < p.Last; k++)
            {
                RoleBarrier.Wait(); // as the warps that have rows
            }
        }

        GroupBarrier.Wait(); // the last row is there
        if (Group.IdxX == 0)
        {
            d[n - 1] = exchange[((p.Last & 1) * BufferLength) + PlaceOfRow + p.Last];
        }
    }

    // The columns whose pivot k + 1 lies in block `first`, which is a constant once this is inlined; by a warp that has rows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static OwnRows RowsOfPhase(RegisterReduction p, OwnRows rows, int warp, int lane, int first)
    {
        ArrayView<Float4> place = p.Own.SubView(lane, Gpu.WarpSize + 1);
        ArrayView<Float4> own0 = p.Own.SubView((4 * warp) + Order(0, lane), Gpu.WarpSize + 1);
        ArrayView<Float4> own1 = p.Own.SubView((4 * warp) + Order(1, lane), Gpu.WarpSize + 1);
        ArrayView<Float4> own2 = p.Own.SubView((4 * warp) + Order(2, lane), Gpu.WarpSize + 1);
        ArrayView<Float4> own3 = p.Own.SubView((4 * warp) + Order(3, lane), Gpu.WarpSize + 1);
        int end = EndOfPhase(first, p.Last);
        for (int k = StartOfPhase(first, p.Shift); k < end; k++)
        {
            ColumnWords words = WordsOf(p, k, lane);
            ArrayView<float> target = p.Exchange.SubView((1 - (k & 1)) * BufferLength, BufferLength);
            Float4 v0 = own0[Gpu.WarpSize]; // c of the column before
            Float4 v1 = own1[Gpu.WarpSize];
            Float4 v2 = own2[Gpu.WarpSize];
            Float4 v3 = own3[Gpu.WarpSize];
            RoleBarrier.Wait(); // q, r, S and the reflector are there, and v is read
            ColumnStart start = StartColumn(words, rows.V, k, lane, first);
            if (lane >> 2 == warp)
            {
                place[0] = start.W;
                place[Gpu.WarpSize] = start.Column;
            }

            rows.T2 = Minus(rows.T2, v2, start.W, first);
            rows.T0 = Minus(rows.T0, v0, start.W, first);
            rows.T3 = Minus(rows.T3, v3, start.W, first);
            rows.T1 = Minus(rows.T1, v1, start.W, first);
            WarpLanes.Barrier(); // w and c of the warp's rows are there
            RowProducts p2 = Pass(rows.T2, start, own2, first);
            RowProducts p0 = Pass(rows.T0, start, own0, first);
            RowProducts p3 = Pass(rows.T3, start, own3, first);
            RowProducts p1 = Pass(rows.T1, start, own1, first);
            Folded folded = Fold(p0.Sums, p1.Sums, p2.Sums, p3.Sums, p0.Share + p1.Share + (p2.Share + p3.Share), lane, first);
            if ((lane & 1) == 0)
            {
                target[(Gpu.WarpSize * ((lane >> 1) & 3)) + (4 * warp) + (lane >> 3)] = folded.Product;
            }

            if (lane == 0)
            {
                target[PlaceOfShares + warp] = folded.Share;
            }

            int pivot = k + 1 - (Gpu.WarpSize * first);
            if (pivot >> 2 == warp)
            {
                int t = Order(pivot & 3, lane);
                Float4 lower = t == 0 ? Block(p0.Rows, first) : Block(p1.Rows, first);
                Float4 upper = t == 2 ? Block(p2.Rows, first) : Block(p3.Rows, first);
                Float4 row = t < 2 ? lower : upper;
                ToShared(target.SubView(lane, PlaceOfRow + 97).SubView(PlaceOfRow + (Gpu.WarpSize * first), 97 - (Gpu.WarpSize * first)), row, first);
            }

            rows.T0 = p0.Rows;
            rows.T1 = p1.Rows;
            rows.T2 = p2.Rows;
            rows.T3 = p3.Rows;
            rows.V = start.Column;
        }

        return rows;
    }

    // The same columns, by the warp that has the reflectors, for which everybody waits: so it keeps one only while it forms the next one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static HeldReflector ReflectorsOfPhase(RegisterReduction p, HeldReflector last, int lane, int first)
    {
        int k = StartOfPhase(first, p.Shift);
        int end = EndOfPhase(first, p.Last);
        bool isThere = k < end;
        for (; k < end; k++)
        {
            ColumnWords words = WordsOf(p, k, lane);
            ArrayView<Float4> target = p.Exchange.SubView(((1 - (k & 1)) * BufferLength) + PlaceOfHead, 4).Cast<Float4>();
            RoleBarrier.Wait(); // as the warps that have rows
            ColumnStart start = StartColumn(words, last.V, k, lane, first);
            float tail = Dot(start.Column, start.Column, first);
            float element = lane == k + 1 - (Gpu.WarpSize * first) ? start.Element : 0.0f;
            tail += WarpLanes.Xor(tail, 16); // both sums side by side
            element += WarpLanes.Xor(element, 16);
            tail += WarpLanes.Xor(tail, 8);
            element += WarpLanes.Xor(element, 8);
            tail += WarpLanes.Xor(tail, 4);
            element += WarpLanes.Xor(element, 4);
            tail += WarpLanes.Xor(tail, 2);
            element += WarpLanes.Xor(element, 2);
            tail += WarpLanes.Xor(tail, 1);
            element += WarpLanes.Xor(element, 1);
            Keep(p, last, k, lane, first);
            if (lane == 0)
            {
                p.D[k - p.Shift] = start.Diagonal;
            }

            float square = (element * element) + tail;
            float inverse = Reciprocal.ApproximateRoot(square);
            float norm = square * inverse;
            norm += 0.5f * inverse * (square - (norm * norm));
            float opposite = element > 0.0f ? -norm : norm;
            bool isNeeded = tail > LeastTail;
            float alpha = isNeeded ? opposite : element;
            float head = element - alpha;
            float length = (head * head) + tail;       // of what u is, not what it should be: a reflector whatever alpha's error
            float half = Reciprocal.Approximate(length);
            half += half * (1.0f - (length * half));   // Newton's step: what is missing to a reflector is half a unit then
            float factor = isNeeded ? 2.0f * half : 0.0f;
            Float4 handed = default;
            handed.X = head;
            handed.Y = factor;
            if (lane == 0)
            {
                target[0] = handed;
            }

            last.V = start.Column;
            last.Head = head;
            last.Factor = factor;
            last.Alpha = alpha;
        }

        if (isThere)
        {
            Keep(p, last, k, lane, first);
        }

        return last;
    }

    // The reflector of the column before k; the first time in a phase again, but for blocks before `first`, and before there is one into row 0, which is free.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Keep(RegisterReduction p, HeldReflector last, int k, int lane, int first)
    {
        int row = XMath.Max(k - 1 - p.Shift, 0);
        if (lane == 0)
        {
            p.E[row] = last.Alpha;
        }

        if (lane == 0)
        {
            p.Beta[row] = last.Factor;
        }

        Float4 u = last.V;
        bool isPivot = lane == k - (Gpu.WarpSize * first);
        u.X = first == 0 && isPivot ? last.Head : u.X;
        u.Y = first == 1 && isPivot ? last.Head : u.Y;
        u.Z = first == 2 && isPivot ? last.Head : u.Z;
        u.W = first == 3 && isPivot ? last.Head : u.W;
        ToShared(p.A.SubView((row * p.Pitch) + (Gpu.WarpSize * first) - p.Shift + lane, 97 - (Gpu.WarpSize * first)), u, first);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ColumnWords WordsOf(RegisterReduction p, int k, int lane)
    {
        ArrayView<float> buffer = p.Exchange.SubView((k & 1) * BufferLength, BufferLength);
        ColumnWords words = default;
        words.Own = buffer.SubView(lane, (2 * Narrow) - Gpu.WarpSize + 1);
        words.Shares = buffer.SubView(PlaceOfShares, WarpsOfRows + 4).Cast<Float4>();
        words.Pivot = buffer.SubView(k, PlaceOfRow + 1);
        return words;
    }

    // w of the reflector before, and the updated column k; every warp has the same bits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ColumnStart StartColumn(ColumnWords words, Float4 v, int k, int lane, int first)
    {
        Float4 q = FromShared(words.Own, 0, first);
        Float4 r = FromShared(words.Own, PlaceOfRow, first);
        Float4 shares = words.Shares[0];
        Float4 more = words.Shares[1];
        float head = words.Shares[2].X;
        float factor = words.Shares[2].Y;
        float qk = words.Pivot[0];
        float rk = words.Pivot[PlaceOfRow];
        float across = head * rk;
        float product = Total(shares) + Total(more) + (head * (qk + (qk + across)));
        float half = 0.5f * factor * (factor * product);
        float wk = (factor * (qk + across)) - (half * head);
        Float4 w = Add(Scaled(factor, Add(q, head, r)), -half, v);
        Float4 column = Add(Add(r, -head, w), -wk, v);
        ColumnStart start = default;
        start.V = v;
        start.W = w;
        start.Element = Component(column, first);
        start.Diagonal = rk - (2.0f * head * wk);
        bool isBehind = lane > k + 1 - (Gpu.WarpSize * first);
        start.Column.X = first == 0 && isBehind ? column.X : 0.0f;
        start.Column.Y = first < 1 || (first == 1 && isBehind) ? column.Y : 0.0f;
        start.Column.Z = first < 2 || (first == 2 && isBehind) ? column.Z : 0.0f;
        start.Column.W = first < 3 || isBehind ? column.W : 0.0f;
        return start;
    }
}
