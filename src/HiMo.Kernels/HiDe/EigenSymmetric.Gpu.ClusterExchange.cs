// SPDX-License-Identifier: Apache-2.0
// What the groups of a cluster hand to each other, once a column: a record of each row, and one of each group. Record, tag and turns of two inboxes are those
// of EigenSymmetric.Gpu.LargeExchange.cs; an inbox lies in the shared memory of every group, which all write to, so that looking costs next to nothing.
// Places     what a group sends lies together, and a warp sends to one group after another: it goes in a few pieces. Groups are an odd number of places apart, so that
//            neighbouring rows, which belong to different groups, lie in different banks.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int RankPitch = MostOwnRows + 1;
    private const int DotPlaces = MostRanks * RankPitch;
    private const int ClusterInbox = DotPlaces + MostRanks;

    /// <summary>A component of all vectors that a thread has.</summary>
    internal struct ClusterComponent
    {
        /// <summary>Its row, 0 at least; one that lies before the first one is not there, and has no place.</summary>
        public int Row;

        /// <summary>Where its record lies.</summary>
        public int Place;

        /// <summary>Where it lies among those of the group's rows, or behind them.</summary>
        public int Own;
    }

    /// <summary>Which rows and columns are whose.</summary>
    internal struct ClusterPlan
    {
        public int Size;
        public int Lane;
        public int Warp;

        /// <summary>Groups of the cluster, a power of two, and which one this is.</summary>
        public int Ranks;
        public int Rank;
        public int RankBits;

        /// <summary>Warps of a group that share its rows, a power of two, and which one this is.</summary>
        public int RowWarps;
        public int RowWarp;
        public int RowBits;

        /// <summary>First column of the matrix.</summary>
        public int Start;

        /// <summary>A row's number less that of the place where it lies among those of the cluster.</summary>
        public int RowOffset;

        /// <summary>Row and place of the last of the thread's components.</summary>
        public int LastRow;
        public int LastPlace;

        /// <summary>The rows that the lane sends, in places Lane and Lane + 32 of <see cref="Own"/>; -1: none.</summary>
        public int SentRow0;
        public int SentRow1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ClusterPlan OfThread(int n)
        {
            ClusterPlan plan = default;
            plan.Size = n;
            plan.Lane = Group.IdxX & (Gpu.WarpSize - 1);
            plan.Warp = Group.IdxX >> 5;
            plan.Ranks = Grid.DimX;
            plan.Rank = Grid.IdxX;
            plan.RankBits = XMath.PopCount(Grid.DimX - 1);
            plan.RowWarps = Group.DimX >> 6;
            plan.RowWarp = plan.Warp >> 1;
            plan.RowBits = XMath.PopCount(plan.RowWarps - 1);
            plan.Start = ClusterColumns - n;
            plan.RowOffset = ClusterColumns - (RowSlots << (plan.RankBits + plan.RowBits));
            plan.LastRow = ClusterColumns - Group.DimX + Group.IdxX;
            plan.LastPlace = plan.Place(plan.LastRow);
            plan.SentRow0 = plan.Lane < RowSlots * plan.RowWarps ? plan.Row(plan.Lane / RowSlots, plan.Lane % RowSlots) : -1;
            int second = plan.Lane + Gpu.WarpSize;
            plan.SentRow1 = second < RowSlots * plan.RowWarps ? plan.Row(second / RowSlots, second % RowSlots) : -1;
            return plan;
        }

        /// <summary>Whether the row is one of the group's.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly bool IsOwn(int row) => ((row - RowOffset) & (Ranks - 1)) == Rank;

        /// <summary>
        /// The thread's components: 0 of the last rows, as many as there are threads, 1 and 2 of as many before. All belong to one group, since a group has 64 threads for
        /// each of its row warps and a cluster no more than 16 groups; so one is known by the other, and takes no registers.
        /// </summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly ClusterComponent Component(int turn)
        {
            ClusterComponent component = default;
            component.Row = LastRow - (turn * Group.DimX);
            component.Place = LastPlace - (turn * (SlotColumns >> RankBits));
            component.Own = IsOwn(LastRow) ? component.Place - (Rank * RankPitch) : NoOwnRow;
            return component;
        }

        /// <summary>Where a row lies among those of its group: slots of a warp together.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly int Own(int row)
        {
            int local = (row - RowOffset) >> RankBits;
            return ((local & (RowWarps - 1)) * RowSlots) + (local >> RowBits);
        }

        /// <summary>Where a row's record lies.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly int Place(int row) => (((row - RowOffset) & (Ranks - 1)) * RankPitch) + Own(row);

        /// <summary>The group's row in a slot of a warp.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly int Row(int rowWarp, int slot) => RowOffset + Rank + RowsBefore(rowWarp, slot);

        /// <summary>How far that is behind the group's first one.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly int RowsBefore(int rowWarp, int slot) => ((slot << RowBits) + rowWarp) << RankBits;
    }

    /// <summary>What a thread has of a column that was received.</summary>
    private struct Received
    {
        /// <summary>Squares of the components below the reflector's first.</summary>
        public float Tail;

        /// <summary>The column's diagonal element, in every thread.</summary>
        public float Corner;
    }

    // Records for the first column, and such as are not for the second one; nobody sends before everybody has them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FillInboxes(ClusterMemoryOfGroup memory, ClusterPlan plan, ArrayView<float> matrix)
    {
        for (int i = Group.IdxX; i < ClusterInbox; i += Group.DimX)
        {
            memory.Inbox(plan.Start)[i] = Record(0.0f, 0.0f, plan.Start);
            memory.Inbox(plan.Start + 1)[i] = Record(0.0f, 0.0f, plan.Start + 3);
        }

        GroupBarrier.Wait(); // all are there, which the rows now replace
        for (int j = plan.Start + Group.IdxX; j < ClusterColumns; j += Group.DimX)
        {
            memory.Inbox(plan.Start)[plan.Place(j)] = Record(0.0f, matrix[j - plan.Start], plan.Start);
        }
    }

    // The thread's components of u and w, and its share of the tail.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Received ReceiveColumn(ClusterMemoryOfGroup memory, ClusterPlan plan, ArrayView<float> u, ArrayView<float> v, float head, float beta, int k)
    {
        ArrayView<long> inbox = memory.Inbox(k);
        int corner = plan.Place(k);
        ClusterComponent low = plan.Component(2);
        ClusterComponent middle = plan.Component(1);
        ClusterComponent high = plan.Component(0);
        int lowPlace = low.Row >= k ? low.Place : corner; // finished rows have no record
        int middlePlace = middle.Row >= k ? middle.Place : corner;
        int highPlace = high.Row >= k ? high.Place : corner;
        int dots = DotPlaces + (plan.Lane & (plan.Ranks - 1));
        float vLow = v[low.Row];
        float vMiddle = v[middle.Row];
        float vHigh = v[high.Row];
        Records records = PeekCluster(inbox, lowPlace, middlePlace, highPlace, dots);
        long cornerRecord = ClusterMemory.Load(ref inbox[corner]);
        while (!IsComplete(records, k) || Wrong(cornerRecord, k) != 0)
        {
            RelaxedMemory.Pause();
            records = PeekCluster(inbox, lowPlace, middlePlace, highPlace, dots);
            cornerRecord = ClusterMemory.Load(ref inbox[corner]);
        }

        WarpLanes.Barrier(); // lanes that waited and lanes that did not go on together: apart, shuffles take several times as long
        float half = 0.5f * beta * GroupSum.Warp(plan.Lane < plan.Ranks ? ProductOf(records.Record3) : 0.0f);
        float wk = ProductOf(cornerRecord) - (half * head);
        Received received = default;
        received.Tail = TakeComponent(memory, low, u, vLow, records.Record0, half, head, wk, k);
        received.Tail += TakeComponent(memory, middle, u, vMiddle, records.Record1, half, head, wk, k);
        received.Tail += TakeComponent(memory, high, u, vHigh, records.Record2, half, head, wk, k);
        received.Corner = ElementOf(cornerRecord) - (2.0f * head * wk);
        return received;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Records PeekCluster(ArrayView<long> inbox, int place0, int place1, int place2, int place3)
    {
        Records records = default;
        records.Record0 = ClusterMemory.Load(ref inbox[place0]);
        records.Record1 = ClusterMemory.Load(ref inbox[place1]);
        records.Record2 = ClusterMemory.Load(ref inbox[place2]);
        records.Record3 = ClusterMemory.Load(ref inbox[place3]);
        return records;
    }

    // One component, v being that of the reflector before; returns its square if it is below the reflector's first. That of row k is 0 from now on, and that of
    // row k - 1, which was the last reflector's first, in this turn's vector too. Before the first column that is a row that is not there; its place is nobody's.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float TakeComponent(
        ClusterMemoryOfGroup memory, ClusterComponent component, ArrayView<float> u, float v, long record, float half, float head, float wk, int k)
    {
        bool isLive = component.Row >= k - 1;
        int row = isLive ? component.Row : NoRow;
        int own = isLive ? component.Own : NoOwnRow;
        float w = ProductOf(record) - (half * v);
        float value = component.Row > k ? ElementOf(record) - (v * wk) - (w * head) : 0.0f;
        u[row] = value;
        memory.W()[row] = w;
        memory.OwnU(k)[own] = value;
        memory.OwnW()[own] = w;
        return component.Row >= k + 2 ? value * value : 0.0f;
    }

    // Records of the group's rows below row k for column k + 1, and of its part of dot: a warp sends to every eighth group, its lanes have a row or two each.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SendColumn(LargeEigenArguments p, ClusterMemoryOfGroup memory, ClusterPlan plan, float beta, int k)
    {
        ArrayView<long> inbox = memory.Inbox(k + 1);
        long dot = Record(beta * SumOfWarps(memory.Dots), 0.0f, k + 1);
        long first = RowRecord(memory, plan.Lane, plan.SentRow0, beta, k);
        long second = RowRecord(memory, plan.Lane + Gpu.WarpSize, plan.SentRow1, beta, k);
        int place = (plan.Rank * RankPitch) + plan.Lane;
        for (int target = plan.Warp; target < plan.Ranks; target += Group.DimX / Gpu.WarpSize)
        {
            if (plan.SentRow0 > k)
            {
                ClusterMemory.Store(ref p.Records[0], ref inbox[place], target, first);
            }

            if (plan.SentRow1 > k)
            {
                ClusterMemory.Store(ref p.Records[0], ref inbox[place + Gpu.WarpSize], target, second);
            }

            if (plan.Lane == 0)
            {
                ClusterMemory.Store(ref p.Records[0], ref inbox[DotPlaces + plan.Rank], target, dot);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long RowRecord(ClusterMemoryOfGroup memory, int own, int row, float beta, int k)
    {
        int known = row > k ? own : 0;
        return Record(beta * (memory.Parts[ColumnWarps * known] + memory.Parts[(ColumnWarps * known) + 1]), memory.Elements[known], k + 1);
    }
}
