// SPDX-License-Identifier: Apache-2.0
// A matrix of bf16 numbers in tiles of 128 rows and 64 columns, each in one piece, for WarpgroupMma.
// Layout     tile (r, k) is number r * (tiles along the depth) + k; within it a row has 32 words, in eight chunks of 16 bytes of which number c lies at place
//            c xor (row mod 8): the 128-byte swizzle of the hardware, which spreads eight rows over all banks. The first of a pair is the lower half of a word.
// Padding    rows and depth are rounded up to whole tiles, with zeros.
using System.Runtime.CompilerServices;
using ILGPU;
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

    /// <summary>Stores two neighbours along the depth.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(int row, int depth, float first, float second) =>
        Words[Tile(row / TileRows, depth / TileDepth) + Word(row % TileRows, depth % TileDepth)] = Rounding.ToBf16Pair(first, second);
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

/// <summary>Packs an operand; a warp a row of 64.</summary>
internal static class PackGpu
{
    private const int Threads = 256;

    /// <summary>Enqueues the packing of a whole matrix.</summary>
    public static void Run<TOperand>(Gpu gpu, AcceleratorStream stream, PackArguments<TOperand> p)
        where TOperand : struct, IGemmOperand =>
        gpu.Launch(
            stream, Kernel, new Index3D(PackedMatrix.RowTilesOf(p.Rows) * (PackedMatrix.TileRows * Gpu.WarpSize / Threads), PackedMatrix.DepthTilesOf(p.Depth), 1), Threads, p);

    /// <summary>Eight rows of one tile.</summary>
    public static void Kernel<TOperand>(PackArguments<TOperand> p)
        where TOperand : struct, IGemmOperand
    {
        int rows = p.RowLimit.Apply(p.Group, p.Rows);
        int depths = p.DepthLimit.Apply(p.Group, p.Depth);
        int row = (int)((((long)Grid.IdxX * Group.DimX) + Group.IdxX) / Gpu.WarpSize);
        int depth = (Grid.IdxY * PackedMatrix.TileDepth) + (2 * (Group.IdxX % Gpu.WarpSize));
        if (Grid.IdxY * PackedMatrix.TileDepth >= depths || row / PackedMatrix.TileRows * PackedMatrix.TileRows >= rows)
        {
            return; // a tile that nobody reads
        }

        TOperand source = p.Source;
        source.Select(p.Group);
        float first = 0.0f;
        float second = 0.0f;
        if (row < rows && depth < depths)
        {
            first = source.Finish(source.Load(row, depth), row, depth);
            if (depth + 1 < depths)
            {
                second = source.Finish(source.Load(row, depth + 1), row, depth + 1);
            }
        }

        p.Target.Store(row, depth, first, second);
    }
}
