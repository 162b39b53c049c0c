// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// Kernels with shared memory in many orders of their lanes, which are threads of the operating system in emulation. Steps that launch every such kernel
/// must give the same bits, whichever warp is a slow one.
/// <para>ILGPU's sequential mode has one order, lane by lane, but wakes every lane at every step of one, and a kernel whose groups wait for each other never ends in it.</para>
/// </summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class LaneOrderTests
{
    private const double Last = 0.999;
    private const double Middle = 0.5; // the first one reduces no rows

    /// <summary>A step, the device that runs it, and which warp of each group is slow, as a part of their number; in the long form others are too.</summary>
    private sealed record Scenario(int Rows, int Columns, GpuPrecision Precision = GpuPrecision.Strict, bool Warpgroups = false, int Largest = EigenSymmetricGpu.MaxSize, bool IsShared = true, bool IsCluster = false, bool IsDeep = false, int EigenThreads = 64, double Slow = 0.0)
    {
        public MoLoOptions Options { get; } = new() { Tau = 0.8, Components = ComponentSource.TextAndImage, ComponentNormalization = ComponentNormalization.Cosine };

        public GpuStepSettings Settings => TestGpu.Settings with { Precision = Precision, Warpgroups = Warpgroups, LargestGroupProblem = Largest, EigenThreads = EigenThreads };

        /// <summary>With several multiprocessors products take small tiles, by four teams where groups may be so large, and a cluster has as many groups.</summary>
        public Gpu Open(int multiprocessors, bool onlyRecords = false) =>
            Gpu.OpenEmulated(warps: IsDeep ? 16 : Warpgroups ? 8 : 4, onlyRecords, multiprocessors, sharedBytes: IsShared ? 227 << 10 : 0, mostOfCluster: IsCluster ? multiprocessors : 1);
    }

    private static readonly int[] s_multiprocessors = [1, 2, 4];

    private static readonly Type[] s_ofGlobalMemory = [typeof(IGemmOperand), typeof(IGemmResult), typeof(IGemmLines)];

    private static readonly Scenario[] s_scenarios =
    [
        new(5, 7, Slow: Last), new(5, 7, GpuPrecision.Tf32), new(5, 7, GpuPrecision.Bf16), new(20, 4), new(9, 4, GpuPrecision.Tf32), new(9, 4, GpuPrecision.Bf16),
        new(9, 4, GpuPrecision.Bf16, Warpgroups: true, Slow: Last), new(9, 5, Largest: 2), new(9, 5, Largest: 2, IsShared: false, Slow: Last), new(9, 5, Largest: 2, IsCluster: true),
        new(7, 9, IsDeep: true, EigenThreads: 320, Slow: Middle), new(2, 3, GpuPrecision.Tf32, IsDeep: true), new(2, 3, GpuPrecision.Bf16, IsDeep: true),
    ];

    [OneTimeSetUp]
    public void NeedEmulation() => TestGpu.NeedsEmulation();

    [Test]
    public void Steps_launch_every_kernel_with_shared_memory()
    {
        using KernelInventory inventory = new();
        foreach ((MatrixShape shape, MoLoOptions options, GpuStepSettings settings) in KernelInventory.Few())
        {
            inventory.Add(shape, options, settings);
        }

        HashSet<string> launched = [];
        foreach ((Scenario scenario, int multiprocessors) in from scenario in s_scenarios from count in s_multiprocessors select (scenario, count))
        {
            using Gpu gpu = scenario.Open(multiprocessors, onlyRecords: true);
            using TrainingStepGpu step = new(gpu, new MatrixShape(scenario.Rows, scenario.Columns), scenario.Options, scenario.Settings);
            ArrayView<float> view = gpu.PretendMemory((long)scenario.Rows * scenario.Columns * sizeof(float)).Cast<float>();
            step.Run(gpu.Accelerator.DefaultStream, new StepBuffers<float> { Images = view, Texts = view, LogitScale = view, GradImages = view, GradTexts = view, Summary = view });
            launched.UnionWith(gpu.Log.Launches.Select(Body));
        }

        HashSet<string> budgeted = [.. KernelPtxTests.Budget().Where(line => line.SharedBytes > 0).Select(line => line.Kernel)];
        string[] wanted = [.. inventory.Kernels.Values.Where(launch => launch.SharedLength > 0 || budgeted.Contains(launch.Name)).Select(Body).Distinct()];
        Assert.That(wanted, Has.Length.GreaterThanOrEqualTo(15));
        Assert.That(launched, Is.SupersetOf(wanted));
    }

    private static IEnumerable<TestCaseData> Runs() =>
        from scenario in TestLength.IsLong ? s_scenarios : s_scenarios.Where(scenario => scenario.Precision == GpuPrecision.Strict || scenario.Warpgroups) // ten seconds each
        from multiprocessors in TestLength.IsLong ? s_multiprocessors : scenario.IsCluster || scenario.IsDeep ? [2] : [1]
        select new TestCaseData(scenario, multiprocessors).SetArgDisplayNames(
            $"{scenario.Rows}x{scenario.Columns}", $"{scenario.Precision}", $"warpgroups={scenario.Warpgroups}", $"largest={scenario.Largest}", $"shared={scenario.IsShared}", $"cluster={scenario.IsCluster}", $"deep={scenario.IsDeep}", $"multiprocessors={multiprocessors}");

    [TestCaseSource(nameof(Runs))]
    public void Any_order_gives_the_same_bits(object given, int multiprocessors)
    {
        Scenario scenario = (Scenario)given;
        using Gpu gpu = scenario.Open(multiprocessors);
        using TrainingStepGpu step = new(gpu, new MatrixShape(scenario.Rows, scenario.Columns), scenario.Options, scenario.Settings);

        // In turn, because what is read too early is what the run before has left in the same place.
        Batch[] batches = [.. new[] { 1, 2 }.Select(seed => Batch.Create(scenario.Rows, scenario.Columns, seed, scenario.Options.Tau))];
        GpuStepRun[] first = [.. batches.Select(Run)];
        Assert.That(first.SelectMany(run => run.Summary.Concat(run.GradImages).Concat(run.GradTexts)), Has.None.NaN);
        for (int repeat = 0; repeat < TestLength.Pick(1, 6); repeat++)
        {
            using SlowLanes slow = new(repeat > 0 ? TestContext.CurrentContext.Random.NextDouble() : scenario.Slow);
            GpuStepRun again = Run(batches[repeat % 2]);
            Assert.That(again.Summary, Is.EqualTo(first[repeat % 2].Summary));
            Assert.That(again.GradImages, Is.EqualTo(first[repeat % 2].GradImages));
            Assert.That(again.GradTexts, Is.EqualTo(first[repeat % 2].GradTexts));
            Assert.That(again.Kept, Is.EqualTo(first[repeat % 2].Kept));
        }

        GpuStepRun Run(Batch batch) => GpuStepRun.Of(gpu, step, batch.SingleImages, batch.SingleTexts, 3.0, () => { });
    }

    [Test]
    public void Lanes_pass_barriers_in_different_orders()
    {
        const int Threads = 128, Barriers = 8;
        using Gpu gpu = Gpu.OpenEmulated(warps: 4);
        using MemoryBuffer1D<int, Stride1D.Dense> order = gpu.Allocate<int>(Barriers * Threads);
        using MemoryBuffer1D<int, Stride1D.Dense> counter = gpu.Accelerator.Allocate1D(new int[Barriers]);
        gpu.Launch(
            gpu.Accelerator.DefaultStream, ArriveKernel, new Index3D(1, 1, 1), Threads, new ArriveArguments { Order = order.View.BaseView, Counter = counter.View.BaseView, Barriers = Barriers });
        gpu.Accelerator.Synchronize();
        int[][] orders = [.. order.GetAsArray1D().Chunk(Threads)];
        Assert.That(orders, Has.All.EquivalentTo(Enumerable.Range(0, Threads)));
        Assert.That(orders.Select(each => string.Join(' ', each)).Distinct().Count(), Is.GreaterThanOrEqualTo(Barriers / 2));
    }

    internal struct ArriveArguments
    {
        public ArrayView<int> Order;
        public ArrayView<int> Counter;
        public int Barriers;
    }

    // When each lane comes to each barrier.
    internal static void ArriveKernel(ArriveArguments p)
    {
        for (int barrier = 0; barrier < p.Barriers; barrier++)
        {
            p.Order[(barrier * Group.DimX) + Group.IdxX] = Atomic.Add(ref p.Counter[barrier], 1);
            GroupBarrier.Wait();
        }
    }

    // What of a kernel touches shared memory: operands, results and lines are read and stored from and to global memory alone.
    private static string Body(LaunchEntry launch) =>
        $"{launch.Kernel.DeclaringType!.Name}.{launch.Kernel.Name} {string.Join(' ', launch.Kernel.GetGenericArguments()
            .Where(type => !s_ofGlobalMemory.Any(each => each.IsAssignableFrom(type))).Select(type => type.Name))}";
}
