// SPDX-License-Identifier: Apache-2.0
// What a training step costs on a GPU, launch by launch. The launches are the step's own: it runs against a device that only writes them down, with
// the sizes that it hands to its kernels; tiles, stages and groups are the kernels' constants.
// Products   time = the larger of what one group waits for (waves x stages x latency of a stage) and what a multiprocessor can issue, multiply, and
//            fetch from the second-level cache; then memory.
// Limits     caches other than for tiles, clocks that vary and contention are left out.
using System.Reflection;
using HiMo.Kernels;
using ILGPU;

namespace HiMo.Trainer;

/// <summary>One kernel's share.</summary>
/// <param name="Kernel">Its name with the structures it is made of.</param>
/// <param name="Launches">How often it is launched.</param>
/// <param name="Flops">Multiplications and additions, one product counted once in every precision.</param>
/// <param name="Bytes">Read or written at least once.</param>
/// <param name="Exponentials">Exponentials.</param>
/// <param name="Seconds">Predicted, with the gaps between launches.</param>
/// <param name="Limit">What the time follows from.</param>
internal sealed record KernelCost(string Kernel, int Launches, double Flops, double Bytes, double Exponentials, double Seconds, string Limit);

/// <summary>The model.</summary>
/// <param name="device">What is assumed.</param>
/// <param name="kept">m, which the device finds out.</param>
/// <param name="groups">Independent batches in one call.</param>
internal sealed class GpuCostModel(GpuModel device, int kept, int groups)
{
    private const int GroupsPerMultiprocessor = 3;      // of 128 threads with up to 170 registers (KernelBudget.txt)
    private const double StageWork = 0.15e-6;           // barriers, fragments and products of a stage that nothing overlaps
    private const double LineStep = 12;                 // instructions of one logit of a line

    private const int SoftmaxPair = 2;                  // exponentials of an element of D, one a direction

    private static readonly Type[] s_softmaxLoads = [typeof(CombineLeft)];
    private static readonly Type[] s_softmaxStores = [typeof(CombineResult), typeof(GradientStrip)];

    /// <summary>Costs by kernel, in the order of their first launch.</summary>
    public List<KernelCost> Predict(MatrixShape shape, MoLoOptions options, GpuPrecision precision) =>
    [
        .. Launches(shape, options, precision, groups).Select(launch => Cost(launch, shape)).GroupBy(cost => cost.Kernel).Select(same => new KernelCost(
            same.Key, same.Count(), same.Sum(each => each.Flops), same.Sum(each => each.Bytes), same.Sum(each => each.Exponentials),
            same.Sum(each => each.Seconds), same.First().Limit)),
    ];

    /// <summary>The step's launches, in order.</summary>
    internal static List<LaunchEntry> Launches(MatrixShape shape, MoLoOptions options, GpuPrecision precision, int groups = 1)
    {
        using Gpu gpu = Gpu.OpenEmulated(warps: 1, onlyRecords: true, GpuModel.Multiprocessors);
        using TrainingStepGpu step = new(gpu, shape, options, new GpuStepSettings { Precision = precision, Groups = groups });
        ArrayView<float> features = gpu.PretendMemory(groups * shape.Length * sizeof(float)).Cast<float>();
        ArrayView<float> numbers = gpu.PretendMemory(groups * StepSummary.Length * sizeof(float)).Cast<float>();
        step.Run(gpu.Accelerator.DefaultStream, new StepBuffers<float>
        {
            Images = features, Texts = features, LogitScale = numbers, GradImages = features, GradTexts = features, Summary = numbers,
        });
        return [.. gpu.Log.Launches];
    }

    private KernelCost Cost(LaunchEntry launch, MatrixShape shape)
    {
        Type kernel = launch.Kernel.DeclaringType!;
        return kernel == typeof(GpuGemm) ? Product(launch)
            : launch.Arguments is LogitPass pass && launch.Kernel.IsGenericMethod ? LogitTiles(launch, pass)
            : launch.Arguments is EigenArguments eigen ? Eigensystem(launch, eigen.Size)
            : launch.Arguments is LargeEigenArguments large ? LargeEigensystem(launch, large)
            : Streaming(launch, kernel == typeof(ContrastiveLossGpu) ? 4.0 * launch.Groups.Z * shape.Rows * shape.Rows : 0.0);
    }

    private KernelCost Product(LaunchEntry launch)
    {
        Type[] types = launch.Kernel.GetGenericArguments();
        int rows = Field<int>(launch, "Rows"), columns = Field<int>(launch, "Columns"), depth = Field<int>(launch, "Depth");
        DeviceLimit columnLimit = Field<DeviceLimit>(launch, "ColumnLimit"), depthLimit = Field<DeviceLimit>(launch, "DepthLimit");
        Tiles tiles = new() { Block = types[3] == typeof(SmallTile) ? 2 * SmallTile.Rows : GpuGemm.Block };
        double exponentials = 0.0;
        int batches = launch.Groups.Z;
        for (int group = 0; group < launch.Groups.X / (int)tiles.Blocks(columns); group++)
        {
            double across = Limit(columnLimit, group, columns), along = Limit(depthLimit, group, depth);
            tiles.Add(rows, across, along, batches);
            double loads = s_softmaxLoads.Contains(types[0]) ? rows * along * tiles.Blocks(across) : 0.0;
            exponentials += batches * SoftmaxPair * (loads + (s_softmaxStores.Contains(types[2]) ? rows * across : 0.0));
        }

        // Sums that one thread makes before or beside the product.
        double serial = types[2] == typeof(FeatureGradient) ? 1.5 * depth * GpuModel.LoadLatency / GpuModel.LoadsInFlight : 0.0;
        return Finish(launch, tiles, types[4], exponentials, serial, tilesOfAGroup: 1.0);
    }

    private KernelCost LogitTiles(LaunchEntry launch, LogitPass pass)
    {
        int rows = pass.Branches.Rows, columns = pass.Branches.Columns;
        Tiles tiles = new() { Block = LogitPassGpu.Tile };
        for (int branch = 0; branch < launch.Groups.Z; branch++)
        {
            tiles.Add(rows, columns, Limit(pass.Depths, branch, int.MaxValue), 1.0);
        }

        tiles.Bytes -= 4.0 * launch.Groups.Z * rows * columns;     // no logit leaves its tile
        double tilesOfAGroup = tiles.Blocks(pass.RegionRows) * tiles.Blocks(pass.RegionColumns);
        double lines = tiles.Count * 2.0 * LogitPassGpu.Tile * LineStep / (GpuModel.Multiprocessors * GpuModel.Clock);
        return Finish(launch, tiles, launch.Kernel.GetGenericArguments()[0], 2.0 * launch.Groups.Z * rows * columns, lines, tilesOfAGroup);
    }

    private KernelCost Finish(LaunchEntry launch, Tiles tiles, Type precision, double exponentials, double serial, double tilesOfAGroup)
    {
        bool isStrict = precision == typeof(StrictPrecision), isBf16 = precision == typeof(Bf16Precision);
        double loadsOfAThread = 2.0 * tiles.Block * GpuGemm.DepthStep / GpuGemm.Threads;
        double instructionTiles = tiles.Block * tiles.Block / 512.0;                         // of a warp, four of which make a block in tiles of 16 x 8
        double productInstructions = instructionTiles * (isStrict ? 2 * 27 : isBf16 ? 7 : 2 * 7);         // rounding, splitting, products
        double issue = ((loadsOfAThread * GpuModel.InstructionsPerLoad) + 48.0 + productInstructions) / GpuModel.Clock;
        double multiply = GpuModel.Multiprocessors * 2.0 * tiles.Block * tiles.Block * GpuGemm.DepthStep * (isStrict ? 3.0 : 1.0)
            / (device.Bf16 * (isBf16 ? 1.0 : 0.5) * GpuModel.MmaShare);
        double fetch = GpuModel.Multiprocessors * 2.0 * sizeof(float) * tiles.Block * GpuGemm.DepthStep / GpuModel.CacheBandwidth;
        double stage = (loadsOfAThread / GpuModel.LoadsInFlight * GpuModel.LoadLatency) + StageWork;
        double groupCount = Math.Max(1.0, tiles.Count / tilesOfAGroup);
        double waves = Math.Ceiling(groupCount / (GpuModel.Multiprocessors * GroupsPerMultiprocessor));
        (double Seconds, string Limit)[] limits =
        [
            (waves * tilesOfAGroup * tiles.Stages / tiles.Count * stage, "latency of loads"),
            (tiles.Stages * issue / GpuModel.Multiprocessors, "instructions"),
            (tiles.Stages * multiply / GpuModel.Multiprocessors, "tensor units"),
            (tiles.Stages * fetch / GpuModel.Multiprocessors, "cache"),
            (tiles.Bytes / device.Bandwidth, "memory"),
            (exponentials / GpuModel.Exponentials, "exponentials"),
        ];
        (double seconds, string limit) = limits.MaxBy(each => each.Seconds);
        return new(launch.Name, 1, tiles.Flops, tiles.Bytes, exponentials, seconds + serial + GpuModel.LaunchGap, limit);
    }

    // One thread group a problem: tridiagonalisation, eigenvalues, vectors and their way back, each a chain of dependent steps.
    private KernelCost Eigensystem(LaunchEntry launch, int n)
    {
        double problems = launch.Groups.X;
        double alone = (n * GpuModel.ReductionStep) + Chain(2 * n) + (n / 128.0 * 50e-6);
        double waves = Math.Ceiling(problems / GpuModel.Multiprocessors);
        return new(launch.Name, 1, problems * 9.0 * n * n * n, problems * 8.0 * n * n, 0.0, (waves * alone) + GpuModel.LaunchGap, "chain of dependent steps");
    }

    // The chip for one problem. Of the columns' kernel, traffic is the records, which every group reads; its rows stay in shared memory.
    private KernelCost LargeEigensystem(LaunchEntry launch, LargeEigenArguments large)
    {
        int n = large.Problem.Size;
        double problems = launch.Groups.Y;
        double rows = n * (double)n * n / (3.0 * launch.Groups.X * GpuModel.SharedElements * GpuModel.Clock);
        (double flops, double bytes, double chain) = launch.Kernel.Name switch
        {
            "ColumnsKernel" => (4.0 / 3.0 * n * n * n, 4.0 * n * n * launch.Groups.X, (n * GpuModel.ExchangeStep) + rows),
            "ValuesKernel" => (0.0, 8.0 * n, 12.0 * n * GpuModel.MinorStep),            // rounds of 33-fold section to float64's end
            "VectorsKernel" => (0.0, 10.0 * n * n, 2.0 * n * GpuModel.MinorStep),
            "BackKernel" => (2.0 * n * n * n, 8.0 * n * n, Chain(n)),
            _ => (0.0, 8.0 * n * n, Chain(n / 32.0)),
        };
        double traffic = problems * bytes / GpuModel.CacheBandwidth;
        return new(
            launch.Name, 1, problems * flops, problems * bytes, 0.0, Math.Max(traffic, chain) + GpuModel.LaunchGap,
            traffic > chain ? "cache" : "chain of dependent steps");
    }

    private static double Chain(double loads) => loads * GpuModel.LoadLatency;

    private KernelCost Streaming(LaunchEntry launch, double exponentials)
    {
        const double Loop = 3e-6;       // a warp's or thread's way along one line
        double bytes = BytesOf(launch.Arguments, launch.Groups.Z);
        return new(
            launch.Name, 1, 0.0, bytes, exponentials, Math.Max(bytes / device.Bandwidth, Loop) + GpuModel.LaunchGap,
            bytes / device.Bandwidth > Loop ? "memory" : "latency of loads");
    }

    // Every array that a kernel was given, once for each batch.
    private static double BytesOf(object arguments, int batches) => arguments.GetType().GetFields(BindingFlags.Public | BindingFlags.Instance).Sum(field =>
        field.GetValue(arguments) switch
        {
            IArrayView view => view.LengthInBytes,
            BatchView<float> { Stride: > 0 } view => sizeof(float) * Math.Min(view.Data.Length, batches * view.Stride),
            { } value when field.FieldType is { IsValueType: true, IsPrimitive: false } => BytesOf(value, batches),
            _ => 0.0,
        });

    private double Limit(DeviceLimit limit, int group, int size) =>
        Math.Min(size, group < limit.FirstGroup ? limit.Before : !limit.Kept.IsEmpty ? kept + limit.Extra : size);

    private static T Field<T>(LaunchEntry launch, string name) => (T)launch.Arguments.GetType().GetField(name)!.GetValue(launch.Arguments)!;

    private struct Tiles
    {
        public double Block;        // rows and columns of a tile
        public double Count;
        public double Stages;
        public double Flops;
        public double Bytes;

        public readonly double Blocks(double size) => Math.Ceiling(size / Block);

        public void Add(double rows, double columns, double depth, double batches)
        {
            double tiles = batches * Blocks(rows) * Blocks(columns);
            Count += tiles;
            Stages += tiles * Math.Ceiling(depth / GpuGemm.DepthStep);
            Flops += batches * 2.0 * rows * columns * depth;
            Bytes += batches * sizeof(float) * ((rows * depth) + (columns * depth) + (rows * columns));
        }
    }
}
