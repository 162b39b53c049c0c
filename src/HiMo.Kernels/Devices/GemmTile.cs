// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>How much of C a team of four warps, two by two, makes: a small tile fills the chip with groups, a large one loads less for a product.</summary>
internal interface IGemmTile
{
    /// <summary>Rows and columns of a warp; a constant, so that what asks for it is decided when the kernel is compiled.</summary>
    static abstract int WarpBlock { get; }

    /// <summary>Teams of a group: each has a part of the depth, and stages of its own; their sums are added up in the end.</summary>
    static abstract int Teams { get; }

    /// <summary>Bits of a thread's number that tell it apart within its team; all where there is one team, so that nothing is left of asking.</summary>
    static abstract int ThreadBits { get; }
}

/// <summary>64 x 64 of C; a warp has 32 x 32.</summary>
internal readonly struct LargeTile : IGemmTile
{
    public const int Rows = 32;

    /// <inheritdoc/>
    public static int WarpBlock => Rows;

    /// <inheritdoc/>
    public static int Teams => 1;

    /// <inheritdoc/>
    public static int ThreadBits => -1;
}

/// <summary>32 x 32 of C; a warp has 16 x 16.</summary>
internal readonly struct SmallTile : IGemmTile
{
    public const int Rows = 16;

    /// <inheritdoc/>
    public static int WarpBlock => Rows;

    /// <inheritdoc/>
    public static int Teams => 1;

    /// <inheritdoc/>
    public static int ThreadBits => -1;
}

/// <summary>A small tile by four teams, where every multiprocessor has one tile at most: stages wait for their loads, so four at once take the time of one.</summary>
internal readonly struct DeepTile : IGemmTile
{
    public const int Parts = 4;

    /// <inheritdoc/>
    public static int WarpBlock => SmallTile.Rows;

    /// <inheritdoc/>
    public static int Teams => Parts;

    /// <inheritdoc/>
    public static int ThreadBits => GpuGemm.Threads - 1;
}

/// <summary>A lane's sums: the first two of a large tile, the third of the others.</summary>
internal struct TileSums
{
    /// <summary>The upper 16 rows of the warp.</summary>
    public TileRow Top;

    /// <summary>The lower 16 rows.</summary>
    public TileRow Bottom;

    /// <summary>All of the warp's 16 x 16.</summary>
    public TilePair Small;
}
