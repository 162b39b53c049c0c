// SPDX-License-Identifier: Apache-2.0
// What a thread of the tridiagonalisation in a cluster has of the matrix: 12 rows by 6 columns in registers.  A -= v w^T + w v^T; then sums of A u along its rows.
// Slots      rows of a warp that follow each other are RowWarps x Ranks apart, columns of a lane 128. Two slots of rows are finished with one of columns in a cluster
//            of 16 groups with 16 warps; otherwise a phase ends with what is finished last. Slots before `first`, a constant once this is inlined, cost nothing.
// Registers  72 for the tile, 18 for its columns of v, w and u, 8 for four rows of v and w: nothing unrolls a loop or names a register for us, so they stand here by name.
// Traffic    of shared memory a warp loads 18 words a lane for the columns and 24 for the rows; 216 multiply-adds a lane.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int RowSlots = 12;
    private const int ColumnSlots = 6;
    private const int SlotsOfAPhase = RowSlots / ColumnSlots;
    private const int ColumnWarps = 4;
    private const int SlotColumns = ColumnWarps * Gpu.WarpSize;

    /// <summary>A lane's columns of a row or of a vector.</summary>
    private struct LaneColumns
    {
        public float C0;
        public float C1;
        public float C2;
        public float C3;
        public float C4;
        public float C5;
    }

    /// <summary>A lane's columns of four rows.</summary>
    private struct RowQuad
    {
        public LaneColumns R0;
        public LaneColumns R1;
        public LaneColumns R2;
        public LaneColumns R3;

        /// <summary>The rows from a slot on; zeros before the matrix.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static RowQuad From(ArrayView<float> matrix, ClusterPlan plan, int slot)
        {
            RowQuad quad = default;
            quad.R0 = RowFrom(matrix, plan, slot);
            quad.R1 = RowFrom(matrix, plan, slot + 1);
            quad.R2 = RowFrom(matrix, plan, slot + 2);
            quad.R3 = RowFrom(matrix, plan, slot + 3);
            return quad;
        }

        /// <summary>The rows' elements in the columns of one slot.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Float4 Column(int slot)
        {
            Float4 column = default;
            column.X = Element(R0, slot);
            column.Y = Element(R1, slot);
            column.Z = Element(R2, slot);
            column.W = Element(R3, slot);
            return column;
        }
    }

    /// <summary>A thread's part of the matrix.</summary>
    private struct ClusterTile
    {
        public RowQuad Q0;
        public RowQuad Q1;
        public RowQuad Q2;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ClusterTile From(ArrayView<float> matrix, ClusterPlan plan)
        {
            ClusterTile tile = default;
            tile.Q0 = RowQuad.From(matrix, plan, 0);
            tile.Q1 = RowQuad.From(matrix, plan, 4);
            tile.Q2 = RowQuad.From(matrix, plan, 8);
            return tile;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LaneColumns RowFrom(ArrayView<float> matrix, ClusterPlan plan, int slot)
    {
        int row = plan.Row(plan.RowWarp, slot) - plan.Start;
        int column = FirstColumn(plan) - plan.Start;
        LaneColumns columns = default;
        columns.C0 = ElementFrom(matrix, plan.Size, row, column);
        columns.C1 = ElementFrom(matrix, plan.Size, row, column + SlotColumns);
        columns.C2 = ElementFrom(matrix, plan.Size, row, column + (2 * SlotColumns));
        columns.C3 = ElementFrom(matrix, plan.Size, row, column + (3 * SlotColumns));
        columns.C4 = ElementFrom(matrix, plan.Size, row, column + (4 * SlotColumns));
        columns.C5 = ElementFrom(matrix, plan.Size, row, column + (5 * SlotColumns));
        return columns;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float ElementFrom(ArrayView<float> matrix, int n, int row, int column)
    {
        float value = matrix[(XMath.Max(row, 0) * n) + XMath.Max(column, 0)]; // without a branch, so that loads are under way together
        return row >= 0 && column >= 0 ? value : 0.0f;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FirstColumn(ClusterPlan plan) => (plan.Warp % ColumnWarps * Gpu.WarpSize) + plan.Lane;

    // Update and product of all rows: parts of the sums, of dot, and the elements of column k + 1 go to shared memory.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ClusterTile Pass(
        ClusterTile tile, ClusterMemoryOfGroup memory, ClusterPlan plan, ArrayView<float> u, ArrayView<float> v, float head, int k, int first)
    {
        int column = FirstColumn(plan);
        LaneColumns vs = ColumnsFrom(v, column);
        LaneColumns ws = ColumnsFrom(memory.W(), column);
        tile.Q0 = first < 2 ? Update(tile.Q0, memory, plan, vs, ws, k, 0, first) : tile.Q0;
        tile.Q1 = first < 4 ? Update(tile.Q1, memory, plan, vs, ws, k, 4, first) : tile.Q1;
        tile.Q2 = Update(tile.Q2, memory, plan, vs, ws, k, 8, first);
        LaneColumns us = WithHead(ColumnsFrom(u, column), head, k + 1 - column);
        float dot = Multiply(tile.Q2, memory, plan, us, head, k, 8, first);
        dot += first < 4 ? Multiply(tile.Q1, memory, plan, us, head, k, 4, first) : 0.0f;
        dot += first < 2 ? Multiply(tile.Q0, memory, plan, us, head, k, 0, first) : 0.0f;
        dot += Warp.ShuffleXor(dot, 8);                 // each eight lanes have a sum of four
        dot += Warp.ShuffleXor(dot, 16);
        if (plan.Lane == 0)
        {
            memory.Dots[plan.Warp] = dot;
        }

        int slot = (k + 1) / SlotColumns;
        if (k + 1 - (slot * SlotColumns) == column)
        {
            if (slot == first)                          // constants: a register has no index
            {
                PutElements(tile, memory, plan, first);
            }
            else if (slot == ColumnSlots - 1)
            {
                PutElements(tile, memory, plan, ColumnSlots - 1);
            }
            else
            {
                PutElements(tile, memory, plan, first + 1);
            }
        }

        return tile;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LaneColumns ColumnsFrom(ArrayView<float> vector, int column)
    {
        ArrayView<float> own = vector.SubView(column, (5 * SlotColumns) + 1); // constant offsets from here
        LaneColumns columns = default;
        columns.C0 = own[0];
        columns.C1 = own[SlotColumns];
        columns.C2 = own[2 * SlotColumns];
        columns.C3 = own[3 * SlotColumns];
        columns.C4 = own[4 * SlotColumns];
        columns.C5 = own[5 * SlotColumns];
        return columns;
    }

    // The vector with its first component, which is not in memory yet.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LaneColumns WithHead(LaneColumns u, float head, int distance)
    {
        u.C0 = distance == 0 ? head : u.C0;
        u.C1 = distance == SlotColumns ? head : u.C1;
        u.C2 = distance == 2 * SlotColumns ? head : u.C2;
        u.C3 = distance == 3 * SlotColumns ? head : u.C3;
        u.C4 = distance == 4 * SlotColumns ? head : u.C4;
        u.C5 = distance == 5 * SlotColumns ? head : u.C5;
        return u;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PutElements(ClusterTile tile, ClusterMemoryOfGroup memory, ClusterPlan plan, int slot)
    {
        ArrayView<Float4> elements = memory.Elements.SubView(plan.RowWarp * RowSlots, RowSlots).Cast<Float4>();
        elements[0] = tile.Q0.Column(slot);
        elements[1] = tile.Q1.Column(slot);
        elements[2] = tile.Q2.Column(slot);
    }

    // Four rows from a slot on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static RowQuad Update(RowQuad quad, ClusterMemoryOfGroup memory, ClusterPlan plan, LaneColumns vs, LaneColumns ws, int k, int slot, int first)
    {
        int place = (plan.RowWarp * RowSlots) + slot;
        Float4 v = memory.OwnU(k + 1).Cast<Float4>()[place / 4];
        Float4 w = memory.OwnW().Cast<Float4>()[place / 4];
        int live = SlotsOfAPhase * first;
        quad.R0 = slot >= live ? AddRow(AddRow(quad.R0, -v.X, ws, first), -w.X, vs, first) : quad.R0;
        quad.R1 = slot + 1 >= live ? AddRow(AddRow(quad.R1, -v.Y, ws, first), -w.Y, vs, first) : quad.R1;
        quad.R2 = slot + 2 >= live ? AddRow(AddRow(quad.R2, -v.Z, ws, first), -w.Z, vs, first) : quad.R2;
        quad.R3 = slot + 3 >= live ? AddRow(AddRow(quad.R3, -v.W, ws, first), -w.W, vs, first) : quad.R3;
        return quad;
    }

    // Sums of four rows, a warp's part of each; returns the part of dot that a lane's row has.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Multiply(RowQuad quad, ClusterMemoryOfGroup memory, ClusterPlan plan, LaneColumns us, float head, int k, int slot, int first)
    {
        int live = SlotsOfAPhase * first;
        float sum = FoldRows(
            slot >= live ? DotRow(quad.R0, us, first) : 0.0f, slot + 1 >= live ? DotRow(quad.R1, us, first) : 0.0f,
            slot + 2 >= live ? DotRow(quad.R2, us, first) : 0.0f, slot + 3 >= live ? DotRow(quad.R3, us, first) : 0.0f);
        int own = slot + (plan.Lane / 8);
        int place = (plan.RowWarp * RowSlots) + own;
        if (plan.Lane % 8 == 0)
        {
            memory.Parts[(place * ColumnWarps) + (plan.Warp % ColumnWarps)] = sum;
        }

        int row = plan.Row(plan.RowWarp, own);
        float ui = row == k + 1 ? head : memory.OwnU(k)[place];
        return row > k ? sum * ui : 0.0f;
    }

    // x + factor y in the slots from `first` on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LaneColumns AddRow(LaneColumns x, float factor, LaneColumns y, int first)
    {
        x.C0 = first <= 0 ? x.C0 + (factor * y.C0) : x.C0;
        x.C1 = first <= 1 ? x.C1 + (factor * y.C1) : x.C1;
        x.C2 = first <= 2 ? x.C2 + (factor * y.C2) : x.C2;
        x.C3 = first <= 3 ? x.C3 + (factor * y.C3) : x.C3;
        x.C4 = first <= 4 ? x.C4 + (factor * y.C4) : x.C4;
        x.C5 += factor * y.C5;
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float DotRow(LaneColumns x, LaneColumns y, int first)
    {
        float sum = x.C5 * y.C5;
        sum = first <= 4 ? sum + (x.C4 * y.C4) : sum;
        sum = first <= 3 ? sum + (x.C3 * y.C3) : sum;
        sum = first <= 2 ? sum + (x.C2 * y.C2) : sum;
        sum = first <= 1 ? sum + (x.C1 * y.C1) : sum;
        return first <= 0 ? sum + (x.C0 * y.C0) : sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Element(LaneColumns x, int slot)
    {
        float low = slot == 0 ? x.C0 : (slot == 1 ? x.C1 : x.C2);
        float high = slot == 3 ? x.C3 : (slot == 4 ? x.C4 : x.C5);
        return slot < 3 ? low : high;
    }
}
