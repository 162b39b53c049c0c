// SPDX-License-Identifier: Apache-2.0
// What a thread of the tridiagonalisation in a cluster has of the matrix: 12 rows by 12 columns in registers.  A -= v w^T + w v^T; then sums of A u along its rows.
// Slots      rows of a warp that follow each other are RowWarps x Ranks apart, columns of a lane 64. In a cluster of 16 groups with 8 warps a slot of rows is finished
//            with one of columns; otherwise a phase ends with what is finished last. Slots before those of a phase, which is a constant once this is inlined, cost nothing.
// Registers  144 for the tile, 36 for its columns of v, w and u, 8 for four rows of v and w: nothing unrolls a loop or names a register for us, so they stand here by name.
//            Eight warps with 255 registers rather than sixteen with 128: a column's own work, which every warp has, is half as much, and the matrix stays where it is.
// Traffic    of shared memory a warp loads 36 words a lane for the columns and 24 for the rows; 432 multiply-adds a lane.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int RowSlots = 12;
    private const int ColumnSlots = 12;
    private const int SlotsOfAPhase = 2;               // of rows and of columns
    private const int ColumnWarps = 2;
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
        public float C6;
        public float C7;
        public float C8;
        public float C9;
        public float C10;
        public float C11;
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
        columns.C6 = ElementFrom(matrix, plan.Size, row, column + (6 * SlotColumns));
        columns.C7 = ElementFrom(matrix, plan.Size, row, column + (7 * SlotColumns));
        columns.C8 = ElementFrom(matrix, plan.Size, row, column + (8 * SlotColumns));
        columns.C9 = ElementFrom(matrix, plan.Size, row, column + (9 * SlotColumns));
        columns.C10 = ElementFrom(matrix, plan.Size, row, column + (10 * SlotColumns));
        columns.C11 = ElementFrom(matrix, plan.Size, row, column + (11 * SlotColumns));
        return columns;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float ElementFrom(ArrayView<float> matrix, int n, int row, int column)
    {
        float value = matrix[(XMath.Max(row, 0) * n) + XMath.Max(column, 0)]; // without a branch, so that loads are under way together
        return row >= 0 && column >= 0 ? value : 0.0f;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FirstColumn(ClusterPlan plan) => ((plan.Warp & (ColumnWarps - 1)) * Gpu.WarpSize) + plan.Lane;

    // Update and product of all rows: parts of the sums, of dot, and the elements of column k + 1 go to shared memory.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ClusterTile Pass(
        ClusterTile tile, ClusterMemoryOfGroup memory, ClusterPlan plan, ArrayView<float> u, ArrayView<float> v, float head, int k, int phase)
    {
        int column = FirstColumn(plan);
        LaneColumns vs = ColumnsFrom(v, column, phase);
        LaneColumns ws = ColumnsFrom(memory.W(), column, phase);
        tile.Q0 = phase < 2 ? Update(tile.Q0, memory, plan, vs, ws, k, 0, phase) : tile.Q0;
        tile.Q1 = phase < 4 ? Update(tile.Q1, memory, plan, vs, ws, k, 4, phase) : tile.Q1;
        tile.Q2 = Update(tile.Q2, memory, plan, vs, ws, k, 8, phase);
        LaneColumns us = WithHead(ColumnsFrom(u, column, phase), head, k + 1 - column);
        float dot = Multiply(tile.Q2, memory, plan, us, head, k, 8, phase);
        dot += phase < 4 ? Multiply(tile.Q1, memory, plan, us, head, k, 4, phase) : 0.0f;
        dot += phase < 2 ? Multiply(tile.Q0, memory, plan, us, head, k, 0, phase) : 0.0f;
        dot += WarpLanes.Xor(dot, 8);                 // each eight lanes have a sum of four
        dot += WarpLanes.Xor(dot, 16);
        if (plan.Lane == 0)
        {
            memory.Dots[plan.Warp] = dot;
        }

        int slot = (k + 1) / SlotColumns;
        if (k + 1 - (slot * SlotColumns) == column)     // a slot of this phase or of the next one; of a small cluster the last one
        {
            if (slot == 2 * phase)                      // constants: a register has no index
            {
                PutElements(tile, memory, plan, 2 * phase);
            }
            else if (slot == (2 * phase) + 1)
            {
                PutElements(tile, memory, plan, (2 * phase) + 1);
            }
            else if (slot == ColumnSlots - 1)
            {
                PutElements(tile, memory, plan, ColumnSlots - 1);
            }
            else
            {
                PutElements(tile, memory, plan, XMath.Min((2 * phase) + 2, ColumnSlots - 1));
            }
        }

        return tile;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LaneColumns ColumnsFrom(ArrayView<float> vector, int column, int phase)
    {
        ArrayView<float> own = vector.SubView(column, (11 * SlotColumns) + 1); // constant offsets from here
        LaneColumns columns = default;
        columns.C0 = phase <= 0 ? own[0] : 0.0f;
        columns.C1 = phase <= 0 ? own[SlotColumns] : 0.0f;
        columns.C2 = phase <= 1 ? own[2 * SlotColumns] : 0.0f;
        columns.C3 = phase <= 1 ? own[3 * SlotColumns] : 0.0f;
        columns.C4 = phase <= 2 ? own[4 * SlotColumns] : 0.0f;
        columns.C5 = phase <= 2 ? own[5 * SlotColumns] : 0.0f;
        columns.C6 = phase <= 3 ? own[6 * SlotColumns] : 0.0f;
        columns.C7 = phase <= 3 ? own[7 * SlotColumns] : 0.0f;
        columns.C8 = phase <= 4 ? own[8 * SlotColumns] : 0.0f;
        columns.C9 = phase <= 4 ? own[9 * SlotColumns] : 0.0f;
        columns.C10 = phase <= 5 ? own[10 * SlotColumns] : 0.0f;
        columns.C11 = phase <= 5 ? own[11 * SlotColumns] : 0.0f;
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
        u.C6 = distance == 6 * SlotColumns ? head : u.C6;
        u.C7 = distance == 7 * SlotColumns ? head : u.C7;
        u.C8 = distance == 8 * SlotColumns ? head : u.C8;
        u.C9 = distance == 9 * SlotColumns ? head : u.C9;
        u.C10 = distance == 10 * SlotColumns ? head : u.C10;
        u.C11 = distance == 11 * SlotColumns ? head : u.C11;
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
    private static RowQuad Update(RowQuad quad, ClusterMemoryOfGroup memory, ClusterPlan plan, LaneColumns vs, LaneColumns ws, int k, int slot, int phase)
    {
        int place = plan.RowWarp * (RowSlots / 4);
        Float4 v = memory.OwnU(k + 1).Cast<Float4>().SubView(place, RowSlots / 4)[slot / 4];
        Float4 w = memory.OwnW().Cast<Float4>().SubView(place, RowSlots / 4)[slot / 4];
        int live = SlotsOfAPhase * phase;
        quad.R0 = slot >= live ? AddRow(AddRow(quad.R0, -v.X, ws, phase), -w.X, vs, phase) : quad.R0;
        quad.R1 = slot + 1 >= live ? AddRow(AddRow(quad.R1, -v.Y, ws, phase), -w.Y, vs, phase) : quad.R1;
        quad.R2 = slot + 2 >= live ? AddRow(AddRow(quad.R2, -v.Z, ws, phase), -w.Z, vs, phase) : quad.R2;
        quad.R3 = slot + 3 >= live ? AddRow(AddRow(quad.R3, -v.W, ws, phase), -w.W, vs, phase) : quad.R3;
        return quad;
    }

    // Sums of four rows, a warp's part of each; returns the part of dot that a lane's row has.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Multiply(RowQuad quad, ClusterMemoryOfGroup memory, ClusterPlan plan, LaneColumns us, float head, int k, int slot, int phase)
    {
        int live = SlotsOfAPhase * phase;
        float sum = FoldRows(
            slot >= live ? DotRow(quad.R0, us, phase) : 0.0f, slot + 1 >= live ? DotRow(quad.R1, us, phase) : 0.0f,
            slot + 2 >= live ? DotRow(quad.R2, us, phase) : 0.0f, slot + 3 >= live ? DotRow(quad.R3, us, phase) : 0.0f);
        int place = (plan.RowWarp * RowSlots) + (plan.Lane >> 3); // of slot 0: the rest are constants, and no address of a slot takes a register
        if ((plan.Lane & 7) == 0)
        {
            memory.Parts.SubView((place * ColumnWarps) + (plan.Warp & (ColumnWarps - 1)), ((RowSlots - 4) * ColumnWarps) + 1)[slot * ColumnWarps] = sum;
        }

        int distance = k + 1 - plan.Row(0, slot) - plan.RowsBefore(plan.RowWarp, plan.Lane >> 3);
        float ui = distance == 0 ? head : memory.OwnU(k).SubView(place, RowSlots)[slot];
        return distance <= 0 ? sum * ui : 0.0f;
    }

    // x + factor y in the slots of a phase.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static LaneColumns AddRow(LaneColumns x, float factor, LaneColumns y, int phase)
    {
        x.C0 = phase <= 0 ? x.C0 + (factor * y.C0) : x.C0;
        x.C1 = phase <= 0 ? x.C1 + (factor * y.C1) : x.C1;
        x.C2 = phase <= 1 ? x.C2 + (factor * y.C2) : x.C2;
        x.C3 = phase <= 1 ? x.C3 + (factor * y.C3) : x.C3;
        x.C4 = phase <= 2 ? x.C4 + (factor * y.C4) : x.C4;
        x.C5 = phase <= 2 ? x.C5 + (factor * y.C5) : x.C5;
        x.C6 = phase <= 3 ? x.C6 + (factor * y.C6) : x.C6;
        x.C7 = phase <= 3 ? x.C7 + (factor * y.C7) : x.C7;
        x.C8 = phase <= 4 ? x.C8 + (factor * y.C8) : x.C8;
        x.C9 = phase <= 4 ? x.C9 + (factor * y.C9) : x.C9;
        x.C10 = phase <= 5 ? x.C10 + (factor * y.C10) : x.C10;
        x.C11 = phase <= 5 ? x.C11 + (factor * y.C11) : x.C11;
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float DotRow(LaneColumns x, LaneColumns y, int phase)
    {
        float sum = x.C11 * y.C11;
        sum = phase <= 5 ? sum + (x.C10 * y.C10) : sum;
        sum = phase <= 4 ? sum + (x.C9 * y.C9) : sum;
        sum = phase <= 4 ? sum + (x.C8 * y.C8) : sum;
        sum = phase <= 3 ? sum + (x.C7 * y.C7) : sum;
        sum = phase <= 3 ? sum + (x.C6 * y.C6) : sum;
        sum = phase <= 2 ? sum + (x.C5 * y.C5) : sum;
        sum = phase <= 2 ? sum + (x.C4 * y.C4) : sum;
        sum = phase <= 1 ? sum + (x.C3 * y.C3) : sum;
        sum = phase <= 1 ? sum + (x.C2 * y.C2) : sum;
        sum = phase <= 0 ? sum + (x.C1 * y.C1) : sum;
        sum = phase <= 0 ? sum + (x.C0 * y.C0) : sum;
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Element(LaneColumns x, int slot)
    {
        float first = slot < 2 ? (slot == 0 ? x.C0 : x.C1) : (slot == 2 ? x.C2 : x.C3);
        float second = slot < 6 ? (slot == 4 ? x.C4 : x.C5) : (slot == 6 ? x.C6 : x.C7);
        float third = slot < 10 ? (slot == 8 ? x.C8 : x.C9) : (slot == 10 ? x.C10 : x.C11);
        return slot < 4 ? first : (slot < 8 ? second : third);
    }
}
