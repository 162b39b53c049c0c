// SPDX-License-Identifier: Apache-2.0
// Both passes over bf16 factors on Hopper's warpgroup instructions: packing, forward, and a strip of rows at a time backward.
// Words      as for ContrastiveLoss.Warpgroup.Statistics.cs.
// Launches   4 for packing a branch, 2 forward, 3 a strip.
// Memory     four packed copies of the factors of a branch, 2 bytes an element, and D of a strip twice.
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Memory of the passes.</summary>
internal struct PackedLoss
{
    public PackedFactors Queries;
    public PackedFactors Keys;

    /// <summary>Q with row and depth exchanged: the right operand of dK = D^T Q.</summary>
    public PackedFactors TurnedQueries;

    /// <summary>K with row and depth exchanged: the right operand of dQ = D K.</summary>
    public PackedFactors TurnedKeys;

    /// <summary>D of a strip, its rows x N.</summary>
    public PackedFactors Derivative;

    /// <summary>D^T of a strip.</summary>
    public PackedFactors Transposed;

    /// <summary>Rows of a strip, a multiple of the tile; 0: the passes are not to be used.</summary>
    public int StripRows;

    /// <summary>Takes it.</summary>
    /// <param name="arena">Where.</param>
    /// <param name="rows">B.</param>
    /// <param name="columns">N.</param>
    /// <param name="width">w of the first branch.</param>
    /// <param name="secondWidth">Largest w of the second one; 0: there is none.</param>
    public static PackedLoss Take(DeviceArena arena, int rows, int columns, int width, int secondWidth)
    {
        const long DerivativeBytes = 4L << 30; // for D and D^T of both branches
        const int Least = 512, Most = 8192;
        int whole = PackedMatrix.RowTilesOf(columns) * PackedMatrix.TileRows;
        int allRows = PackedMatrix.RowTilesOf(rows) * PackedMatrix.TileRows;
        long affordable = DerivativeBytes / (2L * 2 * sizeof(ushort) * whole) / PackedMatrix.TileRows * PackedMatrix.TileRows;
        int strip = Math.Min((int)Math.Clamp(affordable, Least, Most), allRows);
        return new()
        {
            Queries = Rows(rows), Keys = Rows(columns), TurnedQueries = Turned(rows), TurnedKeys = Turned(columns),
            Derivative = Both(strip, whole, strip, whole), Transposed = Both(columns, strip, columns, strip), StripRows = strip,
        };

        PackedFactors Rows(int count) => Both(count, width, count, secondWidth);

        PackedFactors Turned(int count) => Both(width, count, secondWidth, count);

        PackedFactors Both(int outer, int depth, int secondOuter, int secondDepth) => new()
        {
            First = PackedMatrix.Take(arena, outer, depth), Second = secondWidth > 0 ? PackedMatrix.Take(arena, secondOuter, secondDepth) : default,
        };
    }
}

/// <summary>Enqueues the passes.</summary>
internal static class WarpgroupFactorsGpu
{
    /// <summary>Packing and both passes.</summary>
    public static void Run(Gpu gpu, AcceleratorStream stream, in FactorLoss loss)
    {
        for (int branch = 0; branch < loss.Branches; branch++)
        {
            Pack(gpu, stream, loss, branch, loss.Pass.Queries, loss.Packed.Queries, loss.Packed.TurnedQueries, loss.Pass.Branches.Rows);
            Pack(gpu, stream, loss, branch, loss.Pass.Keys, loss.Packed.Keys, loss.Packed.TurnedKeys, loss.Pass.Branches.Columns);
        }

        LogitPass pass = loss.Pass.WithRegions(WarpgroupMma.Tile);
        gpu.Launch(
            stream, WarpgroupPassGpu.StatisticsKernel, new Index3D(pass.ColumnRegions, pass.RowRegions, loss.Branches), WarpgroupMma.Threads,
            new WarpgroupPass { Pass = pass, Queries = loss.Packed.Queries, Keys = loss.Packed.Keys }, WarpgroupMma.SharedLength);
        LogitPassGpu.Finish(gpu, stream, pass, loss.Branches);
        for (int first = 0; first < loss.Pass.Branches.Rows; first += loss.Packed.StripRows)
        {
            Strip(gpu, stream, loss, first, Math.Min(loss.Packed.StripRows, loss.Pass.Branches.Rows - first));
        }
    }

    private static void Strip(Gpu gpu, AcceleratorStream stream, in FactorLoss loss, int first, int rows)
    {
        int columns = loss.Pass.Branches.Columns;
        int branches = loss.Branches;
        gpu.Launch(stream, WarpgroupGradientGpu.DerivativeKernel, Tiles(columns, rows), WarpgroupMma.Threads, new WarpgroupStrip
        {
            Statistics = loss.Pass.Branches, Queries = loss.Packed.Queries, Keys = loss.Packed.Keys, Depths = loss.Pass.Depths,
            Derivative = loss.Packed.Derivative, Transposed = loss.Packed.Transposed, FirstRow = first,
        }, WarpgroupMma.SharedLength);
        gpu.Launch(stream, WarpgroupGradientGpu.ProductKernel, Tiles(loss.Width, rows), WarpgroupMma.Threads, new WarpgroupProduct
        {
            Left = loss.Packed.Derivative, Right = loss.Packed.TurnedKeys, DepthTiles = PackedMatrix.DepthTilesOf(columns), Rows = rows, Columns = loss.Width,
            ColumnLimit = loss.Pass.Depths, Result = loss.GradQueries with { FirstRow = first, Branches = loss.Branches },
        }, WarpgroupMma.SharedLength);
        if (loss.GradKeys.First.Length == 0)
        {
            return; // constants
        }

        gpu.Launch(stream, WarpgroupGradientGpu.ProductKernel, Tiles(loss.Width, columns), WarpgroupMma.Threads, new WarpgroupProduct
        {
            Left = loss.Packed.Transposed, Right = loss.Packed.TurnedQueries, FirstDepthTile = first / PackedMatrix.TileDepth,
            DepthTiles = PackedMatrix.DepthTilesOf(rows), Rows = columns, Columns = loss.Width, ColumnLimit = loss.Pass.Depths,
            Result = loss.GradKeys with { Branches = loss.Branches, IsAdded = first > 0 ? 1 : loss.GradKeys.IsAdded },
        }, WarpgroupMma.SharedLength);

        Index3D Tiles(int across, int down) => new(PackedMatrix.RowTilesOf(across), PackedMatrix.RowTilesOf(down), branches);
    }

    private static void Pack(
        Gpu gpu, AcceleratorStream stream, in FactorLoss loss, int branch, FactorOperand factors, PackedFactors packed, PackedFactors turned, int rows)
    {
        PackGpu.Run(gpu, stream, new PackArguments<FactorOperand>
        {
            Source = factors, Group = branch, Target = packed.Of(branch), Rows = rows, Depth = loss.Width, DepthLimit = loss.Pass.Depths,
        });
        PackGpu.Run(gpu, stream, new PackArguments<TransposedFactorOperand>
        {
            Source = new() { Factors = factors }, Group = branch, Target = turned.Of(branch), Rows = loss.Width, Depth = rows, RowLimit = loss.Pass.Depths,
        });
    }
}
