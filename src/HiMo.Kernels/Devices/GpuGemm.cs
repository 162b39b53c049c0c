// SPDX-License-Identifier: Apache-2.0
// C = A B for operands that are read, and results that are stored, by small structures: a strided matrix, a softmax made on the fly.
// Shapes     A: rows x depth, B: depth x columns, C: rows x columns, in each of some groups and batches; any size of 0 or more.
// Mapping    Grid.X: blocks of columns of one group after the other, Grid.Y: blocks of rows, Grid.Z: batches; thread group of 4 warps = 64 x 64 of C;
//            warp = 32 x 32 = 2 x 4 instruction tiles of 16 x 8; where these are too few groups for the chip, 32 x 32 and 16 x 16 = 1 x 2; where these are too few still,
//            four teams of 4 warps, each with a quarter of the depth (GpuGemm.Teams.cs); depth in stages of 16 through shared memory (GpuGemm.Stages.cs).
// Precision  operands as IProductPrecision says, sums in float32.
// Determinism  a sum's order follows from the tile's shape, which follows from the sizes and the number of multiprocessors.
// Limits     operands and results as MatrixIndex has them, else an exception. No asynchronous copies: made for the products of N <= 1,280; large logits have a kernel of their own.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>One operand of a product.</summary>
internal interface IGemmOperand
{
    /// <summary>True where neighbours along the depth are neighbours in memory, so that neighbouring lanes should read them.</summary>
    bool IsDepthContiguous { get; }

    /// <summary>Chooses the operand of a group: called once and before everything else, so that the loop over the depth has nothing to choose.</summary>
    void Select(int group);

    /// <summary>
    /// What memory holds of the element at an outer index (row of A, column of B) and a depth index, both within the operand. Loads that a branch may
    /// skip, or that wait for one another, cost a product most of its time: choose between addresses and between results instead.
    /// </summary>
    float Load(int outer, int depth);

    /// <summary>The element, from what <see cref="Load"/> returned some time ago, and from little that is in the first-level cache.</summary>
    float Finish(float value, int outer, int depth);
}

/// <summary>Takes the elements of a product.</summary>
internal interface IGemmResult
{
    /// <summary>A number that every element of a row needs; asked once a row and block of columns, before the product.</summary>
    float Prepare(int group, int row);

    /// <summary>Chooses the arrays of a group, and of the batch: called once, before <see cref="Load"/> and <see cref="Store"/>, so that these have nothing to choose.</summary>
    void SelectResult(int group);

    /// <summary>
    /// What memory holds that an element needs; asked for some elements together, before the first of them is stored, and at places within C. As with
    /// <see cref="IGemmOperand.Load"/>, no branch around a load.
    /// </summary>
    float Load(int group, int row, int column);

    /// <summary>Stores one element; each is given once, those above the diagonal of a symmetric result not at all or for nothing.</summary>
    void Store(int group, int row, int column, float value, float rowValue, float loaded);
}

/// <summary>A size that only the device knows: the number m of kept components. The default is no limit.</summary>
internal struct DeviceLimit
{
    /// <summary>m, one element, for the groups from <see cref="FirstGroup"/> on; empty: no limit there.</summary>
    public BatchView<int> Kept;

    /// <summary>Added to m.</summary>
    public int Extra;

    /// <summary>1: twice as much.</summary>
    public int Doubled;

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
            limit <<= Doubled;
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

    /// <summary>Above 0: the groups are parts of the depth of one product, of so many each; operands are asked as group 0, the result as the part's.</summary>
    public int PartDepth;

    /// <summary>1: C is symmetric; blocks above its diagonal do nothing, and <see cref="C"/> mirrors what lies on and below it.</summary>
    public int IsSymmetric;
}

/// <summary>Matrix products on the GPU.</summary>
internal static partial class GpuGemm
{
    /// <summary>Rows and columns of C of a group, large tiles.</summary>
    public const int Block = 2 * LargeTile.Rows;
    public const int Threads = 128;

    /// <summary>Groups that a multiprocessor holds: 168 registers a thread.</summary>
    public const int GroupsPerMultiprocessor = 3;

    private enum Tile
    {
        Small,
        Large,
        Deep,
    }

    /// <summary>Enqueues C = A B.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="stream">Orders the launch.</param>
    /// <param name="groups">Products of a batch; operands and results are asked by their number.</param>
    /// <param name="arguments">Sizes, operands and result.</param>
    /// <param name="batches">Independent batches; operands and results find theirs by <see cref="BatchView{T}"/>.</param>
    /// <exception cref="GpuException">The result, an operand, or two sides of it, have more elements than <see cref="MatrixIndex.MaxLength"/>.</exception>
    public static void Run<TA, TB, TC, TPrecision>(Gpu gpu, AcceleratorStream stream, int groups, GemmArguments<TA, TB, TC> arguments, int batches = 1)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TPrecision : struct, IProductPrecision
    {
        switch (TileFor<TA, TB, TC, TPrecision>(gpu, groups, arguments, batches))
        {
            case Tile.Large:
                Run<TA, TB, TC, LargeTile, TPrecision>(gpu, stream, groups, arguments, batches);
                break;
            case Tile.Deep:
                Run<TA, TB, TC, DeepTile, TPrecision>(gpu, stream, groups, arguments, batches);
                break;
            default:
                Run<TA, TB, TC, SmallTile, TPrecision>(gpu, stream, groups, arguments, batches);
                break;
        }
    }

    /// <summary>Enqueues C = A B in tiles of a given shape.</summary>
    internal static void Run<TA, TB, TC, TTile, TPrecision>(Gpu gpu, AcceleratorStream stream, int groups, GemmArguments<TA, TB, TC> arguments, int batches = 1)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile =>
        gpu.Launch(
            stream, Kernel<TA, TB, TC, TTile, TPrecision>, Groups<TTile>(groups, arguments.Rows, arguments.Columns, batches), TTile.Teams * Threads, arguments);

    // The largest tile of which the chip gets enough.
    private static Tile TileFor<TA, TB, TC, TPrecision>(Gpu gpu, int groups, in GemmArguments<TA, TB, TC> arguments, int batches)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TPrecision : struct, IProductPrecision
    {
        if (2L * Math.Max(arguments.Rows, arguments.Columns) * (arguments.Depth + 1L) > MatrixIndex.MaxLength || (long)arguments.Rows * arguments.Columns > MatrixIndex.MaxLength)
        {
            throw new GpuException(FormattableString.Invariant(
                $"A product of {arguments.Rows} x {arguments.Depth} by {arguments.Depth} x {arguments.Columns} has operands or a result beyond {MatrixIndex.MaxLength} elements; take fewer rows"));
        }

        int multiprocessors = gpu.Description.Multiprocessors;
        bool canTakeTeams = TPrecision.HasMatrixInstructions && gpu.Accelerator.MaxNumThreadsPerGroup >= DeepTile.Teams * Threads;
        return WorkingGroups<TA, TB, TC, LargeTile>(groups, arguments, batches) >= multiprocessors ? Tile.Large
            : canTakeTeams && WorkingGroups<TA, TB, TC, SmallTile>(groups, arguments, batches) <= multiprocessors ? Tile.Deep
            : Tile.Small;
    }

    /// <summary>Groups that have something to do, about: half where C is symmetric or has m columns, which only the device knows.</summary>
    internal static long WorkingGroups<TA, TB, TC, TTile>(int groups, in GemmArguments<TA, TB, TC> arguments, int batches)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TTile : struct, IGemmTile
    {
        bool isHalf = arguments.IsSymmetric != 0 || (arguments.ColumnLimit.FirstGroup == 0 && !arguments.ColumnLimit.Kept.IsEmpty);
        long all = Groups<TTile>(groups, arguments.Rows, arguments.Columns, batches).Size;
        return isHalf ? (all + 1) / 2 : all;
    }

    /// <summary>Groups of a launch.</summary>
    internal static Index3D Groups<TTile>(int groups, int rows, int columns, int batches)
        where TTile : struct, IGemmTile =>
        new(groups * CeilDiv<TTile>(columns), CeilDiv<TTile>(rows), batches);

    /// <summary>One block of C.</summary>
    [ResidentGroups(GroupsPerMultiprocessor, Threads)]
    public static void Kernel<TA, TB, TC, TTile, TPrecision>(GemmArguments<TA, TB, TC> p)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile =>
        Multiply<TA, TB, TC, TTile, TPrecision>(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply<TA, TB, TC, TTile, TPrecision>(GemmArguments<TA, TB, TC> p)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        ArrayView<Float4> shared = SharedMemory.Allocate<Float4>(TTile.Teams == 1 ? SharedLength : SharedLengthOfTeams);
        ArrayView<float> rowValues = SharedMemory.Allocate<float>(Block);
        int columnBlocks = CeilDiv<TTile>(p.Columns);
        int group = Grid.IdxX / columnBlocks;
        int blockRow = Grid.IdxY * 2 * TTile.WarpBlock;
        int blockColumn = Grid.IdxX % columnBlocks * 2 * TTile.WarpBlock;
        int columns = p.ColumnLimit.Apply(group, p.Columns);
        if (blockColumn >= columns || (p.IsSymmetric != 0 && blockColumn > blockRow))
        {
            return; // the whole group leaves
        }

        if (Group.IdxX < 2 * TTile.WarpBlock && blockRow + Group.IdxX < p.Rows)
        {
            rowValues[Group.IdxX] = p.C.Prepare(group, blockRow + Group.IdxX); // read after the barriers of the loop
        }

        int firstDepth = group * p.PartDepth;
        int depthCount = p.DepthLimit.Apply(group, p.Depth) - firstDepth;
        depthCount = p.PartDepth > 0 ? XMath.Min(depthCount, p.PartDepth) : depthCount;
        TileSums sums = default;
        Accumulate<TA, TB, TTile, TPrecision>(
            ref sums, shared, p.A, p.B, p.PartDepth > 0 ? 0 : group, blockRow, p.Rows, blockColumn, columns, firstDepth, depthCount);
        GroupBarrier.Wait(); // the last stage is read; without a stage the values of the rows are there
        p.C.SelectResult(group);
        if (TTile.Teams > 1)
        {
            StoreSumOfTeams<TA, TB, TC, TTile>(p, rowValues, shared.Cast<float>(), sums.Small, group, blockRow, blockColumn, columns);
            return;
        }

        int row = WarpRow<TTile>() + (Group.IdxX % Gpu.WarpSize / 4);
        int column = blockColumn + WarpColumn<TTile>() + (Group.IdxX % 4 * 2);
        if (TTile.WarpBlock == LargeTile.Rows)
        {
            StoreRow(p, rowValues, sums.Top, group, blockRow, row, column, columns);
            StoreRow(p, rowValues, sums.Bottom, group, blockRow, row + 16, column, columns);
        }
        else
        {
            Float4 left = Load(p, group, blockRow + row, column, columns);
            Float4 right = Load(p, group, blockRow + row, column + 8, columns);
            Store(p, rowValues, sums.Small.T0, left, group, blockRow, row, column, columns);
            Store(p, rowValues, sums.Small.T1, right, group, blockRow, row, column + 8, columns);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CeilDiv<TTile>(int size)
        where TTile : struct, IGemmTile =>
        (size + (2 * TTile.WarpBlock) - 1) / (2 * TTile.WarpBlock);

    /// <summary>First row of the thread's warp within its group's block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int WarpRow<TTile>()
        where TTile : struct, IGemmTile =>
        ThreadOfTeam<TTile>() / (2 * Gpu.WarpSize) * TTile.WarpBlock;

    /// <summary>First column of the thread's warp within its group's block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int WarpColumn<TTile>()
        where TTile : struct, IGemmTile =>
        (Group.IdxX / Gpu.WarpSize & 1) * TTile.WarpBlock;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<TA, TB, TC>(GemmArguments<TA, TB, TC> p, ArrayView<float> rowValues, TileRow tile, int group, int blockRow, int row, int column, int columns)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        TileRow loaded = default;
        loaded.T0 = Load(p, group, blockRow + row, column, columns);
        loaded.T1 = Load(p, group, blockRow + row, column + 8, columns);
        loaded.T2 = Load(p, group, blockRow + row, column + 16, columns);
        loaded.T3 = Load(p, group, blockRow + row, column + 24, columns);
        Store(p, rowValues, tile.T0, loaded.T0, group, blockRow, row, column, columns);
        Store(p, rowValues, tile.T1, loaded.T1, group, blockRow, row, column + 8, columns);
        Store(p, rowValues, tile.T2, loaded.T2, group, blockRow, row, column + 16, columns);
        Store(p, rowValues, tile.T3, loaded.T3, group, blockRow, row, column + 24, columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Load<TA, TB, TC>(GemmArguments<TA, TB, TC> p, int group, int row, int column, int columns)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        Float4 loaded = default;
        loaded.X = LoadOne(p, group, row, column, columns);
        loaded.Y = LoadOne(p, group, row, column + 1, columns);
        loaded.Z = LoadOne(p, group, row + 8, column, columns);
        loaded.W = LoadOne(p, group, row + 8, column + 1, columns);
        return loaded;
    }

    // The last row or column in the place of one that lies outside.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float LoadOne<TA, TB, TC>(GemmArguments<TA, TB, TC> p, int group, int row, int column, int columns)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult =>
        p.C.Load(group, XMath.Min(row, p.Rows - 1), XMath.Min(column, columns - 1));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TA, TB, TC>(
        GemmArguments<TA, TB, TC> p, ArrayView<float> rowValues, Float4 value, Float4 loaded, int group, int blockRow, int row, int column, int columns)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        StoreOne(p, rowValues, group, blockRow, row, column, columns, value.X, loaded.X);
        StoreOne(p, rowValues, group, blockRow, row, column + 1, columns, value.Y, loaded.Y);
        StoreOne(p, rowValues, group, blockRow, row + 8, column, columns, value.Z, loaded.Z);
        StoreOne(p, rowValues, group, blockRow, row + 8, column + 1, columns, value.W, loaded.W);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreOne<TA, TB, TC>(
        GemmArguments<TA, TB, TC> p, ArrayView<float> rowValues, int group, int blockRow, int row, int column, int columns, float value, float loaded)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        if (blockRow + row < p.Rows && column < columns)
        {
            p.C.Store(group, blockRow + row, column, value, rowValues[row], loaded);
        }
    }
}
