// SPDX-License-Identifier: Apache-2.0
// InfoNCE of one or two branches on factors, S = s Q K^T, forward: no logit leaves its tile.       HiMo-CLIP (arXiv:2511.06653), eq. 2 and 3
//            row direction     CE_i = logsumexp_j S_ij - (1-eps) S_i,t(i) - (eps/N) sum_j S_ij,   t(i) = offset + i
//            column direction  the same down the columns
//            running, a line (row or column) at a time, with the target left out:  M = max S,  E = sum exp(S - M),  F = sum exp(S - M) (S - M)
// Shapes     Q: B x w, K: N x w; w of the component branch is m + 1, read from device memory.
// Mapping    grid (x, y, branch): a region of tiles each; tile = 64 x 64 logits, a group of 4 warps: they multiply as GpuGemm does, put the
//            logits into shared memory (pitch 65, so that neither rows nor columns collide in a bank), and then every thread takes one line:
//            threads 0 to 63 the rows, 64 to 127 the columns. A line's running numbers belong to one thread of one group; a second kernel
//            adds up the regions.
// Memory     4 floats a line and region; at most Splits regions a direction, so O(N).
// Precision  products as TPrecision says; logits, maxima and sums float32; exponentials of base 2; always from the running maximum. The target
//            stays out of the sums, so that 1 - R_it is exact where R_it is near 1 (a well-trained batch).
// Determinism  every sum has one order: tiles within a region, regions within a line. No atomics.
// Limits     groups of 128 threads; the column direction asks for B = N; Q and K as MatrixIndex has them.
// For readers of CUDA, here and in the other files of ContrastiveLoss
//            group: thread block. Group.IdxX, Grid.IdxX: threadIdx.x, blockIdx.x. GroupBarrier.Wait, Or: __syncthreads, __syncthreads_or. WarpLanes.Barrier:
//            __syncwarp. WarpLanes.Xor: __shfl_xor_sync of the whole warp; GroupSum.Warp: five of them, the sum in every lane.
//            SharedMemory.Allocate: static __shared__, each call its own; GetDynamic: extern __shared__, whose length Gpu.Launch takes in words.
//            AggressiveInlining: __forceinline__. ResidentGroups(2): __launch_bounds__(threads, 2). A kernel's one argument is a structure by value.
//            ArrayView: pointer and length; BatchView: the array of the batch Grid.Z of several. An empty view is a null pointer. Structures begin as zeros.
//            Type parameters with static abstract members: policies of a template. A return within an inlined method leaves that method.
//            Devices/Intrinsics: inline PTX, beside a C# body that the emulation alone runs. Exp2.Approximate: ex2.approx.ftz. Rounding.Product: __fmul_rn,
//            which is never fused, so that the largest logit less itself is 0.
//            Products: GpuGemm.cs. Its operands have Load, early, and Finish, when the value is needed; its results have Prepare, once a row, and Store.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Running numbers of a row or column of logits without its target.</summary>
internal struct LineStatistics
{
    /// <summary>M, minus infinity before the first logit.</summary>
    public float Largest;

    /// <summary>E.</summary>
    public float ExpSum;

    /// <summary>F.</summary>
    public float Weighted;

    /// <summary>sum S, target included.</summary>
    public float Total;

    /// <summary>Before the first logit.</summary>
    public static LineStatistics Empty
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            LineStatistics empty = default;
            empty.Largest = float.NegativeInfinity;
            return empty;
        }
    }

    /// <summary>The same numbers relative to a maximum that is no smaller.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly LineStatistics RelativeTo(float largest)
    {
        LineStatistics moved = this;
        moved.Largest = largest;
        if (ExpSum > 0.0f)
        {
            float shift = Largest - largest;
            float factor = LogitStatistics.Exp(shift);
            moved.ExpSum = factor * ExpSum;
            moved.Weighted = factor == 0.0f ? 0.0f : factor * (Weighted + (shift * ExpSum));
        }

        return moved;
    }
}

/// <summary>The pass over tiles of logits that are made of factors.</summary>
internal static class LogitPassGpu
{
    /// <summary>Most regions of a direction.</summary>
    public const int Splits = 32;

    /// <summary>Rows and columns of a tile.</summary>
    public const int Tile = GpuGemm.Block;

    private const int Pitch = Tile + 1;

    /// <summary>One region of one branch.</summary>
    public static void Kernel<TPrecision>(LogitPass p)
        where TPrecision : struct, IProductPrecision
    {
        ArrayView<Float4> shared = SharedMemory.Allocate<Float4>(GpuGemm.SharedLength);
        ArrayView<float> logits = SharedMemory.Allocate<float>(Tile * Pitch);
        int branch = Grid.IdxZ;
        int depth = p.Depths.Apply(branch, int.MaxValue);
        float scale = p.Branches.Scale;
        int firstOfRows = Grid.IdxY * p.RegionRows;
        int endOfRows = Math.Min(firstOfRows + p.RegionRows, p.Branches.Rows);
        int firstOfColumns = Grid.IdxX * p.RegionColumns;
        int endOfColumns = Math.Min(firstOfColumns + p.RegionColumns, p.Branches.Columns);
        for (int firstRow = firstOfRows; firstRow < endOfRows; firstRow += Tile)
        {
            for (int firstColumn = firstOfColumns; firstColumn < endOfColumns; firstColumn += Tile)
            {
                TileSums sums = default;
                GpuGemm.Accumulate<FactorOperand, FactorOperand, LargeTile, TPrecision>(
                    ref sums, shared, p.Queries, p.Keys, branch, firstRow, p.Branches.Rows, firstColumn, p.Branches.Columns, 0, depth);
                StoreLogits(logits, sums, scale); // the last readers of the tile are a barrier of the product away
                GroupBarrier.Wait(); // the tile's logits are there
                TakeLine(p, logits, branch, firstRow, firstColumn, firstRow == firstOfRows, firstColumn == firstOfColumns);
            }
        }
    }

    /// <summary>Enqueues <see cref="FinishKernel"/>.</summary>
    public static void Finish(Gpu gpu, AcceleratorStream stream, LogitPass pass, int branches)
    {
        const int Threads = 128;
        gpu.Launch(stream, FinishKernel, new Index3D((pass.Branches.Lines + Threads - 1) / Threads, 1, branches), Threads, pass);
    }

    /// <summary>One line of one branch a thread: adds up the regions and brings the target in.</summary>
    public static void FinishKernel(LogitPass p)
    {
        int line = (Grid.IdxX * Group.DimX) + Group.IdxX;
        int branch = Grid.IdxZ;
        bool isRow = line < p.Branches.Rows;
        if (line >= p.Branches.Lines || (!isRow && p.Branches.ColumnWeight(branch) == 0.0f))
        {
            return;
        }

        int regions = isRow ? p.ColumnRegions : p.RowRegions;
        LineStatistics all = LineStatistics.Empty;
        for (int region = 0; region < regions; region++)
        {
            LineStatistics part = p.Partial[p.PartialIndex(branch, region, line)];
            float largest = XMath.Max(all.Largest, part.Largest);
            float total = all.Total + part.Total;
            all = all.RelativeTo(largest);
            part = part.RelativeTo(largest);
            all.ExpSum += part.ExpSum;
            all.Weighted += part.Weighted;
            all.Total = total;
        }

        int row = isRow ? line : line - p.Branches.Rows - p.Branches.TargetOffset;      // columns ask for B = N: each has a target
        float target = p.Branches.Target[((long)branch * p.Branches.Rows) + row];
        LineStatistics others = all.RelativeTo(XMath.Max(all.Largest, target));
        float relative = target - others.Largest;
        float exponential = LogitStatistics.Exp(relative);
        float sum = others.ExpSum + exponential;
        long index = ((long)branch * p.Branches.Lines) + line;
        p.Branches.Largest[index] = others.Largest;
        p.Branches.Inverse[index] = 1.0f / sum;
        p.Branches.Miss[index] = others.ExpSum / sum;
        p.Branches.Loss[index] = XMath.Log(sum) - relative;
        p.Branches.GradScale[index] = ((others.Weighted + (exponential == 0.0f ? 0.0f : exponential * relative)) / sum) - relative;
        p.Branches.Total[index] = all.Total;
    }

    // Accumulators of mma.m16n8: X and Y are neighbours in the row lane / 4, at column 2 (lane % 4); Z and W lie eight rows below, the next T eight columns further.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreLogits(ArrayView<float> logits, TileSums sums, float scale)
    {
        int row = GpuGemm.WarpRow<LargeTile>() + (Group.IdxX % Gpu.WarpSize / 4);
        int column = GpuGemm.WarpColumn<LargeTile>() + (Group.IdxX % 4 * 2);
        StoreRow(logits, (row * Pitch) + column, sums.Top, scale);
        StoreRow(logits, ((row + 16) * Pitch) + column, sums.Bottom, scale);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(ArrayView<float> logits, int start, TileRow tile, float scale)
    {
        StoreOne(logits, start, tile.T0, scale);
        StoreOne(logits, start + 8, tile.T1, scale);
        StoreOne(logits, start + 16, tile.T2, scale);
        StoreOne(logits, start + 24, tile.T3, scale);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreOne(ArrayView<float> logits, int start, Float4 value, float scale)
    {
        logits[start] = Rounding.Product(scale, value.X);
        logits[start + 1] = Rounding.Product(scale, value.Y);
        logits[start + (8 * Pitch)] = Rounding.Product(scale, value.Z);
        logits[start + (8 * Pitch) + 1] = Rounding.Product(scale, value.W);
    }

    // The thread's row or column of the tile joins its running numbers.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TakeLine(LogitPass p, ArrayView<float> logits, int branch, int firstRow, int firstColumn, bool isFirstRow, bool isFirstColumn)
    {
        bool isRow = Group.IdxX < Tile;
        int own = Group.IdxX % Tile;
        int first = isRow ? firstRow : firstColumn;
        int along = isRow ? firstColumn : firstRow;
        int count = Math.Min(Tile, (isRow ? p.Branches.Columns : p.Branches.Rows) - along);
        int lines = isRow ? p.Branches.Rows : p.Branches.Columns;
        if (first + own >= lines || (!isRow && p.Branches.ColumnWeight(branch) == 0.0f))
        {
            return;
        }

        int start = isRow ? own * Pitch : own;
        int step = isRow ? 1 : Pitch;
        int target = first + own - along + (isRow ? p.Branches.TargetOffset : -p.Branches.TargetOffset);
        long index = p.PartialIndex(branch, isRow ? Grid.IdxX : Grid.IdxY, first + own + (isRow ? 0 : p.Branches.Rows));
        LineStatistics running = LineStatistics.Empty;
        if (isRow ? !isFirstColumn : !isFirstRow)
        {
            running = p.Partial[index];
        }

        float largest = running.Largest;
        for (int k = 0; k < count; k++)
        {
            float logit = logits[start + (k * step)];
            largest = k == target ? largest : XMath.Max(largest, logit);
        }

        running = running.RelativeTo(largest);
        for (int k = 0; k < count; k++)
        {
            float logit = logits[start + (k * step)];
            running.Total += logit; // for the label smoothing, which the target belongs to
            if (k != target)
            {
                float relative = logit - largest;
                float exponential = LogitStatistics.Exp(relative);
                running.ExpSum += exponential;
                running.Weighted += exponential == 0.0f ? 0.0f : exponential * relative;
            }
            else if (isRow)
            {
                p.Branches.Target[((long)branch * p.Branches.Rows) + first + own] = logit;
            }
        }

        p.Partial[index] = running;
    }
}
