// SPDX-License-Identifier: Apache-2.0
// A matrix of bf16 numbers in tiles of 128 rows and 64 columns, each in one piece, for WarpgroupMma.
// Layout     tile (r, k) is number r * (tiles along the depth) + k; within it a row has 32 words, in eight chunks of 16 bytes of which number c lies at place
//            c xor (row mod 8): the 128-byte swizzle of the hardware, which spreads eight rows over all banks. The first of a pair is the lower half of a word.
// Padding    rows and depth are rounded up to whole tiles, with zeros.
// Mapping    of PackGpu: four groups of 256 threads a tile. Where the source is contiguous along the depth, a warp reads a row and a thread writes one word of each of
//            four rows; else neighbouring threads read neighbouring rows, and a thread writes one chunk.
// Precision  float32 to bf16, to nearest, ties to even.
// Determinism  nothing is added; every word is one thread's.
// Limits     rows and depth of 1 or more; Grid.Y counts tiles along the depth, so that it is at most 4,194,240; the source as MatrixIndex has it.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Packed tiles.</summary>
internal struct PackedMatrix
{
    /// <summary>Rows of a tile.</summary>
    public const int TileRows = 128;

    /// <summary>Columns of a tile.</summary>
    public const int TileDepth = 64;

    /// <summary>Words of a tile.</summary>
    public const int TileLength = TileRows * TileDepth / 2;

    public ArrayView<uint> Words;

    /// <summary>Tiles from one block of rows to the next.</summary>
    public int DepthTiles;

    /// <summary>Tiles that cover a number of rows.</summary>
    public static int RowTilesOf(int rows) => (rows + TileRows - 1) / TileRows;

    /// <summary>Tiles that cover a depth.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int DepthTilesOf(int depth) => (depth + TileDepth - 1) / TileDepth;

    /// <summary>Words of a whole matrix.</summary>
    public static long LengthOf(int rows, int depth) => (long)RowTilesOf(rows) * DepthTilesOf(depth) * TileLength;

    /// <summary>Takes memory for a matrix; tiles are aligned as their copies want it.</summary>
    public static PackedMatrix Take(DeviceArena arena, int rows, int depth) =>
        new() { Words = arena.Take<uint>(LengthOf(rows, depth)), DepthTiles = DepthTilesOf(depth) };

    /// <summary>Word of a tile that holds two neighbours along the depth; <paramref name="depth"/> is even.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Word(int row, int depth) => (row * 32) + (((depth / 8) ^ (row % 8)) * 4) + (depth % 8 / 2);

    /// <summary>Where the tile of a block of rows and a place along the depth begins.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly long Tile(int rowTile, int depthTile) => (((long)rowTile * DepthTiles) + depthTile) * TileLength;
}

/// <summary>Arguments of <see cref="PackGpu.Kernel"/>.</summary>
internal struct PackArguments<TOperand>
    where TOperand : struct, IGemmOperand
{
    public TOperand Source;

    /// <summary>Group of the source.</summary>
    public int Group;
    public PackedMatrix Target;

    /// <summary>Outer indices of the source; zeros behind them.</summary>
    public int Rows;

    /// <summary>Depth of the source; zeros behind it.</summary>
    public int Depth;

    /// <summary>Limits the rows.</summary>
    public DeviceLimit RowLimit;

    /// <summary>Limits the depth: nothing is written behind the tile where it ends.</summary>
    public DeviceLimit DepthLimit;
}

/// <summary>Packs an operand, four groups a tile. Neighbouring threads read what is contiguous in the source; a thread's eight loads are under way together.</summary>
internal static class PackGpu
{
    private const int Threads = 256;
    private const int Groups = PackedMatrix.TileLength / (4 * Threads);

    /// <summary>Enqueues the packing of a whole matrix.</summary>
    public static void Run<TOperand>(Gpu gpu, AcceleratorStream stream, PackArguments<TOperand> p)
        where TOperand : struct, IGemmOperand =>
        gpu.Launch(stream, Kernel, new Index3D(PackedMatrix.RowTilesOf(p.Rows) * Groups, PackedMatrix.DepthTilesOf(p.Depth), 1), Threads, p);

    /// <summary>A quarter of a tile: 32 rows, or 16 places along the depth.</summary>
    public static void Kernel<TOperand>(PackArguments<TOperand> p)
        where TOperand : struct, IGemmOperand
    {
        int rows = p.RowLimit.Apply(p.Group, p.Rows);
        int depths = p.DepthLimit.Apply(p.Group, p.Depth);
        int firstRow = Grid.IdxX / Groups * PackedMatrix.TileRows;
        int firstDepth = Grid.IdxY * PackedMatrix.TileDepth;
        if (firstDepth >= depths || firstRow >= rows)
        {
            return; // a tile that nobody reads
        }

        TOperand source = p.Source;
        source.Select(p.Group);
        int part = Grid.IdxX % Groups;
        int thread = Group.IdxX;
        long tile = p.Target.Tile(Grid.IdxX / Groups, Grid.IdxY);
        if (source.IsDepthContiguous)
        {
            int row = (32 * part) + (thread >> 5); // a warp a row, and those 8, 16 and 24 further
            int depth = 2 * (thread & 31);
            Float4 words = Four(source, firstRow + row, 8, firstDepth + depth, 0, rows, depths);
            ArrayView<uint> place = p.Target.Words.SubView(tile + PackedMatrix.Word(row, depth), (3 * 256) + 1); // eight rows have 256 words
            place[0] = Interop.FloatAsInt(words.X);
            place[256] = Interop.FloatAsInt(words.Y);
            place[2 * 256] = Interop.FloatAsInt(words.Z);
            place[3 * 256] = Interop.FloatAsInt(words.W);
        }
        else
        {
            int row = thread & (PackedMatrix.TileRows - 1); // a chunk of 16 bytes
            int depth = (16 * part) + (8 * (thread / PackedMatrix.TileRows));
            Float4 words = Four(source, firstRow + row, 0, firstDepth + depth, 2, rows, depths);
            p.Target.Words.Cast<Float4>()[(tile + PackedMatrix.Word(row, depth)) / 4] = words;
        }
    }

    // Four words, each of two neighbours along the depth, a step apart; zeros behind the end.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Four<TOperand>(TOperand source, int row, int rowStep, int depth, int depthStep, int rows, int depths)
        where TOperand : struct, IGemmOperand
    {
        int row1 = row + rowStep, row2 = row1 + rowStep, row3 = row2 + rowStep;
        int depth1 = depth + depthStep, depth2 = depth1 + depthStep, depth3 = depth2 + depthStep;
        float first0 = Load(source, row, depth, rows, depths);
        float second0 = Load(source, row, depth + 1, rows, depths);
        float first1 = Load(source, row1, depth1, rows, depths);
        float second1 = Load(source, row1, depth1 + 1, rows, depths);
        float first2 = Load(source, row2, depth2, rows, depths);
        float second2 = Load(source, row2, depth2 + 1, rows, depths);
        float first3 = Load(source, row3, depth3, rows, depths);
        float second3 = Load(source, row3, depth3 + 1, rows, depths);
        Float4 words = default;
        words.X = Pair(source, first0, second0, row, depth, rows, depths);
        words.Y = Pair(source, first1, second1, row1, depth1, rows, depths);
        words.Z = Pair(source, first2, second2, row2, depth2, rows, depths);
        words.W = Pair(source, first3, second3, row3, depth3, rows, depths);
        return words;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Load<TOperand>(TOperand source, int row, int depth, int rows, int depths)
        where TOperand : struct, IGemmOperand =>
        source.Load(XMath.Min(row, rows - 1), XMath.Min(depth, depths - 1)); // behind the end in vain: no branch around a load

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Pair<TOperand>(TOperand source, float first, float second, int row, int depth, int rows, int depths)
        where TOperand : struct, IGemmOperand
    {
        first = source.Finish(first, XMath.Min(row, rows - 1), XMath.Min(depth, depths - 1));
        second = source.Finish(second, XMath.Min(row, rows - 1), XMath.Min(depth + 1, depths - 1));
        first = row < rows && depth < depths ? first : 0.0f;
        second = row < rows && depth + 1 < depths ? second : 0.0f;
        return Interop.IntAsFloat(Rounding.ToBf16Pair(first, second));
    }
}
