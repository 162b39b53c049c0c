// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>How much of C a group of four warps, two by two, makes: a small tile fills the chip with groups, a large one loads less for a product.</summary>
internal interface IGemmTile
{
    /// <summary>Rows and columns of a warp; a constant, so that what asks for it is decided when the kernel is compiled.</summary>
    static abstract int WarpBlock { get; }
}

/// <summary>64 x 64 of C; a warp has 32 x 32.</summary>
internal readonly struct LargeTile : IGemmTile
{
    public const int Rows = 32;

    /// <inheritdoc/>
    public static int WarpBlock => Rows;
}

/// <summary>32 x 32 of C; a warp has 16 x 16.</summary>
internal readonly struct SmallTile : IGemmTile
{
    public const int Rows = 16;

    /// <inheritdoc/>
    public static int WarpBlock => Rows;
}

/// <summary>A lane's sums: the first two of a large tile, the third of a small one.</summary>
internal struct TileSums
{
    /// <summary>The upper 16 rows of the warp.</summary>
    public TileRow Top;

    /// <summary>The lower 16 rows.</summary>
    public TileRow Bottom;

    /// <summary>All of the warp's 16 x 16.</summary>
    public TilePair Small;
}
