// SPDX-License-Identifier: Apache-2.0
// What the groups of a tridiagonalisation hand to each other, once a column: a record of each row.
// Record     a word of 64 bits, product and column element of a row; whoever needs it reads until its tag is right: no barrier across the groups, no fence.
// Inboxes    two take turns, so the tag is one bit, another every second column: the product's last one, rounded away. An inbox is written again for column
//            k + 2 by groups that have all records of column k + 1, and every one of these depends on all records of column k: so nobody still waits
//            for what is overwritten, and a group that waits has seen what was there before.
// Copies     of the chip: in global memory, where all groups read the same few lines of the second-level cache; an inbox has two copies, each read by every
//            second group. Of a cluster: one in the shared memory of every group, which the others write to, so that looking costs next to nothing.
// Order      a warp serves some copies, its lanes the group's rows: what goes to one group lies together, and goes in one piece.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int PeekBlock = 4;                   // records that a thread reads at once, and columns of a thread where threads suffice

    /// <summary>Where the inboxes lie.</summary>
    internal interface IInboxes
    {
        /// <summary>Words of dynamic shared memory, even.</summary>
        static abstract int SharedWords(LargeEigenArguments p);

        /// <summary>The group's inboxes in shared memory, from a word on.</summary>
        static abstract ArrayView<long> Own(LargeEigenArguments p, ArrayView<float> shared, int start);

        /// <summary>Called by every thread before the first look.</summary>
        static abstract void Begin(LargeEigenArguments p, ArrayView<long> own);

        /// <summary>Inboxes of a column.</summary>
        static abstract int Copies(LargeEigenArguments p);

        /// <summary>The one that the group reads for a column.</summary>
        static abstract ArrayView<long> Inbox(LargeEigenArguments p, ArrayView<long> own, int column);

        /// <summary>A record as it is now.</summary>
        static abstract long Load(ref long record);

        /// <summary>Puts a record into one of the copies for a column.</summary>
        static abstract void Store(LargeEigenArguments p, ArrayView<long> own, int column, int copy, int place, long record);

        /// <summary>Called by every thread when its group is done.</summary>
        static abstract void End(LargeEigenArguments p);
    }

    /// <summary>Inboxes in global memory.</summary>
    internal readonly struct GlobalInboxes : IInboxes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int SharedWords(LargeEigenArguments p) => 0;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ArrayView<long> Own(LargeEigenArguments p, ArrayView<float> shared, int start) => p.Records; // not asked for

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Begin(LargeEigenArguments p, ArrayView<long> own)
        {
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int Copies(LargeEigenArguments p) => p.Copies;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ArrayView<long> Inbox(LargeEigenArguments p, ArrayView<long> own, int column) => p.Inbox(column, Grid.IdxX % p.Copies);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static long Load(ref long record) => RelaxedMemory.Load(ref record);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(LargeEigenArguments p, ArrayView<long> own, int column, int copy, int place, long record) =>
            RelaxedMemory.Store(ref p.Inbox(column, copy)[place], record);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void End(LargeEigenArguments p)
        {
        }
    }

    /// <summary>Inboxes in the shared memory of a cluster's groups.</summary>
    internal readonly struct ClusterInboxes : IInboxes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int SharedWords(LargeEigenArguments p) => 4 * p.InboxLength;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ArrayView<long> Own(LargeEigenArguments p, ArrayView<float> shared, int start) => shared.SubView(start, SharedWords(p)).Cast<long>();

        // What is in the first copy in global memory; nobody sends before everybody has it.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Begin(LargeEigenArguments p, ArrayView<long> own)
        {
            for (int j = Group.IdxX; j < p.Problem.Size; j += Group.DimX)
            {
                own[p.Place(j)] = p.Inbox(0, 0)[p.Place(j)];
                own[p.InboxLength + p.Place(j)] = p.Inbox(1, 0)[p.Place(j)];
            }

            ClusterMemory.Begin(ref p.Records[0], ref own[0]);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int Copies(LargeEigenArguments p) => Grid.DimX;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ArrayView<long> Inbox(LargeEigenArguments p, ArrayView<long> own, int column) => own.SubView(column % 2 * p.InboxLength, p.InboxLength);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static long Load(ref long record) => ClusterMemory.Load(ref record);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(LargeEigenArguments p, ArrayView<long> own, int column, int copy, int place, long record) =>
            ClusterMemory.Store(ref p.Records[0], ref Inbox(p, own, column)[place], copy, record);

        // Nobody's shared memory ends while others write to it.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void End(LargeEigenArguments p) => ClusterMemory.End(ref p.Records[0]);
    }

    /// <summary>One thread's share of an inbox: up to four records.</summary>
    private struct Records
    {
        public long Record0;
        public long Record1;
        public long Record2;
        public long Record3;
    }

    /// <summary>A row's product and column element for a column; the product is rounded to 23 bits, which leaves the last one to the tag.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Record(float product, float element, int column)
    {
        uint bits = Interop.FloatAsInt(product);
        uint up = XMath.IsNaN(product) ? 0u : bits & (bits >> 1) & 1u; // the last bit is half a unit: to even
        uint tagged = ((bits + up) & ~1u) | Tag(column);
        return ((long)tagged << 32) | Interop.FloatAsInt(element);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Tag(int column) => (uint)(column >> 1) & 1u;

    // The thread's share of the column and of the product before it; returns its part of p . v.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Receive<TInboxes>(
        LargeEigenArguments p, ArrayView<long> inbox, ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, int mine, int k, int n)
        where TInboxes : struct, IInboxes
    {
        int step = Group.DimX;
        float dot = 0.0f;
        for (int j = mine; j < n; j += PeekBlock * step)
        {
            Records records = Peek<TInboxes>(p, inbox, j, step, n);
            while (!IsComplete(records, k))
            {
                RelaxedMemory.Pause();
                records = Peek<TInboxes>(p, inbox, j, step, n);
            }

            dot += Take(records.Record0, u, v, product, j, n);
            dot += Take(records.Record1, u, v, product, j + step, n);
            dot += Take(records.Record2, u, v, product, j + (2 * step), n);
            dot += Take(records.Record3, u, v, product, j + (3 * step), n);
        }

        return dot;
    }

    // All loads before the first use of one, and no branch between them: what lies behind the end is the last record once more.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Records Peek<TInboxes>(LargeEigenArguments p, ArrayView<long> inbox, int j, int step, int n)
        where TInboxes : struct, IInboxes
    {
        int place0 = p.Place(j);
        int place1 = p.Place(XMath.Min(j + step, n - 1));
        int place2 = p.Place(XMath.Min(j + (2 * step), n - 1));
        int place3 = p.Place(XMath.Min(j + (3 * step), n - 1));
        Records records = default;
        records.Record0 = TInboxes.Load(ref inbox[place0]);
        records.Record1 = TInboxes.Load(ref inbox[place1]);
        records.Record2 = TInboxes.Load(ref inbox[place2]);
        records.Record3 = TInboxes.Load(ref inbox[place3]);
        return records;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsComplete(Records r, int k) => (Wrong(r.Record0, k) | Wrong(r.Record1, k) | Wrong(r.Record2, k) | Wrong(r.Record3, k)) == 0;

    // 0 if the record is for column k.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Wrong(long record, int k) => ((uint)(record >> 32) & 1u) ^ Tag(k);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Take(long record, ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, int j, int n)
    {
        float dot = 0.0f;
        if (j < n)
        {
            float value = Interop.IntAsFloat((uint)(record >> 32) & ~1u);
            u[j] = Interop.IntAsFloat((uint)record);
            product[j] = value;
            dot = v[j] * value;
        }

        return dot;
    }

    // A record of each own row for column k + 1, a lane a row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Send<TInboxes>(
        LargeEigenArguments p, ArrayView<long> own, ArrayView<float> rows, ArrayView<float> parts, float beta, int next, int owned, int stride, int pitch, int k)
        where TInboxes : struct, IInboxes
    {
        int warp = Group.IdxX / Gpu.WarpSize;
        int copies = TInboxes.Copies(p);
        if (warp >= copies)
        {
            return;
        }

        for (int row = next + (Group.IdxX % Gpu.WarpSize); row < owned; row += Gpu.WarpSize)
        {
            int place = p.Place((row * Grid.DimX) + Grid.IdxX);
            float element = rows[(row * stride) + k + 1];
            long record = Record(beta * SumParts(parts, row * pitch), element, k + 1);
            for (int copy = warp; copy < copies; copy += Group.DimX / Gpu.WarpSize)
            {
                TInboxes.Store(p, own, k + 1, copy, place, record);
            }
        }
    }
}
