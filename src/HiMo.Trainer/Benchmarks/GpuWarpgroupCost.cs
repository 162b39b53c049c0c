// SPDX-License-Identifier: Apache-2.0
// Products of packed bf16 on Hopper's warpgroup instructions (ContrastiveLoss.Warpgroup.*.cs): tiles of 128 x 128, two groups a multiprocessor.
// A stage of 64   the larger of the tensor units' time for the groups of a multiprocessor, and of the second-level cache's time for the stages of all groups:
//                 each brings 128 x 64 of both operands for itself, so that a multiplication costs as much cache whatever the matrices' sizes.
// Elements        what is done with a finished tile comes on top: that one group multiplies meanwhile gains nothing, the measured times say.
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Prices of the passes on warpgroup instructions.</summary>
/// <param name="device">What is assumed.</param>
/// <param name="kept">m.</param>
internal sealed class GpuWarpgroupCost(GpuModel device, int kept)
{
    private const int Resident = 2;                     // groups of a multiprocessor, as the kernels ask for
    private const double StageBytes = 2.0 * PackedMatrix.TileLength * sizeof(uint);
    private const double StageFlops = 2.0 * WarpgroupMma.Tile * WarpgroupMma.Tile * PackedMatrix.TileDepth;
    private const double TileSeconds = (double)WarpgroupMma.Tile * WarpgroupMma.Tile / GpuModel.Lanes * GpuModel.ElementCycles / GpuModel.Clock;
    private const int SoftmaxPair = 2;                  // exponentials of a logit forward, one a direction

    /// <summary>The forward pass: regions of tiles.</summary>
    public KernelCost Statistics(LaunchEntry launch, WarpgroupPass pass)
    {
        double rows = pass.Pass.Branches.Rows, columns = pass.Pass.Branches.Columns;
        Work work = new();
        for (int branch = 0; branch < launch.Groups.Z; branch++)
        {
            work.Add(rows, columns, GpuCostModel.Limit(pass.Pass.Depths, branch, int.MaxValue, kept));
            work.Bytes += sizeof(ushort) * (rows + columns) * GpuCostModel.Limit(pass.Pass.Depths, branch, int.MaxValue, kept);
        }

        return Finish(launch, work, launch.Groups.Size, SoftmaxPair * launch.Groups.Z * rows * columns);
    }

    /// <summary>D of a strip, stored twice.</summary>
    public KernelCost Derivative(LaunchEntry launch, WarpgroupStrip strip)
    {
        double rows = Math.Min((double)launch.Groups.Y * WarpgroupMma.Tile, strip.Statistics.Rows - strip.FirstRow), columns = strip.Statistics.Columns;
        Work work = new();
        for (int branch = 0; branch < launch.Groups.Z; branch++)
        {
            double depth = GpuCostModel.Limit(strip.Depths, branch, int.MaxValue, kept);
            work.Add(rows, columns, depth);
            work.Bytes += sizeof(ushort) * (((rows + columns) * depth) + (2.0 * rows * columns));
        }

        return Finish(launch, work, work.Tiles, launch.Groups.Z * rows * columns);
    }

    /// <summary>dQ of a strip, or its share of dK.</summary>
    public KernelCost Product(LaunchEntry launch, WarpgroupProduct product)
    {
        double depth = (double)product.DepthTiles * PackedMatrix.TileDepth;
        Work work = new();
        for (int branch = 0; branch < launch.Groups.Z; branch++)
        {
            double columns = GpuCostModel.Limit(product.ColumnLimit, branch, product.Columns, kept);
            work.Add(product.Rows, columns, depth);
            work.Bytes += (sizeof(ushort) * (product.Rows + columns) * depth) + (sizeof(float) * (1 + product.Result.IsAdded) * product.Rows * columns);
        }

        return Finish(launch, work, work.Tiles, 0.0);
    }

    private KernelCost Finish(LaunchEntry launch, Work work, double groups, double exponentials)
    {
        double tiles = work.Tiles / groups, stages = work.Stages / groups;
        double seconds = GpuModel.Waves(groups, Resident, (active, onOne) =>
            (stages * Math.Max(Tensor(onOne), Cache(active))) + (tiles * onOne * TileSeconds));
        double busy = Math.Min(groups, Resident * GpuModel.Multiprocessors);
        double stage = Math.Max(Tensor(Math.Ceiling(busy / GpuModel.Multiprocessors)), Cache(busy));
        string limit = tiles * TileSeconds * Resident > stages * stage ? "instructions" : stage > Tensor(Math.Ceiling(busy / GpuModel.Multiprocessors)) ? "cache" : "tensor units";
        return KernelCost.Of(launch, work.Flops, work.Bytes, exponentials, (seconds, limit), (work.Bytes / device.Bandwidth, "memory"));
    }

    // Seconds of a stage of each of a multiprocessor's groups.
    private double Tensor(double groups) => groups * StageFlops / device.Bf16OfOne;

    // Seconds of a stage of each of all groups at work.
    private static double Cache(double groups) => groups * StageBytes / GpuModel.CacheBandwidth;

    private struct Work
    {
        public double Tiles;
        public double Stages;       // of all tiles
        public double Flops;
        public double Bytes;

        public void Add(double rows, double columns, double depth)
        {
            double tiles = Math.Ceiling(rows / WarpgroupMma.Tile) * Math.Ceiling(columns / WarpgroupMma.Tile);
            Tiles += tiles;
            Stages += tiles * Math.Ceiling(depth / PackedMatrix.TileDepth);
            Flops += 2.0 * rows * columns * depth;
        }
    }
}
