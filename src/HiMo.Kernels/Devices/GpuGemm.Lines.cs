// SPDX-License-Identifier: Apache-2.0
// Products with lines beside them. A line is a sum along a row or column by one warp; it reads nothing that the launch writes, and in a launch of its own it would wait for its loads as long as here.
// Mapping    the products' thread groups as in GpuGemm.cs; behind them in Grid.X the lines', counted along Grid.Y first. Grid.Z: batches.
// Precision  of the products as in GpuGemm.cs, of a line as its structure says.
// Determinism  as the products' and LineSum's: the order follows from the sizes, and for the products from the number of multiprocessors.
// Limits     as the products, of one element at least; lines share the products' registers and static shared memory. The tile is chosen for the products alone: of DeepTile a multiprocessor
//            holds one group, so lines of a launch that nearly fills the chip come in a second wave.
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>What a launch does beside its products.</summary>
internal interface IGemmLines
{
    /// <summary>Thread groups of some warps that the lines need; on the host.</summary>
    int Groups(int warps);

    /// <summary>
    /// The lines of a thread group; all of its threads call it. An exchange between lanes is a barrier of the whole group on OpenCL: what decides whether there is one must be the same
    /// for every warp.
    /// </summary>
    void Run(int group);
}

/// <summary>Arguments of <see cref="GpuGemm.KernelWithLines"/>.</summary>
internal struct GemmWithLines<TA, TB, TC, TLines>
    where TA : struct, IGemmOperand
    where TB : struct, IGemmOperand
    where TC : struct, IGemmResult
    where TLines : struct, IGemmLines
{
    public GemmArguments<TA, TB, TC> Product;
    public TLines Lines;

    /// <summary>Of Grid.X, for the products.</summary>
    public int ProductGroups;

    /// <summary>Thread groups of the lines.</summary>
    public int LineGroups;
}

/// <summary>Matrix products on the GPU.</summary>
internal static partial class GpuGemm
{
    /// <summary>Enqueues C = A B with lines beside it; everything else as <see cref="Run{TA, TB, TC, TPrecision}"/>.</summary>
    public static void RunWithLines<TA, TB, TC, TLines, TPrecision>(
        Gpu gpu, AcceleratorStream stream, int groups, GemmArguments<TA, TB, TC> arguments, TLines lines, int batches)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TLines : struct, IGemmLines
        where TPrecision : struct, IProductPrecision
    {
        switch (TileFor<TA, TB, TC, TPrecision>(gpu, groups, arguments, batches))
        {
            case Tile.Large:
                RunWithLines<TA, TB, TC, TLines, LargeTile, TPrecision>(gpu, stream, groups, arguments, lines, batches);
                break;
            case Tile.Deep:
                RunWithLines<TA, TB, TC, TLines, DeepTile, TPrecision>(gpu, stream, groups, arguments, lines, batches);
                break;
            default:
                RunWithLines<TA, TB, TC, TLines, SmallTile, TPrecision>(gpu, stream, groups, arguments, lines, batches);
                break;
        }
    }

    /// <summary>A block of C, or some lines.</summary>
    [ResidentGroups(GroupsPerMultiprocessor, Threads)]
    public static void KernelWithLines<TA, TB, TC, TTile, TPrecision, TLines>(GemmWithLines<TA, TB, TC, TLines> p)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TLines : struct, IGemmLines
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        if (Grid.IdxX < p.ProductGroups)
        {
            Multiply<TA, TB, TC, TTile, TPrecision>(p.Product);
            return; // the whole group leaves
        }

        int group = ((Grid.IdxX - p.ProductGroups) * Grid.DimY) + Grid.IdxY;
        if (group < p.LineGroups)
        {
            p.Lines.Run(group);
        }
    }

    private static void RunWithLines<TA, TB, TC, TLines, TTile, TPrecision>(
        Gpu gpu, AcceleratorStream stream, int groups, GemmArguments<TA, TB, TC> arguments, TLines lines, int batches)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TLines : struct, IGemmLines
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        int threads = TTile.Teams * Threads;
        Index3D grid = Groups<TTile>(groups, arguments.Rows, arguments.Columns, batches);
        int lineGroups = lines.Groups(threads / Gpu.WarpSize);
        int across = (lineGroups + grid.Y - 1) / grid.Y;
        gpu.Launch(
            stream, KernelWithLines<TA, TB, TC, TTile, TPrecision, TLines>, new Index3D(grid.X + across, grid.Y, grid.Z), threads,
            new GemmWithLines<TA, TB, TC, TLines> { Product = arguments, Lines = lines, ProductGroups = grid.X, LineGroups = lineGroups });
    }
}
