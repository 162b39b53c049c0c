// SPDX-License-Identifier: Apache-2.0
// Products by mma.sync: GpuGemm, and the forward pass that multiplies as it does.
// A stage of 16   a thread loads its elements of both operands, brings them to shared memory, and its warp multiplies. The groups of a multiprocessor share
//                 its issue slots; a group alone also waits for its loads:  max(groups x issue, issue + a load).
// Issue           each of four warps has a scheduler, so a group's cycles are one warp's: elements x LoadCycles x what is left of their instructions, and the product's.
// Waits           what makes D on the fly waits for loads: how often is no matter of the source, where they do not depend on each other, but of the order that the
//                 assembler leaves them in, and was set by the measured times of these kernels (Combine, the strip of D).
using System.Reflection;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Prices of products in tiles of 64 or 32.</summary>
/// <param name="device">What is assumed.</param>
/// <param name="kept">m.</param>
internal sealed class GpuTileCost(GpuModel device, int kept)
{
    // Time for an element of what it took when LoadCycles was fitted. Of the instructions 0.44 are left in tiles of 64 and 0.67 in those of 32; what tiles of 64 took is fitted again.
    private const double LargeShare = 0.74;
    private const double SmallShare = 0.67;
    private const int StageCycles = 48;                 // fragments from shared memory, barrier, loop
    private const int StrictCycles = 26;                // of 16 x 8 of C: 6 products, 4 additions, splitting both operands
    private const int Tf32Cycles = 6;                   // 2 products, rounding
    private const int Bf16Cycles = 3;                   // 1 product, packing
    private const int LineCycles = 12;                  // of one logit in one of the two loops along a line
    private const int GroupsOfLogits = 2;               // of the forward pass on a multiprocessor, by registers (KernelBudget.txt)
    private const int SoftmaxPair = 2;                  // exponentials of an element of D, one a direction

    /// <summary>A GpuGemm. Lines beside a product take what they bring through memory, or their rounds of loads where those are longer than the product.</summary>
    public KernelCost Product(LaunchEntry launch)
    {
        Type[] types = launch.Kernel.GetGenericArguments();
        object product = launch.Arguments, arguments = launch.Arguments;
        int across = launch.Groups.X;
        double lineBytes = 0.0, lineRounds = 0.0;
        if (launch.Kernel.Name == nameof(GpuGemm.KernelWithLines))
        {
            product = Field<object>(arguments, "Product");
            across = Field<int>(arguments, "ProductGroups");
            (lineBytes, lineRounds) = GpuLineCost.Beside(Field<object>(arguments, "Lines"), launch.Groups.Z);
        }

        int rows = Field<int>(product, "Rows"), columns = Field<int>(product, "Columns"), depth = Field<int>(product, "Depth"), partDepth = Field<int>(product, "PartDepth"), batches = launch.Groups.Z;
        DeviceLimit columnLimit = Field<DeviceLimit>(product, "ColumnLimit"), depthLimit = Field<DeviceLimit>(product, "DepthLimit");
        Tiles tiles = new() { Block = types[3] == typeof(LargeTile) ? GpuGemm.Block : 2 * SmallTile.Rows, Teams = types[3] == typeof(DeepTile) ? DeepTile.Parts : 1 };
        double exponentials = 0.0;
        bool isSoftmaxOperand = types[0] == typeof(CombineLeft);
        int softmaxResults = SoftmaxResults(Field<object>(product, "C"));
        for (int group = 0; group < across / (int)tiles.Blocks(columns); group++)
        {
            double wide = GpuCostModel.Limit(columnLimit, group, columns, kept), along = GpuCostModel.Limit(depthLimit, group, depth, kept);
            along = partDepth > 0 ? Math.Clamp(depth - (group * partDepth), 0, partDepth) : along;
            tiles.Add(rows, wide, along, batches, Field<int>(product, "IsSymmetric") != 0);
            exponentials += batches * SoftmaxPair * rows * ((isSoftmaxOperand ? along * tiles.Blocks(wide) : 0.0) + (group < softmaxResults ? wide : 0.0));
        }

        tiles.Bytes += lineBytes;

        double elements = tiles.Block * tiles.Block / GpuGemm.Threads;
        int stageWaits = isSoftmaxOperand ? (int)tiles.LoadsOfAThread / 2 : 0;  // one for each of this operand's elements, which are half of the loads
        double waits = softmaxResults > 0 ? elements                            // one for each
            : 0.0;
        double share = types[3] == typeof(LargeTile) ? LargeShare : SmallShare;
        KernelCost cost = Finish(launch, tiles, types[4], exponentials, 1.0, share, GpuGemm.GroupsPerMultiprocessor, stageWaits, waits * GpuModel.LoadLatency);
        double least = GpuModel.LaunchGap + (lineRounds * GpuModel.LoadLatency);
        return cost.Seconds < least ? cost with { Seconds = least, Limit = "latency of lines" } : cost;
    }

    // Groups of a launch, the first ones, whose elements are made of a softmax where they are stored.
    private static int SoftmaxResults(object result) => result switch
    {
        CombineResult { IsBare: 0 } => 2,
        TurnedResult turned => 2 - turned.FirstProduct,
        GradientStrip => int.MaxValue,
        _ => 0,
    };

    /// <summary>The forward pass over logits.</summary>
    public KernelCost Logits(LaunchEntry launch, LogitPass pass)
    {
        int rows = pass.Branches.Rows, columns = pass.Branches.Columns;
        Tiles tiles = new() { Block = LogitPassGpu.Tile, Teams = 1 };
        for (int branch = 0; branch < launch.Groups.Z; branch++)
        {
            tiles.Add(rows, columns, GpuCostModel.Limit(pass.Depths, branch, int.MaxValue, kept), 1.0);
        }

        tiles.Bytes -= 4.0 * launch.Groups.Z * rows * columns;     // no logit leaves its tile
        double tilesOfAGroup = tiles.Blocks(pass.RegionRows) * tiles.Blocks(pass.RegionColumns);
        double lines = tilesOfAGroup * 2.0 * LogitPassGpu.Tile * LineCycles / GpuModel.Clock;
        return Finish(
            launch, tiles, launch.Kernel.GetGenericArguments()[0], SoftmaxPair * (double)launch.Groups.Z * rows * columns, tilesOfAGroup, LargeShare, GroupsOfLogits, 0, lines);
    }

    // beside: seconds of a group outside of its stages.
    private KernelCost Finish(
        LaunchEntry launch, Tiles tiles, Type precision, double exponentials, double tilesOfAGroup, double loadShare, int resident, int stageWaits, double beside)
    {
        bool isStrict = precision == typeof(StrictPrecision), isBf16 = precision == typeof(Bf16Precision);
        double instructionTiles = tiles.Block * tiles.Block / 512.0;            // of 16 x 8, for each of four warps
        double issue = ((tiles.LoadsOfAThread * loadShare * GpuModel.LoadCycles) + StageCycles + (instructionTiles * (isStrict ? StrictCycles : isBf16 ? Bf16Cycles : Tf32Cycles)))
            / GpuModel.Clock;
        double tensor = 2.0 * tiles.Block * tiles.Block * GpuGemm.DepthStep * (isStrict ? 3.0 : 1.0) / (isBf16 ? device.Bf16OfOne : device.Tf32OfOne);
        double alone = issue + ((1 + stageWaits) * GpuModel.LoadLatency);
        double stages = tilesOfAGroup * tiles.Stages / tiles.Count;
        double groups = tiles.Count / tilesOfAGroup;
        double seconds = GpuModel.Waves(
            groups, Math.Max(1, resident / tiles.Teams), (_, onOne) => (stages / tiles.Teams * Math.Max(onOne * tiles.Teams * Math.Max(issue, tensor), alone)) + beside);
        bool isWaiting = groups <= GpuModel.Multiprocessors || alone > resident * issue || beside > stages * alone;
        return KernelCost.Of(
            launch, tiles.Flops, tiles.Bytes, exponentials,
            (seconds, isWaiting ? "latency of loads" : tensor > issue ? "tensor units" : "instructions"), (tiles.Bytes / device.Bandwidth, "memory"));
    }

    private static T Field<T>(object arguments, string name) =>
        (T)arguments.GetType().GetField(name, BindingFlags.Public | BindingFlags.Instance)!.GetValue(arguments)!;

    private struct Tiles
    {
        public double Block;        // rows and columns of a tile
        public int Teams;           // that take the stages of a tile
        public double Count;
        public double Stages;       // of all tiles
        public double Flops;
        public double Bytes;

        /// <summary>Elements of both operands that a thread brings in a stage.</summary>
        public readonly double LoadsOfAThread => 2.0 * Block * GpuGemm.DepthStep / GpuGemm.Threads;

        public readonly double Blocks(double size) => Math.Ceiling(size / Block);

        public void Add(double rows, double columns, double depth, double batches, bool isSymmetric = false)
        {
            double tiles = batches * (isSymmetric ? Blocks(rows) * (Blocks(rows) + 1.0) / 2.0 : Blocks(rows) * Blocks(columns));
            Count += tiles;
            Stages += tiles * Math.Ceiling(depth / GpuGemm.DepthStep);
            Flops += batches * (isSymmetric ? rows + 1.0 : 2.0 * rows) * columns * depth;
            Bytes += batches * sizeof(float) * ((rows * depth) + (columns * depth) + (rows * columns));
        }
    }
}
