// SPDX-License-Identifier: Apache-2.0
// What the groups of a tridiagonalisation hand to each other, once a column: a record of each row.
// Record     a word of 64 bits, product and column element of a row; whoever needs it reads until its tag is right: no barrier across the groups, no fence.
// Inboxes    two take turns, so the tag is one bit, another every second column: the product's last one, rounded away. An inbox is written again for column
//            k + 2 by groups that have all records of column k + 1, and every one of these depends on all records of column k: so nobody still waits
//            for what is overwritten, and a group that waits has seen what was there before.
// Copies     in global memory, where all groups read the same few lines of the second-level cache; an inbox has two, each read by every second group.
// Order      a warp serves a copy, its lanes the group's rows.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int PeekBlock = 4;                   // records that a thread reads at once, and columns of a thread where threads suffice

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

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float ProductOf(long record) => Interop.IntAsFloat((uint)(record >> 32) & ~1u);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float ElementOf(long record) => Interop.IntAsFloat((uint)record);

    // The thread's share of the column and of the product before it; returns its part of p . v.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Receive(
        ArrayView<long> inbox, ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, int mine, int k, int n)
    {
        int step = Group.DimX;
        float dot = 0.0f;
        for (int j = mine; j < n; j += PeekBlock * step)
        {
            Records records = Peek(inbox, j, step, n);
            while (!IsComplete(records, k))
            {
                RelaxedMemory.Pause();
                records = Peek(inbox, j, step, n);
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
    private static Records Peek(ArrayView<long> inbox, int j, int step, int n)
    {
        Records records = default;
        records.Record0 = RelaxedMemory.Load(ref inbox[j]);
        records.Record1 = RelaxedMemory.Load(ref inbox[XMath.Min(j + step, n - 1)]);
        records.Record2 = RelaxedMemory.Load(ref inbox[XMath.Min(j + (2 * step), n - 1)]);
        records.Record3 = RelaxedMemory.Load(ref inbox[XMath.Min(j + (3 * step), n - 1)]);
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
            float value = ProductOf(record);
            u[j] = ElementOf(record);
            product[j] = value;
            dot = v[j] * value;
        }

        return dot;
    }

    // A record of each own row for column k + 1, a lane a row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Send(
        LargeEigenArguments p, ArrayView<float> rows, ArrayView<float> parts, float beta, int next, int owned, int stride, int pitch, int k)
    {
        int warp = Group.IdxX / Gpu.WarpSize;
        if (warp >= InboxCopies)
        {
            return;
        }

        for (int row = next + (Group.IdxX % Gpu.WarpSize); row < owned; row += Gpu.WarpSize)
        {
            float element = rows[(row * stride) + k + 1];
            long record = Record(beta * SumParts(parts, row * pitch), element, k + 1);
            for (int copy = warp; copy < InboxCopies; copy += Group.DimX / Gpu.WarpSize)
            {
                RelaxedMemory.Store(ref p.Inbox(k + 1, copy)[(row * Grid.DimX) + Grid.IdxX], record);
            }
        }
    }
}
