// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>
/// The passes on warpgroup instructions by themselves. Operands are bf16 numbers already, so that the forward pass has float32's error and the backward
/// one bf16's of D.
/// </summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class ContrastiveLossWarpgroupGpuTests
{
    // The hardware truncates sums of products, the emulation does not; D is rounded to bf16.
    private static readonly double s_lossTolerance = TestGpu.IsReal ? 3e-2 : 5e-6;
    private static readonly double s_gradientTolerance = TestGpu.IsReal ? 1e-1 : 1.0 / 256;

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open()
    {
        _gpu = TestGpu.Open(warps: 8);
        if (!_gpu.HasWarpgroups)
        {
            Assert.Ignore("Needs sm_90 or the emulation.");
        }
    }

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [TestCase(1, 2, 3, 1, 3.0f)]
    [TestCase(3, 130, 66, 127, 3.0f)]
    [TestCase(131, 140, 17, 3, 3.0f)]
    [TestCase(70, 129, 5, 2, 6.0f, Description = "no unit fits all sums of a tile")]
    public void Rows_against_gathered_columns(int rows, int columns, int width, int offset, float logitScale) =>
        Check(Case(rows, columns, width, logitScale) with { TargetOffset = offset });

    // At 6 no unit fits all sums of a tile; nine tiles take eight seconds.
    private static readonly object[][] s_squares =
        [[2, 3, 3.0f], [127, 6, 3.0f], [128, 2, 3.0f], [131, 65, 3.0f], [129, 5, 6.0f], .. TestGpu.IsReal || TestLength.IsLong ? new object[][] { [259, 3, 3.0f] } : []];

    [TestCaseSource(nameof(s_squares))]
    public void Rows_and_columns(int size, int width, float logitScale) => Check(Case(size, size, width, logitScale) with { HasColumns = true });

    [TestCase(1.0, 1.0, Description = "tiles below are like those above")]
    [TestCase(-1.0, 1.0, Description = "columns grow by more than float32 holds from the first tile to the second")]
    [TestCase(1.0, -1.0, Description = "a thread's two rows are further apart than float32 holds")]
    public void Several_tiles_in_a_region_have_the_numbers_of_regions_of_one(double firstSign, double lowerSign)
    {
        const int Size = 130, Width = 5;
        ReferenceMatrix keys = FactorLossCase.Unit(Size, Width, 2, rounded: true);
        ReferenceMatrix queries = new(Size, Width);
        for (int i = 0; i < keys.Elements.Length; i++)
        {
            keys.Elements[i] = Math.Abs(keys.Elements[i]); // between 0 and 90 degrees to each other: a tile's logits have the sign of its queries
            queries.Elements[i] = (i < WarpgroupMma.Tile * Width ? firstSign : 1.0) * (i / Width % 16 < 8 ? 1.0 : lowerSign) * keys.Elements[i];
        }

        FactorLossCase given = new(queries, keys, LogitScale: 6.0f) { HasColumns = true, Precision = GpuPrecision.Bf16 };
        double[][] one = Statistics(given, regionTiles: 1);
        double[][] several = Statistics(given, regionTiles: 2);
        Assert.Multiple(() =>
        {
            for (int array = 0; array < one.Length; array++)
            {
                Expect.Gradient(several[array], one[array], 1e-5, $"array {array}");
            }
        });
    }

    // Two batches in turn, because what is read too early is what the launch before has left in the same place.
    [Test]
    public void Statistics_have_the_same_bits_whichever_warp_is_slow()
    {
        const int Size = WarpgroupMma.Tile, Width = 2; // columns of all lanes
        TestGpu.NeedsEmulation();
        FactorLossCase[] cases = [.. new[] { 1, 3 }.Select(seed => Case(Size, Size, Width, 3.0f) with { Queries = FactorLossCase.Unit(Size, Width, seed, rounded: true), HasColumns = true })];
        double[][][] undisturbed = [.. cases.Select(given => Statistics(given, regionTiles: 1))];
        for (int warp = 0; warp < TestLength.Pick(2, 8); warp++)
        {
            using SlowLanes slow = new(warp / 8.0);
            Assert.That(Statistics(cases[warp % 2], regionTiles: 1), Is.EqualTo(undisturbed[warp % 2]));
        }
    }

    [TestCase(1, 1)]
    [TestCase(3, 8)]
    [TestCase(3, 20)]
    public void The_order_of_tiles_visits_each_once_in_blocks_of_eight_rows(int columns, int rows)
    {
        using MemoryBuffer1D<int, Stride1D.Dense> visits = _gpu.Allocate<int>(columns * rows);
        _gpu.Launch(_gpu.Accelerator.DefaultStream, VisitKernel, new Index3D(columns, rows, 1), Gpu.WarpSize, new VisitArguments { Places = visits.View.BaseView });
        _gpu.Accelerator.Synchronize();
        int[] places = visits.GetAsArray1D();
        Assert.That(places, Is.EquivalentTo(Enumerable.Range(0, columns * rows)));
        Assert.That(places.Select(place => place / columns / 8), Is.Ordered);
    }

    internal struct VisitArguments
    {
        public ArrayView<int> Places;
    }

    internal static void VisitKernel(VisitArguments p)
    {
        if (Group.IdxX == 0)
        {
            p.Places[(Grid.IdxY * Grid.DimX) + Grid.IdxX] = (TileOrder.Row() * Grid.DimX) + TileOrder.Column();
        }
    }

    private static FactorLossCase Case(int rows, int columns, int width, float logitScale) =>
        new(FactorLossCase.Unit(rows, width, 1, rounded: true), FactorLossCase.Unit(columns, width, 2, rounded: true), logitScale)
        {
            Precision = GpuPrecision.Bf16, StripRows = WarpgroupMma.Tile,
        };

    private void Check(FactorLossCase given)
    {
        using FactorLossRun run = new(_gpu, given);
        _gpu.Log.Reset();
        run.IsNear(s_lossTolerance, s_gradientTolerance);
        Assert.That(_gpu.Log.Launches.Select(launch => launch.Name), Has.Some.EqualTo("WarpgroupPassGpu.StatisticsKernel"));
    }

    // What the forward pass leaves, by regions of so many tiles a side: of each line log sum exp, which a shift and a sum make together, and the rest.
    private double[][] Statistics(FactorLossCase given, int regionTiles)
    {
        using FactorLossRun run = new(_gpu, given);
        AcceleratorStream stream = _gpu.Accelerator.DefaultStream;
        FactorLoss loss = run.Factors;
        BranchStatistics branches = loss.Pass.Branches;
        int regions = ((branches.Rows - 1) / (regionTiles * WarpgroupMma.Tile)) + 1;
        LogitPass pass = loss.Pass with
        {
            RegionRows = regionTiles * WarpgroupMma.Tile, RegionColumns = regionTiles * WarpgroupMma.Tile, RowRegions = regions, ColumnRegions = regions,
        };
        foreach ((FactorOperand factors, PackedMatrix target) in new[] { (pass.Queries, loss.Packed.Queries.First), (pass.Keys, loss.Packed.Keys.First) })
        {
            PackGpu.Run(_gpu, stream, new PackArguments<FactorOperand> { Source = factors, Target = target, Rows = branches.Rows, Depth = loss.Width, DepthLimit = pass.Depths });
        }

        _gpu.Launch(
            stream, WarpgroupPassGpu.StatisticsKernel, new Index3D(regions, regions, 1), WarpgroupMma.Threads,
            new WarpgroupPass { Pass = pass, Queries = loss.Packed.Queries, Keys = loss.Packed.Keys }, WarpgroupMma.SharedLength);
        LogitPassGpu.Finish(_gpu, stream, pass, branches: 1);
        _gpu.Accelerator.Synchronize();
        double[][] lines =
        [
            .. new[] { branches.Largest, branches.Inverse, branches.Miss, branches.Loss, branches.GradScale }.Select(view => Batch.Widen(run.Read(view, branches.Lines))),
        ];
        double[] logSums = [.. lines[0].Zip(lines[1], (largest, inverse) => largest - Math.Log(inverse))];
        return [logSums, .. lines[2..], Batch.Widen(run.Read(branches.Target, branches.Rows)), Batch.Widen(run.Read(branches.Total, branches.Rows))];
    }
}
