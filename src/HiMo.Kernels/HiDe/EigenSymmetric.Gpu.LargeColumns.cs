// SPDX-License-Identifier: Apache-2.0
// Tridiagonalisation of a large matrix in one launch whose groups stay on the chip and hand each other one record a row and column.
// Mapping    row i belongs to group i mod G, so that the work stays even while rows retire; a group's rows lie in its shared memory, or in global
//            memory where they do not fit. Column j of all the group's rows belongs to thread j mod T, with v_j, p_j and u_j.
// Column k   receive p = beta A v of the column before and column k of A without that column's update; dot = p . v; u = the updated column, its
//            norm, the reflector; update of the own rows, A -= v w^T + w v^T with w = p - (beta / 2) dot v, and their products with the new
//            reflector in the same pass; send both. Every group computes the reflector for itself, with the same operations in the same order.
// Exchange   no barrier across the grid and no fence: a record is a word of 64 bits, the value beside the number of the column that it is for, and
//            whoever needs it reads until the number is right. Two inboxes take turns. An inbox is written again for column k + 2 by groups that have
//            all records of column k + 1, and every one of these depends on all records of column k: so nobody still waits for what is overwritten.
//            Only groups with rows below k take part in column k, which are those that send records for k + 1.
// Launch     all groups of a problem must run at the same time: a cooperative launch, one group a multiprocessor at most.
// Precision  float32. Deterministic: no sum depends on the number of groups.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int RowBlock = 4;                    // rows of a pass; the room for a group's rows is so much longer, less one
    private const int PeekBlock = 4;                   // records that a thread reads at once

    /// <summary>Where a group's rows lie.</summary>
    internal interface IRowMemory
    {
        /// <summary>The rows, from the group's first one on; of shared memory some words are used already.</summary>
        static abstract ArrayView<float> Rows(ArrayView<float> shared, int used, ArrayView<float> matrix, int n);

        /// <summary>Elements from one of the group's rows to the next.</summary>
        static abstract int Stride(int n);
    }

    /// <summary>Rows in shared memory.</summary>
    internal readonly struct SharedRows : IRowMemory
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ArrayView<float> Rows(ArrayView<float> shared, int used, ArrayView<float> matrix, int n) => shared.SubView(used, shared.Length - used);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int Stride(int n) => n;
    }

    /// <summary>Rows in the matrix itself.</summary>
    internal readonly struct GlobalRows : IRowMemory
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ArrayView<float> Rows(ArrayView<float> shared, int used, ArrayView<float> matrix, int n) => matrix.SubView(Grid.IdxX * n, matrix.Length - (Grid.IdxX * n));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int Stride(int n) => Grid.DimX * n;
    }

    /// <summary>One thread's share of an inbox: up to four products and columns.</summary>
    private struct Records
    {
        public long Product0;
        public long Product1;
        public long Product2;
        public long Product3;
        public long Column0;
        public long Column1;
        public long Column2;
        public long Column3;
    }

    private static void RunColumns(Gpu gpu, AcceleratorStream stream, int problems, int threads, LargeEigenArguments arguments)
    {
        int n = arguments.Problem.Size;
        int group = Math.Min(threads, Math.Max(LargeThreads, CeilDiv(CeilDiv(n, 3), Gpu.WarpSize) * Gpu.WarpSize)); // three columns a thread
        int chip = gpu.Description.Multiprocessors;
        int together = Math.Min(problems, chip);
        int groups = Math.Min(n, chip / together);
        int room = CeilDiv(n, groups) + RowBlock - 1;
        int vectors = (3 * n) + (room * (group / Gpu.WarpSize));
        bool isShared = (long)sizeof(float) * (vectors + ((long)room * n) + (2 * GroupSum.ScratchLength)) <= gpu.SharedBytes;
        for (int first = 0; first < problems; first += together)
        {
            arguments.First = first;
            gpu.Launch(
                stream, isShared ? ColumnsKernel<SharedRows> : ColumnsKernel<GlobalRows>, new Index3D(groups, Math.Min(together, problems - first), 1), group,
                arguments, isShared ? vectors + (room * n) : vectors, isResident: true);
        }
    }

    /// <summary>All columns.</summary>
    public static void ColumnsKernel<TRows>(LargeEigenArguments p)
        where TRows : struct, IRowMemory
    {
        int n = p.Problem.Size;
        int owned = (n - 1 - Grid.IdxX + Grid.DimX) / Grid.DimX;
        int last = Grid.IdxX + ((owned - 1) * Grid.DimX);
        int end = last == n - 1 ? n : last;            // the group takes part in the columns before
        int warps = Group.DimX / Gpu.WarpSize;
        int room = ((n - 1 + Grid.DimX) / Grid.DimX) + RowBlock - 1;
        ArrayView<float> dotScratch = SharedMemory.Allocate<float>(GroupSum.ScratchLength);
        ArrayView<float> tailScratch = SharedMemory.Allocate<float>(GroupSum.ScratchLength);
        ArrayView<float> shared = SharedMemory.GetDynamic<float>();
        ArrayView<float> product = shared.SubView(2 * n, n);
        ArrayView<float> parts = shared.SubView(3 * n, room * warps);
        ArrayView<float> matrix = p.Square(p.Matrix);
        ArrayView<float> rows = TRows.Rows(shared, (3 * n) + (room * warps), matrix, n);
        int stride = TRows.Stride(n);
        for (int j = Group.IdxX; j < n; j += Group.DimX)
        {
            shared[n + j] = 0.0f;                       // v of column 0
            for (int row = 0; row < owned; row++)
            {
                rows[(row * stride) + j] = matrix[(((row * Grid.DimX) + Grid.IdxX) * n) + j];
            }
        }

        int next = 0;                                   // first of the group's rows below row k
        int mine = Group.IdxX;                          // first of the thread's columns from k on, and behind k
        float beta = 0.0f;
        for (int k = 0; k < end; k++)
        {
            ArrayView<float> u = shared.SubView((k % 2) * n, n);
            ArrayView<float> v = shared.SubView(((k + 1) % 2) * n, n);
            mine += mine < k ? Group.DimX : 0;
            int behind = mine == k ? mine + Group.DimX : mine;
            float half = 0.5f * beta * GroupSum.AllOnce(Receive(p.Inbox(k), u, v, product, mine, k, n), dotScratch);
            float tail = GroupSum.AllOnce(UpdateColumn(u, v, product, half, mine, k, n), tailScratch);

            float corner = u[k];
            float first = k + 1 < n ? u[k + 1] : 0.0f;
            float norm = XMath.Sqrt((first * first) + tail);
            bool isNeeded = tail > LeastTail;
            float alpha = isNeeded ? (first > 0.0f ? -norm : norm) : first;
            beta = isNeeded ? 1.0f / (norm * (norm + XMath.Abs(first))) : 0.0f;

            next += (next * Grid.DimX) + Grid.IdxX <= k ? 1 : 0;
            for (int row = next; row < owned; row += RowBlock)
            {
                UpdateRows(rows, u, v, product, parts, half, first - alpha, row, stride, behind, k, n);
            }

            Group.Barrier(); // sums of the warps and column k + 1 are there; nobody reads the first element of u any more
            Send(p.Inbox(k + 1), rows, parts, beta, next, owned, stride, k, n);
            if (behind == k + 1 && behind < n)
            {
                u[behind] = first - alpha;              // and u is the reflector
            }

            if (k == n - 1 || (next * Grid.DimX) + Grid.IdxX == k + 1)
            {
                Keep(p, u, corner, alpha, beta, behind, k, n); // by one of those who take part
            }
        }
    }

    /// <summary>A value for a column beside that column's number plus 1, which no word has that was not sent.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Record(float value, int column) => ((long)(column + 1) << 32) | Interop.FloatAsInt(value);

    // The thread's share of the column and of the product before it; returns its part of p . v.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Receive(ArrayView<long> inbox, ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, int mine, int k, int n)
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

            dot += Take(records.Product0, records.Column0, u, v, product, j, n);
            dot += Take(records.Product1, records.Column1, u, v, product, j + step, n);
            dot += Take(records.Product2, records.Column2, u, v, product, j + (2 * step), n);
            dot += Take(records.Product3, records.Column3, u, v, product, j + (3 * step), n);
        }

        return dot;
    }

    // All loads before the first use of one, and no branch between them: what lies behind the end is the last record once more.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Records Peek(ArrayView<long> inbox, int j, int step, int n)
    {
        int j1 = XMath.Min(j + step, n - 1);
        int j2 = XMath.Min(j + (2 * step), n - 1);
        int j3 = XMath.Min(j + (3 * step), n - 1);
        Records records = default;
        records.Product0 = RelaxedMemory.Load(ref inbox[j]);
        records.Product1 = RelaxedMemory.Load(ref inbox[j1]);
        records.Product2 = RelaxedMemory.Load(ref inbox[j2]);
        records.Product3 = RelaxedMemory.Load(ref inbox[j3]);
        records.Column0 = RelaxedMemory.Load(ref inbox[n + j]);
        records.Column1 = RelaxedMemory.Load(ref inbox[n + j1]);
        records.Column2 = RelaxedMemory.Load(ref inbox[n + j2]);
        records.Column3 = RelaxedMemory.Load(ref inbox[n + j3]);
        return records;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsComplete(Records r, int k)
    {
        int wrong = Wrong(r.Product0, k) | Wrong(r.Product1, k) | Wrong(r.Product2, k) | Wrong(r.Product3, k);
        return (wrong | Wrong(r.Column0, k) | Wrong(r.Column1, k) | Wrong(r.Column2, k) | Wrong(r.Column3, k)) == 0;
    }

    // 0 if the record is for column k.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Wrong(long record, int k) => (int)(record >> 32) ^ (k + 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Take(long productRecord, long columnRecord, ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, int j, int n)
    {
        float dot = 0.0f;
        if (j < n)
        {
            float value = Interop.IntAsFloat((uint)productRecord);
            u[j] = Interop.IntAsFloat((uint)columnRecord);
            product[j] = value;
            dot = v[j] * value;
        }

        return dot;
    }

    // u = the column after the update; returns the thread's part of the square below the first element.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float UpdateColumn(ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, float half, int mine, int k, int n)
    {
        float vk = v[k];
        float wk = product[k] - (half * vk);
        float part = 0.0f;
        for (int j = mine; j < n; j += Group.DimX)
        {
            float value = u[j] - (v[j] * wk) - ((product[j] - (half * v[j])) * vk);
            u[j] = value;
            part += j >= k + 2 ? value * value : 0.0f;
        }

        return part;
    }

    // Update and product of four rows; what lies behind the group's last row is room, and nobody asks for its sums.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void UpdateRows(
        ArrayView<float> rows, ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, ArrayView<float> parts, float half, float first, int row, int stride, int behind, int k, int n)
    {
        int i = (row * Grid.DimX) + Grid.IdxX;
        float v0 = Element(v, i, n);
        float v1 = Element(v, i + Grid.DimX, n);
        float v2 = Element(v, i + (2 * Grid.DimX), n);
        float v3 = Element(v, i + (3 * Grid.DimX), n);
        float w0 = Element(product, i, n) - (half * v0);
        float w1 = Element(product, i + Grid.DimX, n) - (half * v1);
        float w2 = Element(product, i + (2 * Grid.DimX), n) - (half * v2);
        float w3 = Element(product, i + (3 * Grid.DimX), n) - (half * v3);
        float sum0 = 0.0f;
        float sum1 = 0.0f;
        float sum2 = 0.0f;
        float sum3 = 0.0f;
        for (int j = behind; j < n; j += Group.DimX)
        {
            float vj = v[j];
            float wj = product[j] - (half * vj);
            float uj = j == k + 1 ? first : u[j];
            int index = (row * stride) + j;
            float a0 = rows[index] - ((v0 * wj) + (w0 * vj));
            float a1 = rows[index + stride] - ((v1 * wj) + (w1 * vj));
            float a2 = rows[index + (2 * stride)] - ((v2 * wj) + (w2 * vj));
            float a3 = rows[index + (3 * stride)] - ((v3 * wj) + (w3 * vj));
            rows[index] = a0;
            rows[index + stride] = a1;
            rows[index + (2 * stride)] = a2;
            rows[index + (3 * stride)] = a3;
            sum0 += a0 * uj;
            sum1 += a1 * uj;
            sum2 += a2 * uj;
            sum3 += a3 * uj;
        }

        sum0 = GroupSum.Warp(sum0);
        sum1 = GroupSum.Warp(sum1);
        sum2 = GroupSum.Warp(sum2);
        sum3 = GroupSum.Warp(sum3);
        if (Group.IdxX % Gpu.WarpSize == 0)
        {
            int warps = Group.DimX / Gpu.WarpSize;
            int part = (row * warps) + (Group.IdxX / Gpu.WarpSize);
            parts[part] = sum0;
            parts[part + warps] = sum1;
            parts[part + (2 * warps)] = sum2;
            parts[part + (3 * warps)] = sum3;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Element(ArrayView<float> vector, int i, int n) => vector[XMath.Min(i, n - 1)];

    // A record of each own row for column k + 1, a thread a row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Send(ArrayView<long> inbox, ArrayView<float> rows, ArrayView<float> parts, float beta, int next, int owned, int stride, int k, int n)
    {
        int warps = Group.DimX / Gpu.WarpSize;
        for (int row = next + Group.IdxX; row < owned; row += Group.DimX)
        {
            int i = (row * Grid.DimX) + Grid.IdxX;
            float sum = 0.0f;
            for (int warp = 0; warp < warps; warp++)
            {
                sum += parts[(row * warps) + warp];
            }

            RelaxedMemory.Store(ref inbox[i], Record(beta * sum, k + 1));
            RelaxedMemory.Store(ref inbox[n + i], Record(rows[(row * stride) + k + 1], k + 1));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Keep(LargeEigenArguments p, ArrayView<float> u, float corner, float alpha, float beta, int behind, int k, int n)
    {
        ArrayView<float> reflector = p.Reflector(k);
        for (int j = behind; j < n; j += Group.DimX)
        {
            reflector[j] = u[j];
        }

        if (Group.IdxX == 0)
        {
            p.Vector(VectorD)[k] = corner;
            p.Vector(VectorE)[k] = alpha;
            p.Vector(VectorBeta)[k] = beta;
        }
    }
}
