// SPDX-License-Identifier: Apache-2.0
// Tridiagonalisation of a matrix of up to 768 rows by a cluster of groups, which keeps it in registers.  The steps are those of EigenSymmetric.Gpu.LargeColumns.cs.
// Mapping    rows and columns are counted so that the last one is 767; what comes before is 0, and no column begins there. Row i belongs to
//            group i mod G; of its rows every second warp of the group has one in turns. The columns of a row are 12 a lane, 64 apart, in two warps: EigenSymmetric.Gpu.ClusterTile.cs.
// Column k   receive of every row from k on p = beta A v of the column before, and its element of column k without that column's update; dot = p . v comes in parts,
//            one a group. u = the updated column, its norm, the reflector. Update of the own rows and their products with u in one pass; send both.
// Barriers   two a column: behind u, w and the warps' parts of the norm, and behind the warps' parts of the products.
// Zeros      v and u are 0 before their first component: so columns and rows that are finished need no conditions. What they hold is read by nobody.
// Exchange   EigenSymmetric.Gpu.ClusterExchange.cs. All groups take part in every column.
// Precision  float32.
// Determinism  for a number of groups and warps: dot is added up by groups.
// Limits     n up to 768 with 16 groups of 256 threads; with fewer up to 64, and less than there is room for; a power of two of groups, and of row warps; clusters of sm_90 or the emulation; 255 registers a thread, so one group a multiprocessor.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    /// <summary>Largest n of <see cref="ClusterColumnsKernel"/>, if the cluster has as many rows.</summary>
    public const int ClusterColumns = ColumnSlots * SlotColumns;

    private const int MostClusterThreads = 256;        // which leaves 255 registers a thread
    private const int Phases = ColumnSlots / SlotsOfAPhase;
    private const int MostRanks = Gpu.LargestCluster;
    private const int MostRowWarps = MostClusterThreads / SlotColumns;
    private const int MostWarps = MostClusterThreads / Gpu.WarpSize;

    /// <summary>Rows that a cluster has room for.</summary>
    public static int ClusterRows(int ranks, int threads) => RowSlots * ranks * (threads / SlotColumns);

    private const int VectorPitch = ClusterColumns + 4;
    private const int MostOwnRows = RowSlots * MostRowWarps;
    private const int OwnPitch = MostOwnRows + 4;
    private const int NoRow = ClusterColumns + 1;      // where what is no component goes: a store without a condition
    private const int NoOwnRow = MostOwnRows;

    /// <summary>What a group keeps in shared memory: one piece with constant offsets, since addresses in registers would push the matrix out of them.</summary>
    private struct ClusterMemoryOfGroup
    {
        public const int Words = InboxStart + (4 * ClusterInbox);

        private const int OwnStart = 3 * VectorPitch;
        private const int PartStart = OwnStart + (3 * OwnPitch);
        private const int ElementStart = PartStart + (ColumnWarps * MostOwnRows);
        private const int TailStart = ElementStart + MostOwnRows;
        private const int DotStart = TailStart + MostWarps;
        private const int ResultStart = DotStart + MostWarps;
        private const int InboxStart = ResultStart + (3 * VectorPitch);

        public ArrayView<float> All;

        /// <summary>Products of the group's rows with u, a part for each of two warps.</summary>
        public readonly ArrayView<float> Parts => All.SubView(PartStart, ColumnWarps * MostOwnRows);

        /// <summary>The rows' elements of the next column.</summary>
        public readonly ArrayView<float> Elements => All.SubView(ElementStart, MostOwnRows);

        /// <summary>Parts of the norm, a warp each; 0 of warps that are not there.</summary>
        public readonly ArrayView<float> Tails => All.SubView(TailStart, MostWarps);

        /// <summary>The same of dot.</summary>
        public readonly ArrayView<float> Dots => All.SubView(DotStart, MostWarps);

        /// <summary>u of a column: two vectors take turns, so this is v of the next one. One word behind the last is 0.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly ArrayView<float> U(int k) => All.SubView((k & 1) * VectorPitch, VectorPitch);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly ArrayView<float> W() => All.SubView(2 * VectorPitch, VectorPitch);

        /// <summary>u of the group's own rows, in the order of <see cref="ClusterPlan.Own"/>.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly ArrayView<float> OwnU(int k) => All.SubView(OwnStart + ((k & 1) * OwnPitch), OwnPitch);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly ArrayView<float> OwnW() => All.SubView(OwnStart + (2 * OwnPitch), OwnPitch);

        /// <summary>d, e or beta.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly ArrayView<float> Result(int vector) => All.SubView(ResultStart + (vector * VectorPitch), VectorPitch);

        /// <summary>The inbox of a column; two take turns.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly ArrayView<long> Inbox(int k) => All.SubView(InboxStart + ((k & 1) * 2 * ClusterInbox), 2 * ClusterInbox).Cast<long>();
    }

    /// <summary>A thread between two columns.</summary>
    private struct ClusterState
    {
        public ClusterTile Tile;

        /// <summary>The next column.</summary>
        public int K;

        /// <summary>First component and factor of the reflector before.</summary>
        public float Head;
        public float Beta;
    }

    /// <summary>All columns; the grid's row is a cluster, and n less than <see cref="ClusterRows"/> or 768.</summary>
    public static void ClusterColumnsKernel(LargeEigenArguments p)
    {
        ClusterMemoryOfGroup memory = default;
        memory.All = SharedMemory.Allocate<Float4>((ClusterMemoryOfGroup.Words + 3) / 4).Cast<float>();
        ClusterPlan plan = ClusterPlan.OfThread(p.Problem.Size);
        for (int i = Group.IdxX; i < ClusterMemoryOfGroup.Words; i += Group.DimX)
        {
            memory.All[i] = 0.0f;
        }

        GroupBarrier.Wait(); // zeros are there
        ArrayView<float> matrix = p.CentredMatrix();
        FillInboxes(memory, plan, matrix);
        ClusterState state = default;
        state.Tile = ClusterTile.From(matrix, plan);
        state.K = plan.Start;
        ClusterMemory.Begin(ref p.Records[0], ref memory.Inbox(0)[0]);
        state = Columns(state, p, memory, plan, 0);
        state = Columns(state, p, memory, plan, 1);
        state = Columns(state, p, memory, plan, 2);
        state = Columns(state, p, memory, plan, 3);
        state = Columns(state, p, memory, plan, 4);
        _ = Columns(state, p, memory, plan, 5);
        GroupBarrier.Wait(); // d, e and beta are there
        if (plan.Rank == 0)
        {
            for (int k = plan.Start + Group.IdxX; k < ClusterColumns; k += Group.DimX)
            {
                p.Vector(VectorD)[k - plan.Start] = memory.Result(VectorD)[k];
                p.Vector(VectorE)[k - plan.Start] = memory.Result(VectorE)[k];
                p.Vector(VectorBeta)[k - plan.Start] = memory.Result(VectorBeta)[k];
            }
        }

        ClusterMemory.End(ref p.Records[0]);
    }

    // The columns of a phase, while slots before it are finished; the phase is a constant once this is inlined.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ClusterState Columns(ClusterState state, LargeEigenArguments p, ClusterMemoryOfGroup memory, ClusterPlan plan, int phase)
    {
        ArrayView<float> reflectors = p.Reflector(0);
        int end = phase == Phases - 1 ? ClusterColumns : XMath.Max(SlotsOfAPhase * SlotColumns * (phase + 1), plan.RowOffset + plan.RowsBefore(0, SlotsOfAPhase * (phase + 1)));
        int k = state.K;
        for (; k < end; k++)
        {
            ArrayView<float> u = memory.U(k);
            ArrayView<float> v = memory.U(k + 1);
            Received received = ReceiveColumn(memory, plan, u, v, state.Head, state.Beta, k);
            float part = GroupSum.Warp(received.Tail);
            if (plan.Lane == 0)
            {
                memory.Tails[plan.Warp] = part;
            }

            GroupBarrier.Wait(); // u, w and the tail's parts are there
            float tail = SumOfWarps(memory.Tails);
            float next = u[k + 1];
            float norm = XMath.Sqrt((next * next) + tail);
            bool isNeeded = tail > LeastTail;
            float alpha = isNeeded ? (next > 0.0f ? -norm : norm) : next;
            state.Head = next - alpha;
            state.Tile = Pass(state.Tile, memory, plan, u, v, state.Head, k, phase);
            state.Beta = isNeeded ? 1.0f / (norm * (norm + XMath.Abs(next))) : 0.0f;
            GroupBarrier.Wait(); // products and elements are there; nobody reads the first component of u any more
            if (k + 1 < ClusterColumns)
            {
                SendColumn(p, memory, plan, state.Beta, k);
            }

            KeepReflector(reflectors, memory, plan, u, received.Corner, alpha, state, k);
        }

        state.K = k;
        return state;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float SumOfWarps(ArrayView<float> parts)
    {
        ArrayView<Float4> quads = parts.Cast<Float4>();
        return Total(Add(quads[0], 1.0f, quads[1]));
    }

    // The first component of u for the columns to come, and the reflector by one of the groups.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void KeepReflector(
        ArrayView<float> reflectors, ClusterMemoryOfGroup memory, ClusterPlan plan, ArrayView<float> u, float corner, float alpha, ClusterState state, int k)
    {
        PutHead(memory, plan.Component(2), u, state.Head, k);
        PutHead(memory, plan.Component(1), u, state.Head, k);
        PutHead(memory, plan.Component(0), u, state.Head, k);
        if ((k & (plan.Ranks - 1)) == plan.Rank)
        {
            int start = ((k - plan.Start) * WarpShare) - plan.Start; // the reflectors' pitch up to 768 rows
            KeepComponent(reflectors, start, plan.Component(2).Row, u, k);
            KeepComponent(reflectors, start, plan.Component(1).Row, u, k);
            KeepComponent(reflectors, start, plan.Component(0).Row, u, k);
        }

        if (Group.IdxX == 0)
        {
            memory.Result(VectorD)[k] = corner;
            memory.Result(VectorE)[k] = alpha;
            memory.Result(VectorBeta)[k] = state.Beta;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PutHead(ClusterMemoryOfGroup memory, ClusterComponent component, ArrayView<float> u, float head, int k)
    {
        if (component.Row == k + 1)
        {
            u[component.Row] = head;
            memory.OwnU(k)[component.Own] = head;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void KeepComponent(ArrayView<float> reflectors, int start, int row, ArrayView<float> u, int k)
    {
        if (row > k)
        {
            reflectors[start + row] = u[row];
        }
    }
}
