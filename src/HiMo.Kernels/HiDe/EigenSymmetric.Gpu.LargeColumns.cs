// SPDX-License-Identifier: Apache-2.0
// Tridiagonalisation of a large matrix in one launch whose groups stay on the chip and hand each other one record a row and column.
// Mapping    row i belongs to group i mod G, so that the work stays even while rows retire; a group's rows lie in its shared memory, or in global
//            memory where they do not fit. Column j of all the group's rows belongs to thread j mod T, with v_j, p_j and u_j.
// Column k   receive p = beta A v of the column before and column k of A without that column's update; dot = p . v; u = the updated column, its
//            norm, the reflector; update of the own rows, A -= v w^T + w v^T with w = p - (beta / 2) dot v, and their products with the new
//            reflector in the same pass; send both. Every group computes the reflector for itself, with the same operations in the same order.
// Exchange   EigenSymmetric.Gpu.LargeExchange.cs. Only groups with rows below k take part in column k, which are those that send records for k + 1.
// Groups     the whole chip. Where a cluster has room for the rows, EigenSymmetric.Gpu.ClusterColumns.cs is taken: EigenSymmetric.Gpu.LargePlan.cs.
// Latency    a column is one exchange and three barriers; nothing unrolls a loop for us, so loads stand together by hand.
// Launch     all groups of a problem must run at the same time: a cooperative launch with one group a multiprocessor at most.
// Precision  float32.
// Determinism  no sum depends on the number of groups; the order follows from n and the threads of a group.
// Limits     n up to 3,840; shared memory for three vectors and the sums of the group's rows, with the rows where they fit; not on OpenCL, which does not promise
//            that groups run at the same time.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int RowBlock = 4;                    // rows of a pass; the room for a group's rows is so much longer, less one
    private const int ColumnThreads = 128;
    private const int PartBlock = 8;                   // warps' sums that are read at once; those of warps that are not there are 0

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
        public static int Stride(int n) => n | 1;       // a column's elements lie in different banks
    }

    /// <summary>Rows in the matrix itself.</summary>
    internal readonly struct GlobalRows : IRowMemory
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ArrayView<float> Rows(ArrayView<float> shared, int used, ArrayView<float> matrix, int n) => matrix.SubView(Grid.IdxX * n, matrix.Length - (Grid.IdxX * n));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static int Stride(int n) => Grid.DimX * n;
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
        int pitch = PartPitch(warps);
        ArrayView<float> parts = shared.SubView(3 * n, room * pitch);
        ArrayView<float> matrix = p.CentredMatrix();
        ArrayView<float> rows = TRows.Rows(shared, (3 * n) + (room * pitch), matrix, n);
        int stride = TRows.Stride(n);
        for (int j = Group.IdxX; j < n; j += Group.DimX)
        {
            shared[n + j] = 0.0f;                       // v of column 0
            for (int row = 0; row < owned; row++)
            {
                rows[(row * stride) + j] = matrix[(((row * Grid.DimX) + Grid.IdxX) * n) + j];
            }
        }

        for (int i = Group.IdxX; i < room * pitch; i += Group.DimX)
        {
            parts[i] = 0.0f;                            // those of the warps are written behind a barrier
        }

        for (int i = warps + Group.IdxX; i < pitch - 1; i += Group.DimX)
        {
            dotScratch[i] = 0.0f;
            tailScratch[i] = 0.0f;
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
            float half = 0.5f * beta * SumOnce(Receive(p.Inbox(k, Grid.IdxX % InboxCopies), u, v, product, mine, k, n), dotScratch);
            float tail = SumOnce(UpdateColumn(u, v, product, half, mine, k, n), tailScratch);

            float corner = u[k];
            float first = k + 1 < n ? u[k + 1] : 0.0f;
            float norm = XMath.Sqrt((first * first) + tail);
            bool isNeeded = tail > LeastTail;
            float alpha = isNeeded ? (first > 0.0f ? -norm : norm) : first;
            beta = isNeeded ? 1.0f / (norm * (norm + XMath.Abs(first))) : 0.0f;

            next += (next * Grid.DimX) + Grid.IdxX <= k ? 1 : 0;
            for (int row = next; row < owned; row += RowBlock)
            {
                UpdateRows(rows, u, v, product, parts, half, first - alpha, row, stride, pitch, behind, k, n);
            }

            GroupBarrier.Wait(); // sums of the warps and column k + 1 are there; nobody reads the first element of u any more
            Send(p, rows, parts, beta, next, owned, stride, pitch, k);
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

    // The sum over a group, in every thread; the scratch is free again behind the caller's next barrier.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float SumOnce(float value, ArrayView<float> scratch)
    {
        value = GroupSum.Warp(value);
        if (Group.IdxX % Gpu.WarpSize == 0)
        {
            scratch[Group.IdxX / Gpu.WarpSize] = value;
        }

        GroupBarrier.Wait(); // every warp's sum is there
        return SumParts(scratch, 0);
    }

    // The sum of the warps' parts from a place on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float SumParts(ArrayView<float> parts, int start)
    {
        float sum = 0.0f;
        for (int warp = 0; warp < Group.DimX / Gpu.WarpSize; warp += PartBlock)
        {
            ArrayView<float> block = parts.SubView(start + warp, PartBlock);
            sum += block[0] + block[1] + (block[2] + block[3]) + (block[4] + block[5] + (block[6] + block[7]));
        }

        return sum;
    }

    // u = the column after the update; returns the thread's part of the square below the first element.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float UpdateColumn(ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, float half, int mine, int k, int n)
    {
        int step = Group.DimX;
        float vk = v[k];
        float wk = product[k] - (half * vk);
        float part = 0.0f;
        for (int j = mine; j < n; j += 2 * step)
        {
            int j1 = XMath.Min(j + step, n - 1);        // of no use behind the end
            float value0 = Updated(u[j], v[j], product[j], vk, wk, half);
            float value1 = Updated(u[j1], v[j1], product[j1], vk, wk, half);
            u[j] = value0;
            part += j >= k + 2 ? value0 * value0 : 0.0f;
            if (j + step < n)
            {
                u[j1] = value1;
                part += j1 >= k + 2 ? value1 * value1 : 0.0f;
            }
        }

        return part;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Updated(float value, float vj, float pj, float vk, float wk, float half) => value - (vj * wk) - ((pj - (half * vj)) * vk);

    // Update and product of four rows; what lies behind the group's last row is room, and nobody asks for its sums.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void UpdateRows(
        ArrayView<float> rows, ArrayView<float> u, ArrayView<float> v, ArrayView<float> product, ArrayView<float> parts, float half, float first, int row, int stride, int pitch,
        int behind, int k, int n)
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
        int step = Group.DimX;
        for (int j = behind; j < n; j += 2 * step)
        {
            bool isInside = j + step < n;               // the second column; if not, the last one once more, for nothing
            int there = XMath.Min(step, n - 1 - j);
            int index = (row * stride) + j;
            float vj = v[j];
            float vt = v[j + there];
            float pj = product[j];
            float pt = product[j + there];
            float uj = u[j];
            float ut = u[j + there];
            float a0 = rows[index];
            float a1 = rows[index + stride];
            float a2 = rows[index + (2 * stride)];
            float a3 = rows[index + (3 * stride)];
            float t0 = rows[index + there];
            float t1 = rows[index + stride + there];
            float t2 = rows[index + (2 * stride) + there];
            float t3 = rows[index + (3 * stride) + there];
            float wj = pj - (half * vj);
            float wt = pt - (half * vt);
            uj = j == k + 1 ? first : uj;
            ut = isInside ? ut : 0.0f;
            a0 -= (v0 * wj) + (w0 * vj);
            a1 -= (v1 * wj) + (w1 * vj);
            a2 -= (v2 * wj) + (w2 * vj);
            a3 -= (v3 * wj) + (w3 * vj);
            t0 -= (v0 * wt) + (w0 * vt);
            t1 -= (v1 * wt) + (w1 * vt);
            t2 -= (v2 * wt) + (w2 * vt);
            t3 -= (v3 * wt) + (w3 * vt);
            rows[index] = a0;
            rows[index + stride] = a1;
            rows[index + (2 * stride)] = a2;
            rows[index + (3 * stride)] = a3;
            if (isInside)
            {
                rows[index + there] = t0;
                rows[index + stride + there] = t1;
                rows[index + (2 * stride) + there] = t2;
                rows[index + (3 * stride) + there] = t3;
            }

            sum0 += (a0 * uj) + (t0 * ut);
            sum1 += (a1 * uj) + (t1 * ut);
            sum2 += (a2 * uj) + (t2 * ut);
            sum3 += (a3 * uj) + (t3 * ut);
        }

        float sum = FoldRows(sum0, sum1, sum2, sum3);
        int lane = Group.IdxX % Gpu.WarpSize;
        if (lane % 8 == 0)
        {
            parts[((row + (lane / 8)) * pitch) + (Group.IdxX / Gpu.WarpSize)] = sum;
        }
    }

    // Sums over a warp, that of row r in lanes 8 r to 8 r + 7: half as many values after each of two exchanges, six shuffles instead of twenty.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float FoldRows(float sum0, float sum1, float sum2, float sum3)
    {
        bool isUpper = (Group.IdxX & 16) != 0;
        float even = (isUpper ? sum2 : sum0) + WarpLanes.Xor(isUpper ? sum0 : sum2, 16);
        float odd = (isUpper ? sum3 : sum1) + WarpLanes.Xor(isUpper ? sum1 : sum3, 16);
        bool isOdd = (Group.IdxX & 8) != 0;
        float sum = (isOdd ? odd : even) + WarpLanes.Xor(isOdd ? even : odd, 8);
        sum += WarpLanes.Xor(sum, 4);
        sum += WarpLanes.Xor(sum, 2);
        return sum + WarpLanes.Xor(sum, 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Element(ArrayView<float> vector, int i, int n) => vector[XMath.Min(i, n - 1)];

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
