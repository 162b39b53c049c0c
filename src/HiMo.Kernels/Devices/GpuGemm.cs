// SPDX-License-Identifier: Apache-2.0
// C = A B for operands that are read, and results that are stored, by small structures: a strided matrix, a softmax made on the fly.
// Shapes     A: rows x depth, B: depth x columns, C: rows x columns, in each of some groups and batches; any size of 0 or more.
// Mapping    Grid.X: blocks of columns of one group after the other, Grid.Y: blocks of rows, Grid.Z: batches; thread group of 4 warps = 64 x 64 of C; warp = 32 x 32 = 2 x 4 instruction tiles of 16 x 8; depth in stages of 16 through shared
//            memory, rows padded to 20 words: lane (g, q) then reads bank (20 g + q) mod 32, 32 different ones.
// Precision  operands as IProductPrecision says, sums in float32, in the same order at every call.
// Limits     no asynchronous copies: made for the products of N <= 1,280; large logits have a kernel of their own.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>One operand of a product.</summary>
internal interface IGemmOperand
{
    /// <summary>True where neighbours along the depth are neighbours in memory, so that neighbouring lanes should read them.</summary>
    bool IsDepthContiguous { get; }

    /// <summary>Element at an outer index (row of A, column of B) and a depth index, both within the operand.</summary>
    float Load(int group, int outer, int depth);
}

/// <summary>Takes the elements of a product.</summary>
internal interface IGemmResult
{
    /// <summary>A number that every element of a row needs; asked once a row and block of columns, before the product.</summary>
    float Prepare(int group, int row);

    /// <summary>Stores one element; each is given once.</summary>
    void Store(int group, int row, int column, float value, float rowValue);
}

/// <summary>A size that only the device knows: the number m of kept components. The default is no limit.</summary>
internal struct DeviceLimit
{
    /// <summary>m, one element, for the groups from <see cref="FirstGroup"/> on; empty: no limit there.</summary>
    public BatchView<int> Kept;

    /// <summary>Added to m.</summary>
    public int Extra;

    /// <summary>Groups before this one have the limit <see cref="Before"/>.</summary>
    public int FirstGroup;

    /// <inheritdoc cref="FirstGroup"/>
    public int Before;

    /// <summary>The smaller of the size and the limit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Apply(int group, int size)
    {
        int limit = size;
        if (group < FirstGroup)
        {
            limit = Before;
        }
        else if (!Kept.IsEmpty)
        {
            limit = Kept[0] + Extra;
        }

        return limit < size ? limit : size;
    }
}

/// <summary>Arguments of <see cref="GpuGemm.Kernel"/>.</summary>
internal struct GemmArguments<TA, TB, TC>
    where TA : struct, IGemmOperand
    where TB : struct, IGemmOperand
    where TC : struct, IGemmResult
{
    public TA A;
    public TB B;
    public TC C;
    public int Rows;
    public int Columns;
    public int Depth;

    /// <summary>Where a group's columns end; blocks behind it do nothing.</summary>
    public DeviceLimit ColumnLimit;

    /// <summary>Where a group's depth ends: the operands are not read behind it.</summary>
    public DeviceLimit DepthLimit;
}

/// <summary>One lane's share of a 16 x 32 accumulator: four instruction tiles side by side.</summary>
internal struct TileRow
{
    public Float4 T0;
    public Float4 T1;
    public Float4 T2;
    public Float4 T3;
}

/// <summary>Matrix products on the GPU.</summary>
internal static class GpuGemm
{
    public const int Block = 64;
    public const int DepthStep = 16;
    public const int Threads = 128;
    private const int Pitch = 20;

    /// <summary>Words of shared memory of one operand's stage.</summary>
    public const int StageLength = Block * Pitch;

    /// <summary>Enqueues C = A B.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="stream">Orders the launch.</param>
    /// <param name="groups">Products of a batch; operands and results are asked by their number.</param>
    /// <param name="arguments">Sizes, operands and result.</param>
    /// <param name="batches">Independent batches; operands and results find theirs by <see cref="BatchView{T}"/>.</param>
    public static void Run<TA, TB, TC, TPrecision>(Gpu gpu, AcceleratorStream stream, int groups, GemmArguments<TA, TB, TC> arguments, int batches = 1)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TPrecision : struct, IProductPrecision
    {
        Index3D grid = new(groups * CeilDiv(arguments.Columns), CeilDiv(arguments.Rows), batches);
        gpu.Launch(stream, Kernel<TA, TB, TC, TPrecision>, grid, Threads, arguments);
    }

    /// <summary>One 64 x 64 block of C.</summary>
    public static void Kernel<TA, TB, TC, TPrecision>(GemmArguments<TA, TB, TC> p)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TPrecision : struct, IProductPrecision
    {
        ArrayView<float> sharedA = SharedMemory.Allocate<float>(StageLength);
        ArrayView<float> sharedB = SharedMemory.Allocate<float>(StageLength);
        ArrayView<float> rowValues = SharedMemory.Allocate<float>(Block);
        int columnBlocks = CeilDiv(p.Columns);
        int group = Grid.IdxX / columnBlocks;
        int blockRow = Grid.IdxY * Block;
        int blockColumn = Grid.IdxX % columnBlocks * Block;
        int columns = p.ColumnLimit.Apply(group, p.Columns);
        if (blockColumn >= columns)
        {
            return; // the whole group leaves
        }

        if (Group.IdxX < Block && blockRow + Group.IdxX < p.Rows)
        {
            rowValues[Group.IdxX] = p.C.Prepare(group, blockRow + Group.IdxX); // read after the barriers of the loop
        }

        TileRow top = default;
        TileRow bottom = default;
        Accumulate<TA, TB, TPrecision>(
            ref top, ref bottom, sharedA, sharedB, p.A, p.B, group, blockRow, p.Rows, blockColumn, columns, p.DepthLimit.Apply(group, p.Depth));
        Group.Barrier(); // without a stage there was none yet
        int row = WarpRow() + (Group.IdxX % Gpu.WarpSize / 4);
        int column = blockColumn + WarpColumn() + (Group.IdxX % 4 * 2);
        StoreRow(p, rowValues, top, group, blockRow, row, column, columns);
        StoreRow(p, rowValues, bottom, group, blockRow, row + 16, column, columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CeilDiv(int size) => (size + Block - 1) / Block;

    /// <summary>First row of the thread's warp within its group's block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int WarpRow() => Group.IdxX / (2 * Gpu.WarpSize) * 32;

    /// <summary>First column of the thread's warp within its group's block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int WarpColumn() => Group.IdxX / Gpu.WarpSize % 2 * 32;

    /// <summary>
    /// Adds one 64 x 64 block of A B to the accumulators of a group of <see cref="Threads"/>. Every thread calls it; the shared memory is
    /// free again at the return.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate<TA, TB, TPrecision>(
        ref TileRow top, ref TileRow bottom, ArrayView<float> sharedA, ArrayView<float> sharedB, TA a, TB b, int group, int firstRow, int rows, int firstColumn,
        int columns, int depth)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TPrecision : struct, IProductPrecision
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int warpRow = WarpRow();
        int warpColumn = WarpColumn();
        for (int start = 0; start < depth; start += DepthStep)
        {
            CopyStage(sharedA, a, group, firstRow, rows, start, depth);
            CopyStage(sharedB, b, group, firstColumn, columns, start, depth);
            Group.Barrier();
            FragmentB b0 = LoadB(sharedB, warpColumn, lane);
            FragmentB b1 = LoadB(sharedB, warpColumn + 8, lane);
            FragmentB b2 = LoadB(sharedB, warpColumn + 16, lane);
            FragmentB b3 = LoadB(sharedB, warpColumn + 24, lane);
            MultiplyRow<TPrecision>(ref top, LoadA(sharedA, warpRow, lane), b0, b1, b2, b3);
            MultiplyRow<TPrecision>(ref bottom, LoadA(sharedA, warpRow + 16, lane), b0, b1, b2, b3);
            Group.Barrier(); // the next stage overwrites what was just read
        }
    }

    // 64 x 16 elements of one operand, zero outside; eight a thread.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyStage<T>(ArrayView<float> shared, T operand, int group, int firstOuter, int outerCount, int firstDepth, int depthCount)
        where T : struct, IGemmOperand
    {
        bool alongDepth = operand.IsDepthContiguous;
        for (int i = Group.IdxX; i < Block * DepthStep; i += Threads)
        {
            int outer = alongDepth ? i / DepthStep : i % Block;
            int depth = alongDepth ? i % DepthStep : i / Block;
            bool isInside = firstOuter + outer < outerCount && firstDepth + depth < depthCount;
            float value = 0.0f;
            if (isInside)
            {
                value = operand.Load(group, firstOuter + outer, firstDepth + depth);
            }

            shared[(outer * Pitch) + depth] = value;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static FragmentA LoadA(ArrayView<float> shared, int row, int lane)
    {
        int upper = ((row + (lane / 4)) * Pitch) + (lane % 4);
        int lower = upper + (8 * Pitch);
        FragmentA a = default;
        a.Upper0 = shared[upper];
        a.Upper4 = shared[upper + 4];
        a.Upper8 = shared[upper + 8];
        a.Upper12 = shared[upper + 12];
        a.Lower0 = shared[lower];
        a.Lower4 = shared[lower + 4];
        a.Lower8 = shared[lower + 8];
        a.Lower12 = shared[lower + 12];
        return a;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static FragmentB LoadB(ArrayView<float> shared, int column, int lane)
    {
        int start = ((column + (lane / 4)) * Pitch) + (lane % 4);
        FragmentB b = default;
        b.K0 = shared[start];
        b.K4 = shared[start + 4];
        b.K8 = shared[start + 8];
        b.K12 = shared[start + 12];
        return b;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyRow<TPrecision>(ref TileRow row, FragmentA a, FragmentB b0, FragmentB b1, FragmentB b2, FragmentB b3)
        where TPrecision : struct, IProductPrecision
    {
        row.T0 = TPrecision.MultiplyAdd(row.T0, a, b0);
        row.T1 = TPrecision.MultiplyAdd(row.T1, a, b1);
        row.T2 = TPrecision.MultiplyAdd(row.T2, a, b2);
        row.T3 = TPrecision.MultiplyAdd(row.T3, a, b3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<TA, TB, TC>(GemmArguments<TA, TB, TC> p, ArrayView<float> rowValues, TileRow tile, int group, int blockRow, int row, int column, int columns)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        Store(p, rowValues, tile.T0, group, blockRow, row, column, columns);
        Store(p, rowValues, tile.T1, group, blockRow, row, column + 8, columns);
        Store(p, rowValues, tile.T2, group, blockRow, row, column + 16, columns);
        Store(p, rowValues, tile.T3, group, blockRow, row, column + 24, columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TA, TB, TC>(GemmArguments<TA, TB, TC> p, ArrayView<float> rowValues, Float4 value, int group, int blockRow, int row, int column, int columns)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        StoreOne(p, rowValues, group, blockRow, row, column, columns, value.X);
        StoreOne(p, rowValues, group, blockRow, row, column + 1, columns, value.Y);
        StoreOne(p, rowValues, group, blockRow, row + 8, column, columns, value.Z);
        StoreOne(p, rowValues, group, blockRow, row + 8, column + 1, columns, value.W);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreOne<TA, TB, TC>(
        GemmArguments<TA, TB, TC> p, ArrayView<float> rowValues, int group, int blockRow, int row, int column, int columns, float value)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        if (blockRow + row < p.Rows && column < columns)
        {
            p.C.Store(group, blockRow + row, column, value, rowValues[row]);
        }
    }
}
