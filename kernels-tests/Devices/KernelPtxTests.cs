// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.RegularExpressions;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// Every kernel of a step and of HiDe as PTX: what it must hold and must not (the order of its barriers: <see cref="KernelOrderTests"/>), and, where NVIDIA's assembler is at hand, its registers against
/// the committed budget <c>KernelBudget.txt</c>. The list of kernels is what they really launch.
/// </summary>
[TestFixture]
internal sealed partial class KernelPtxTests
{
    private static readonly string s_budget = Path.Combine(TestData.RepositoryRoot, "kernels-tests", "Devices", "KernelBudget.txt");

    // What begins at whole vectors: memory of the library's own. The caller's may begin at any element.
    private static readonly Dictionary<string, string> s_vectors = new()
    {
        ["EigenSymmetricGpu.BackKernel"] = "loads reflectors",
        ["EigenSymmetricGpu.PerturbKernel"] = "stores rows of T",
        ["EigenSymmetricGpu.ValuesKernel"] = "loads rows of T",
        ["LogitPassGpu.FinishKernel"] = "loads the tiles' statistics",
        ["LogitPassGpu.Kernel<Bf16Precision>"] = "replaces the tile's statistics",
        ["LogitPassGpu.Kernel<StrictPrecision>"] = "replaces the tile's statistics",
        ["LogitPassGpu.Kernel<Tf32Precision>"] = "replaces the tile's statistics",
        ["PackGpu.Kernel<TransposedFactorOperand>"] = "stores packed tiles",
        ["WarpgroupPassGpu.StatisticsKernel"] = "replaces the tile's statistics",
    };

    /// <summary>Kernels of the committed budget, once for each target, and their static shared memory.</summary>
    internal static IEnumerable<(string Kernel, int SharedBytes)> Budget() =>
        from line in File.ReadLines(s_budget)
        let words = line.Split(' ')
        select (words[0], int.Parse(words[Array.IndexOf(words, "shared") + 1], CultureInfo.InvariantCulture));

    [Test]
    public void Whatever_is_launched_is_in_the_budget()
    {
        using KernelInventory inventory = KernelInventory.Of(KernelInventory.Many());
        string[] budgeted = [.. Budget().Select(line => line.Kernel).Distinct()];
        Assert.That(inventory.Kernels.Keys, Is.SubsetOf(budgeted));
        Assert.That(CompiledKernels.Launches.Keys, Is.EqualTo(budgeted), "a kernel of the budget is not launched any more, or one is not in it");
    }

    [TestCase("sm_80")]
    [TestCase("sm_90")]
    [TestCase("sm_90a")]
    public void Compiles_without_local_memory_or_calls(string target)
    {
        foreach ((string name, LaunchEntry launch) in CompiledKernels.Launches.Where(pair => CompiledKernels.Targets(pair.Value).Contains(target)))
        {
            string ptx = CompiledKernels.Ptx(name, target);
            Assert.That(ptx, Does.Contain($".target {target}"), name);
            Assert.That(ptx, Does.Contain($".maxntid {launch.Threads}"), name);
            Assert.That(ptx, Does.Not.Contain("call ").And.Not.Contain(".local").And.Not.Contain("cvta.shared").And.Not.Match(@"(?<!\bbar\.)\b(atom|red)\."), name);
            if (launch.Kernel.GetGenericArguments().Any(type => typeof(IProductPrecision).IsAssignableFrom(type)))
            {
                bool isBf16 = launch.Kernel.GetGenericArguments().Contains(typeof(Bf16Precision));
                bool isTf32 = launch.Kernel.GetGenericArguments().Contains(typeof(Tf32Precision));
                Assert.That(ptx, isBf16 ? Does.Contain("mma.sync.aligned.m16n8k16").And.Contain("cvt.rn.bf16x2") : Does.Contain("mma.sync.aligned.m16n8k8"), name);
                Assert.That(ptx.Contains("cvt.rna.tf32", StringComparison.Ordinal), Is.EqualTo(isTf32), $"{name}: strict products split their operands themselves");
            }
        }

        Assert.That(CompiledKernels.Launches, Has.Count.GreaterThanOrEqualTo(12));
    }

    // The least and largest of a GPU leave NaN out.
    [TestCase("L2NormalizeGpu.BackwardKernel")]
    [TestCase("GpuGemm.Kernel<FeatureLeft,FeatureRight,FeatureGradient,SmallTile,StrictPrecision>")]
    public void A_gradient_that_is_no_number_stays_none(string name) => Assert.That(CompiledKernels.Ptx(name), Does.Not.Match(@"\b(min|max)\.(ftz\.)?f"));

    [Test]
    public void Vectors_are_read_and_written_only_in_memory_of_the_library()
    {
        IEnumerable<string> withVectors = CompiledKernels.Launches.Keys.Where(name => VectorOfMemory().IsMatch(CompiledKernels.Ptx(name)));
        Assert.That(withVectors, Is.EquivalentTo(s_vectors.Keys), "of global memory, which no pointer of a caller's need be aligned for");
    }

    // ILGPU's loads and stores of global memory name no address space.
    [GeneratedRegex(@"\b(ld|st)(\.global|\.relaxed\.gpu)?\.v[24]\.")]
    private static partial Regex VectorOfMemory();

    [TestCase("ColumnsKernel<SharedRows>", 8, 1, @"\bld\.relaxed\.gpu\.b64\b", @"\bst\.relaxed\.gpu\.b64\b", 0)]
    [TestCase("ClusterColumnsKernel", 6 * 10, 6 * 3, @"\bld\.relaxed\.cluster\.shared::cta\.b64\b", @"\bst\.relaxed\.cluster\.shared::cluster\.b64\b", 2)]
    public void A_column_of_the_tridiagonalisation_exchanges_whole_words(string kernel, int loads, int stores, string load, string store, int barriers)
    {
        string ptx = CompiledKernels.Ptx($"EigenSymmetricGpu.{kernel}", "sm_90");
        Assert.That(Regex.Count(ptx, load), Is.EqualTo(loads), "every record is read once, and again while one is missing");
        Assert.That(Regex.Count(ptx, store), Is.EqualTo(stores));
        Assert.That(Regex.Count(ptx, @"\b(ld|st)\.relaxed\b"), Is.EqualTo(loads + stores));
        Assert.That(Regex.Count(ptx, @"\bbarrier\.cluster\.arrive\.release; barrier\.cluster\.wait\.acquire;"), Is.EqualTo(barriers), "before the first record and behind the last");
    }

    [Test]
    public void Registers_stay_within_the_budget_without_stack_or_spills()
    {
        string assembler = Ptxas.FindOrSkip();
        bool isWritten = Environment.GetEnvironmentVariable("HIMO_WRITE_BUDGET") == "1";
        string[] targets = TestLength.IsLong || isWritten ? ["sm_80", "sm_90", "sm_90a"] : ["sm_90", "sm_90a"];
        string seen = string.Concat(CompiledKernels.Launches
            .SelectMany(pair => CompiledKernels.Targets(pair.Value).Intersect(targets).Select(target => (Name: pair.Key, Launch: pair.Value, Target: target)))
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
        PtxasReport report = Ptxas.Assemble(assembler, CompiledKernels.Ptx(name, target), target);
        Assert.That(report.StackBytes + report.SpillBytes, Is.Zero, $"stack and spills of {name} for {target}");
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
