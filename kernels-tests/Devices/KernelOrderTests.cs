// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// Barriers, accesses to shared memory and matrix instructions of every kernel in the PTX stand as they stand in the source; ILGPU's O2 moves them, and the emulation does not see it.
/// Letters: <see cref="PtxFlow"/>.
/// </summary>
[TestFixture]
internal sealed class KernelOrderTests
{
    private static readonly string s_order = Path.Combine(TestData.RepositoryRoot, "kernels-tests", "Devices", "KernelOrder.txt");

    // Kernels that read what was stored without a barrier of the group between, and what that is. Below they are compared one by one.
    private static readonly Dictionary<string, string> s_ownWords = new()
    {
        ["EigenSymmetricGpu.ClusterColumnsKernel"] = "components that the thread stored itself, and warps' products behind the barrier of a warp",
        ["EigenSymmetricGpu.ColumnsKernel<GlobalRows>"] = "components that the thread stored itself",
        ["EigenSymmetricGpu.ColumnsKernel<SharedRows>"] = "components and rows that the warp stored itself",
        ["EigenSymmetricGpu.Kernel<InRegisters>"] = "components that the warp stored itself, and what one warp stored for itself behind the barrier of a warp",
        ["EigenSymmetricGpu.Kernel<InSharedMemory>"] = "rows that the warp stored itself, and what one warp stored for itself behind the barrier of a warp",
        ["EigenSymmetricGpu.RankKernel"] = "running sums, by one thread",
        ["WarpgroupPassGpu.StatisticsKernel"] = "the warp's largest logits behind the barrier of a warp",
    };

    private readonly Dictionary<string, PtxFlow> _flows = [];

    [OneTimeSetUp]
    public void Read()
    {
        foreach (string name in CompiledKernels.Launches.Keys)
        {
            _flows.Add(name, PtxFlow.Of(CompiledKernels.Ptx(name)));
        }
    }

    [Test]
    public void Order_is_the_committed_one()
    {
        string seen = string.Concat(_flows.Where(pair => pair.Value.Summary.Length > 0).Select(pair => $"{pair.Key} {pair.Value.Summary}\n"));
        if (Environment.GetEnvironmentVariable("HIMO_WRITE_ORDER") == "1")
        {
            File.WriteAllText(s_order, seen);
        }

        Assert.That(seen.Split('\n'), Is.EqualTo(File.ReadAllText(s_order).Split('\n')), "differs from KernelOrder.txt; HIMO_WRITE_ORDER=1 writes it anew, for review");
        Assert.That(
            _flows.Keys.Where(name => CompiledKernels.Ptx(name).Contains(".shared", StringComparison.Ordinal)),
            Is.SubsetOf(File.ReadLines(s_order).Select(line => line.Split(' ')[0])), "kernels with shared memory");
    }

    [Test]
    public void What_a_thread_stores_is_read_behind_a_barrier()
    {
        string[] shared = [.. _flows.Where(pair => pair.Value.Places("s").Length > 0 && pair.Value.Places("l").Length > 0).Select(pair => pair.Key)];
        string[] withOwnWords = [.. shared.Where(name => _flows[name].Pairs("s", "l", without: PtxFlow.Barriers).Length > 0)];
        Assert.That(withOwnWords, Is.EquivalentTo(s_ownWords.Keys));
        Assert.That(shared, Has.Length.GreaterThanOrEqualTo(110));
        Assert.That(shared, Is.SupersetOf(new[] { "StepSummaryGpu.Kernel", "EigenSymmetricGpu.CentreKernel", "EigenSymmetricGpu.BackKernel", "EigenSymmetricGpu.ValuesKernel", "WarpgroupGradientGpu.DerivativeKernel" }));
    }

    [TestCase("StepSummaryGpu.Kernel", Description = "the next branch overwrites the sums")]
    [TestCase("EigenSymmetricGpu.CentreKernel", Description = "the second sum takes the scratch of the first")]
    [TestCase("EigenSymmetricGpu.ValuesKernel")]
    public void What_was_read_is_replaced_behind_a_barrier(string name) => Assert.That(_flows[name].Pairs("l", "s", without: PtxFlow.Barriers), Is.Empty);

    [Test]
    public void Barriers_keep_their_order_with_shared_memory_in_every_product()
    {
        string[] products = [.. _flows.Keys.Where(name => name.StartsWith("GpuGemm.", StringComparison.Ordinal) || name.StartsWith("LogitPassGpu.Kernel", StringComparison.Ordinal))];
        foreach (string name in products)
        {
            // A stage is stored before the loop. In it one is read, the next one stored; behind it the last one is read, and a barrier comes before the next stores to it.
            // Logits are stored beside the stages.
            int reads = name.Contains("LargeTile", StringComparison.Ordinal) || name.StartsWith("LogitPassGpu", StringComparison.Ordinal) ? 8 : 4;
            string letters = _flows[name].Letters;
            Assert.That(letters, Does.Match("^s+b"), $"{name}: the first stage");
            Assert.That(Regex.Count(letters, "m+"), Is.EqualTo(2), $"{name}: products of the loop and behind it");
            Assert.That(Regex.Count(letters, $"wl{{{reads}}}m+s+b"), Is.EqualTo(1), $"{name}: the loop");
            Assert.That(Regex.Count(letters, $"l{{{reads}}}m+(s{{32}})?b"), Is.EqualTo(1), $"{name}: the last stage");

            // Eight sums of every thread of every team, then as many of the other teams.
            Assert.That(Regex.Count(letters, "bs{8}bl{8}"), Is.EqualTo(name.Contains("DeepTile", StringComparison.Ordinal) ? 1 : 0), $"{name}: the teams' sums");
        }

        Assert.That(products.Count(name => name.Contains("SmallTile", StringComparison.Ordinal)), Is.GreaterThanOrEqualTo(20));
        Assert.That(products.Count(name => name.Contains("LargeTile", StringComparison.Ordinal)), Is.GreaterThanOrEqualTo(20));
        Assert.That(products.Count(name => name.Contains("DeepTile", StringComparison.Ordinal)), Is.GreaterThanOrEqualTo(20));
    }

    [TestCase("Bf16Precision")]
    [TestCase("StrictPrecision")]
    [TestCase("Tf32Precision")]
    public void Logits_are_read_behind_the_barrier_that_follows_their_stores(string precision) =>
        Assert.That(_flows[$"LogitPassGpu.Kernel<{precision}>"].Blocks, Has.One.EqualTo(new string('s', 32) + "b"));

    [Test]
    public void The_rank_is_counted_behind_the_barrier_that_follows_the_running_sums()
    {
        PtxFlow flow = _flows["EigenSymmetricGpu.RankKernel"];
        int[] values = flow.FromBeginning("s", without: PtxFlow.Barriers);
        (int From, int To)[] ownWords = flow.Pairs("s", "l", without: PtxFlow.Barriers);
        Assert.That(values, Has.Length.EqualTo(1));
        Assert.That(ownWords.Select(pair => pair.From), Has.No.Member(values[0]), "all values are there before one thread adds them");
        Assert.That(ownWords.Select(pair => flow.Instruction(pair.From)), Has.All.StartsWith("st.shared.f64"), "only the sums");
        Assert.That(flow.FromBeginning("l", without: PtxFlow.Barriers), Is.Empty);
        Assert.That(flow.Places("b"), Has.Length.EqualTo(4), "behind the values, behind the running sums, and two of the sum over the group");
    }

    [TestCase("SharedRows")]
    [TestCase("GlobalRows")]
    public void A_column_of_the_tridiagonalisation_changes_its_reflector_behind_its_third_barrier(string memory)
    {
        string letters = _flows[$"EigenSymmetricGpu.ColumnsKernel<{memory}>"].Letters;

        // One for each of two sums, then the corner and the first element are read; behind the one of the rows the first element is changed.
        Assert.That(letters.Count(letter => letter == 'b'), Is.EqualTo(3));
        Assert.That(Regex.Count(letters, "bllbs"), Is.EqualTo(1));
    }

    [Test]
    public void A_column_in_a_cluster_has_its_two_barriers_and_a_cluster_begins_and_ends_together()
    {
        PtxFlow flow = _flows["EigenSymmetricGpu.ClusterColumnsKernel"];
        Assert.That(flow.FromBeginning("LS", without: "c"), Is.Empty, "no group is written to before it is there");
        Assert.That(flow.CanEnd(flow.Places("LS"), without: "c"), Is.False, "no group leaves before all have written");
        Assert.That(flow.Pairs("s", "S", without: PtxFlow.Barriers), Is.Empty, "products are there before they are sent");
        Assert.That(flow.Pairs("L", "S", without: PtxFlow.Barriers), Is.Empty, "a column is received by all warps before the next one is sent");
        Assert.That(Regex.Count(flow.Letters, "ws{13}bl{9}"), Is.EqualTo(6), "behind the warp's barrier u, w and the tail's part are stored, behind the group's they are read; in each phase");
        Assert.That(Regex.Count(flow.Letters, "s{48}bl{14}S{3}"), Is.EqualTo(6), "products of all slots, then sums over warps, which are sent");
    }

    [Test]
    public void Only_the_reduction_in_registers_has_barriers_in_different_places()
    {
        Assert.That(_flows.Where(pair => pair.Value.Places("r").Length > 0).Select(pair => pair.Key), Is.EqualTo(new[] { "EigenSymmetricGpu.Kernel<InRegisters>" }));
        string letters = _flows["EigenSymmetricGpu.Kernel<InRegisters>"].Letters;
        Assert.That(letters.Count(letter => letter == 'r'), Is.EqualTo(9), "four phases of two roles, and the loop of warps without one");
        Assert.That(Regex.Count(letters, "rl{14,20}"), Is.EqualTo(8), "what the column before handed over is read behind the barrier");
        Assert.That(Regex.Count(letters, "l{16}rl{14,20}s{8}wl{32}"), Is.EqualTo(4), "v before it; w and c of the warp's rows before the warp's barrier, and read behind it");
    }

    [Test]
    public void Every_role_of_the_reduction_in_registers_comes_to_as_many_barriers()
    {
        for (int n = 1; n <= 128; n++)
        {
            int shift = EigenSymmetricGpu.ShiftOf(n), last = shift + n - 1;
            IEnumerable<int> columns = Enumerable.Range(0, 4).SelectMany(phase =>
            {
                int start = EigenSymmetricGpu.StartOfPhase(phase, shift);
                return Enumerable.Range(start, Math.Max(EigenSymmetricGpu.EndOfPhase(phase, last) - start, 0));
            });
            Assert.That(columns, Is.EqualTo(Enumerable.Range(shift, last - shift)), $"columns of {n} rows, in all phases and by warps without a role");
        }
    }

    [TestCase("InRegisters")]
    [TestCase("InSharedMemory")]
    public void Eigenvalues_are_there_before_the_rank_is_counted(string memory)
    {
        // Counts on the grid, a barrier, eigenvalues, a barrier; then a warp by itself: the trace, values, its barrier, running sums, its barrier, the rank.
        string letters = _flows[$"EigenSymmetricGpu.Kernel<{memory}>"].Letters;
        Assert.That(Regex.Count(letters, "ls{2}bblwl{4}s{4}wl"), Is.EqualTo(1));
    }

    [TestCase("WarpgroupPassGpu.StatisticsKernel")]
    [TestCase("WarpgroupGradientGpu.DerivativeKernel")]
    [TestCase("WarpgroupGradientGpu.ProductKernel")]
    public void A_stage_of_the_warpgroups_is_waited_for_multiplied_and_replaced(string name)
    {
        PtxFlow flow = _flows[name];
        Assert.That(Regex.Count(flow.Letters, "teg{4}kdbxy{2}"), Is.EqualTo(1), "its mbarrier, four products, the end of those before, everybody, the copies of the stage after the next");
        Assert.That(flow.FromBeginning("xtgy", without: PtxFlow.Barriers), Is.Empty, "the mbarriers exist");
        Assert.That(Regex.Count(flow.Letters, "i{3}fb"), Is.EqualTo(flow.Places("i").Length / 3), "they are made known to the copy engine");
        Assert.That(flow.Pairs("y", "g", without: "t"), Is.Empty, "no stage is multiplied before it was waited for");
    }

    [Test]
    public void Warpgroups_share_shared_memory_behind_barriers()
    {
        Assert.That(Regex.Count(_flows["WarpgroupGradientGpu.DerivativeKernel"].Letters, "bs{64}fby{2}kd"), Is.EqualTo(1), "the ring is free, D and D^T are there, known to the copy engine, and leave");
        Assert.That(Regex.Count(_flows["WarpgroupPassGpu.StatisticsKernel"].Letters, "s{4}w(l{9}s{2}){4}o"), Is.EqualTo(1), "the warp's largest logits, its barrier, columns, everybody");
    }
}
