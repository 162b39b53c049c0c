// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.RegularExpressions;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// Every kernel of a step and of HiDe as PTX: what it must hold and must not, and, where NVIDIA's assembler is at hand, its registers against
/// the committed budget <c>KernelBudget.txt</c>. The list of kernels is what they really launch.
/// </summary>
[TestFixture]
internal sealed class KernelPtxTests
{
    private static readonly string s_budget = Path.Combine(TestData.RepositoryRoot, "kernels-tests", "Devices", "KernelBudget.txt");

    private static readonly string[] s_targets = ["sm_80", "sm_90"];

    // Hopper's warpgroup instructions have a target of their own.
    private static readonly string[] s_warpgroupTargets = ["sm_90a"];

    private static readonly string[] s_clusterTargets = ["sm_90"];

    // Numbers that the forward pass keeps from tile to tile beside the 64 of a tile in 128 registers. Without them two groups do not fit a multiprocessor,
    // which costs a quarter of its time (34.5 against 26.2 ms at N = 65,536 on an H200, docs/performance.md).
    // A column of the first sixth in a cluster puts a few numbers there, the later ones nothing; an eigensystem in registers its trace and an address, once, and two offsets.
    private static readonly Dictionary<string, int> s_spills = new() { ["WarpgroupPassGpu.StatisticsKernel"] = 480, ["EigenSymmetricGpu.ClusterColumnsKernel"] = 256, ["EigenSymmetricGpu.Kernel<InRegisters>"] = 104 };

    private readonly Dictionary<(string Name, string Target), string> _ptx = [];
    private SortedDictionary<string, LaunchEntry> _kernels = null!;

    [OneTimeSetUp]
    public void FindKernels()
    {
        using KernelInventory inventory = KernelInventory.Of(KernelInventory.All());
        _kernels = inventory.Kernels;
        foreach (((string Name, string Target) key, string ptx) in _kernels
            .SelectMany(pair => Targets(pair.Value).Select(target => (Key: (pair.Key, target), pair.Value)))
            .AsParallel()
            .Select(each => (each.Key, OfflinePtx.Compile(each.Value.Kernel, each.Value.Threads, each.Key.target))))
        {
            _ptx.Add(key, ptx);
        }
    }

    /// <summary>Kernels of the committed budget, once for each target, and their static shared memory.</summary>
    internal static IEnumerable<(string Kernel, int SharedBytes)> Budget() =>
        from line in File.ReadLines(s_budget)
        let words = line.Split(' ')
        select (words[0], int.Parse(words[Array.IndexOf(words, "shared") + 1], CultureInfo.InvariantCulture));

    private static string[] Targets(LaunchEntry launch) =>
        launch.Kernel.DeclaringType!.Name.StartsWith("Warpgroup", StringComparison.Ordinal) ? s_warpgroupTargets
        : launch.Kernel.Name == nameof(EigenSymmetricGpu.ClusterColumnsKernel) ? s_clusterTargets
        : s_targets;

    [Test]
    public void Whatever_is_launched_is_in_the_budget()
    {
        using KernelInventory inventory = KernelInventory.Of(KernelInventory.Many());
        string[] budgeted = [.. Budget().Select(line => line.Kernel).Distinct()];
        Assert.That(inventory.Kernels.Keys, Is.SubsetOf(budgeted));
        Assert.That(_kernels.Keys, Is.EqualTo(budgeted), "a kernel of the budget is not launched any more, or one is not in it");
    }

    [TestCase("sm_80")]
    [TestCase("sm_90")]
    [TestCase("sm_90a")]
    public void Compiles_without_local_memory_or_calls(string target)
    {
        foreach ((string name, LaunchEntry launch) in _kernels.Where(pair => Targets(pair.Value).Contains(target)))
        {
            string ptx = _ptx[(name, target)];
            Assert.That(ptx, Does.Contain($".target {target}"), name);
            Assert.That(ptx, Does.Contain($".maxntid {launch.Threads}"), name);
            Assert.That(ptx, Does.Not.Contain("call ").And.Not.Contain(".local").And.Not.Contain("cvta.shared"), name);
            if (launch.Kernel.GetGenericArguments().Any(type => typeof(IProductPrecision).IsAssignableFrom(type)))
            {
                bool isBf16 = launch.Kernel.GetGenericArguments().Contains(typeof(Bf16Precision));
                bool isTf32 = launch.Kernel.GetGenericArguments().Contains(typeof(Tf32Precision));
                Assert.That(ptx, isBf16 ? Does.Contain("mma.sync.aligned.m16n8k16").And.Contain("cvt.rn.bf16x2") : Does.Contain("mma.sync.aligned.m16n8k8"), name);
                Assert.That(ptx.Contains("cvt.rna.tf32", StringComparison.Ordinal), Is.EqualTo(isTf32), $"{name}: strict products split their operands themselves");
            }
        }

        Assert.That(_kernels, Has.Count.GreaterThanOrEqualTo(12));
    }

    [Test]
    public void Barriers_keep_their_order_with_shared_memory_in_every_product()
    {
        string[] products = [.. _kernels.Where(pair => pair.Value.Kernel.DeclaringType == typeof(GpuGemm) || pair.Key.StartsWith("LogitPassGpu.Kernel", StringComparison.Ordinal)).Select(pair => pair.Key)];
        foreach (string name in products)
        {
            // A stage is stored before the loop. In it one is read, the next one stored; behind it the last one is read, and the memory free.
            int reads = _kernels[name].Kernel.GetGenericArguments().Contains(typeof(LargeTile)) || _kernels[name].Kernel.DeclaringType == typeof(LogitPassGpu) ? 8 : 4;
            string accesses = string.Concat(Blocks(name).SelectMany(block => block).Select(kind => kind[0]));
            Assert.That(accesses, Does.Match("^s+b"), $"{name}: the first stage");
            Assert.That(Regex.Count(accesses, "m+"), Is.EqualTo(2), $"{name}: products of the loop and behind it");
            Assert.That(Regex.Count(accesses, $"l{{{reads}}}m+s+b"), Is.EqualTo(1), $"{name}: the loop");
            Assert.That(Regex.Count(accesses, $"l{{{reads}}}m+b"), Is.EqualTo(1), $"{name}: the last stage");
        }

        Assert.That(products.Count(name => name.Contains("SmallTile", StringComparison.Ordinal)), Is.GreaterThanOrEqualTo(20));
        Assert.That(products.Count(name => name.Contains("LargeTile", StringComparison.Ordinal)), Is.GreaterThanOrEqualTo(20));
        Assert.That(products.Count(name => name.Contains("DeepTile", StringComparison.Ordinal)), Is.GreaterThanOrEqualTo(20));
    }

    [Test]
    public void Logits_are_read_behind_the_barrier_that_follows_their_stores()
    {
        foreach (string name in _kernels.Keys.Where(name => name.StartsWith("LogitPassGpu.Kernel", StringComparison.Ordinal)))
        {
            string[] stores = Blocks(name).Single(block => block.Count(kind => kind == "store") == 32);
            Assert.That(stores[..^1], Has.All.EqualTo("store"), name);
            Assert.That(stores[^1], Is.EqualTo("barrier"), name);
        }
    }

    [TestCase("SharedRows")]
    [TestCase("GlobalRows")]
    public void A_column_of_the_tridiagonalisation_changes_its_reflector_behind_its_third_barrier(string memory)
    {
        string name = $"EigenSymmetricGpu.ColumnsKernel<{memory}>";
        string[] kinds = [.. Blocks(name).SelectMany(block => block)];
        int[] barriers = [.. Enumerable.Range(0, kinds.Length).Where(i => kinds[i] == "barrier")];

        // One for each of two sums, then the corner and the first element are read; behind the one of the rows the first element is changed.
        Assert.That(barriers, Has.Length.EqualTo(3));
        Assert.That(kinds[barriers[1]..(barriers[2] + 2)], Is.EqualTo(new[] { "barrier", "load", "load", "barrier", "store" }));
    }

    [TestCase("ColumnsKernel<SharedRows>", 8, 1, @"\bld\.relaxed\.gpu\.b64\b", @"\bst\.relaxed\.gpu\.b64\b", 0)]
    [TestCase("ClusterColumnsKernel", 6 * 10, 6 * 3, @"\bld\.relaxed\.cluster\.shared::cta\.b64\b", @"\bst\.relaxed\.cluster\.shared::cluster\.b64\b", 2)]
    public void A_column_of_the_tridiagonalisation_exchanges_whole_words(string kernel, int loads, int stores, string load, string store, int barriers)
    {
        string ptx = _ptx[($"EigenSymmetricGpu.{kernel}", "sm_90")];
        Assert.That(Regex.Count(ptx, load), Is.EqualTo(loads), "every record is read once, and again while one is missing");
        Assert.That(Regex.Count(ptx, store), Is.EqualTo(stores));
        Assert.That(Regex.Count(ptx, @"\b(ld|st)\.relaxed\b"), Is.EqualTo(loads + stores));
        Assert.That(Regex.Count(ptx, @"\bbarrier\.cluster\.arrive\.release; barrier\.cluster\.wait\.acquire;"), Is.EqualTo(barriers), "before the first record and behind the last");
    }

    // What a kernel does with shared memory, block by block.
    private string[][] Blocks(string name)
    {
        return [.. Regex.Split(_ptx[(name, "sm_90")], @"^\s*L_\w+:", RegexOptions.Multiline)
            .Select(block => block.Split('\n').Select(line => Kind(line.Trim())).Where(kind => kind.Length > 0).ToArray())];

        static string Kind(string line) =>
            line.StartsWith("bar.sync", StringComparison.Ordinal) ? "barrier"
            : line.StartsWith("ld.shared", StringComparison.Ordinal) ? "load"
            : line.StartsWith("st.shared", StringComparison.Ordinal) ? "store"
            : line.StartsWith("mma.sync", StringComparison.Ordinal) ? "mma" : "";
    }

    [Test]
    public void Registers_stay_within_the_budget_without_stack_or_spills()
    {
        string assembler = Ptxas.FindOrSkip();
        bool isWritten = Environment.GetEnvironmentVariable("HIMO_WRITE_BUDGET") == "1";
        string[] targets = TestLength.IsLong || isWritten ? [.. s_targets, .. s_warpgroupTargets] : ["sm_90", "sm_90a"];
        string seen = string.Concat(_kernels
            .SelectMany(pair => Targets(pair.Value).Intersect(targets).Select(target => (Name: pair.Key, Launch: pair.Value, Target: target)))
            .AsParallel().AsOrdered()
            .Select(each => Line(assembler, each.Name, each.Launch, each.Target)));
        if (isWritten)
        {
            File.WriteAllText(s_budget, seen);
        }

        string budget = string.Concat(File.ReadLines(s_budget).Where(line => targets.Any(target => line.Contains($" {target} ", StringComparison.Ordinal))).Select(line => line + "\n"));
        Assert.That(seen, Is.EqualTo(budget), "differs from KernelBudget.txt; HIMO_WRITE_BUDGET=1 writes it anew, for review");
    }

    private string Line(string assembler, string name, LaunchEntry launch, string target)
    {
        PtxasReport report = Ptxas.Assemble(assembler, _ptx[(name, target)], target);
        Assert.That(report.StackBytes + report.SpillBytes, Is.AtMost(s_spills.GetValueOrDefault(name)), $"stack and spills of {name} for {target}");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{name} {target} threads {launch.Threads} registers {report.Registers} stack {report.StackBytes} spills {report.SpillBytes} shared {report.SharedBytes} dynamic {sizeof(float) * launch.SharedLength} warps {Warps(report, launch, target)}\n");
    }

    // Warps that a multiprocessor holds of a launch: as many groups as its registers, its shared memory (a KiB of it a group's own), its 64 warps and its 32 groups allow.
    private static int Warps(PtxasReport report, LaunchEntry launch, string target)
    {
        int warps = launch.Threads / Gpu.WarpSize;
        int byRegisters = 65536 / ((report.Registers + 7) / 8 * 8 * launch.Threads);
        int byShared = ((target == "sm_80" ? 164 : 228) << 10) / (1024 + report.SharedBytes + (sizeof(float) * launch.SharedLength));
        return warps * Math.Min(Math.Min(byRegisters, byShared), Math.Min(64 / warps, 32));
    }
}
