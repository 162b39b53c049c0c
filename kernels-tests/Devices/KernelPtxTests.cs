// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// Every kernel of a step as PTX: what it must hold and must not, and, where NVIDIA's assembler is at hand, its registers against
/// the committed budget <c>KernelBudget.txt</c>. The list of kernels is what the step really launches.
/// </summary>
[TestFixture]
internal sealed class KernelPtxTests
{
    private static readonly string s_budget = Path.Combine(TestData.RepositoryRoot, "kernels-tests", "Devices", "KernelBudget.txt");

    private static readonly string[] s_targets = ["sm_80", "sm_90"];

    private readonly SortedDictionary<string, LaunchEntry> _kernels = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Name, string Target), string> _ptx = [];

    [OneTimeSetUp]
    public void FindKernels()
    {
        using Gpu gpu = Gpu.OpenEmulated(warps: 4, onlyRecords: true);
        foreach ((MatrixShape shape, MoLoOptions options, GpuStepSettings settings) in Configurations())
        {
            using TrainingStepGpu step = new(gpu, shape, options, settings);
            using MemoryBuffer1D<float, Stride1D.Dense> data = gpu.Allocate<float>(shape.Length);
            ArrayView<float> view = data.View.BaseView;
            step.Run(gpu.Accelerator.DefaultStream, new StepBuffers<float>
            {
                Images = view, Texts = view, LogitScale = view, GradImages = view, GradTexts = view, Summary = view,
            });
        }

        foreach (LaunchEntry launch in gpu.Log.Launches)
        {
            _ = _kernels.TryAdd(Name(launch.Kernel), launch);
        }

        foreach ((string name, LaunchEntry launch) in _kernels)
        {
            foreach (string target in s_targets)
            {
                _ptx.Add((name, target), OfflinePtx.Compile(launch.Kernel, launch.Threads, target));
            }
        }
    }

    private static IEnumerable<(MatrixShape Shape, MoLoOptions Options, GpuStepSettings Settings)> Configurations()
    {
        MatrixShape[] shapes = [new(4, 8), new(8, 4)];
        return from shape in shapes
               from basis in Enum.GetValues<BasisGradient>()
               from components in Enum.GetValues<ComponentSource>()
               from normalization in Enum.GetValues<ComponentNormalization>()
               from precision in Enum.GetValues<GpuPrecision>()
               let options = new MoLoOptions { BasisGradient = basis, Components = components, ComponentNormalization = normalization }
               let settings = new GpuStepSettings { Precision = precision }
               where IsSupported(shape, options, settings)
               select (shape, options, settings);
    }

    private static bool IsSupported(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
    {
        try
        {
            TrainingStepGpu.CheckSupported(shape, options, settings);
            return true;
        }
        catch (NotSupportedException)
        {
            return false;
        }
    }

    [TestCase("sm_80")]
    [TestCase("sm_90")]
    public void Compiles_without_local_memory_or_calls(string target)
    {
        foreach ((string name, LaunchEntry launch) in _kernels)
        {
            string ptx = _ptx[(name, target)];
            Assert.That(ptx, Does.Contain($".target {target}"), name);
            Assert.That(ptx, Does.Contain($".maxntid {launch.Threads}"), name);
            Assert.That(ptx, Does.Not.Contain("call ").And.Not.Contain(".local").And.Not.Contain("cvta.shared"), name);
            if (launch.Kernel.GetGenericArguments().Any(type => typeof(IProductPrecision).IsAssignableFrom(type)))
            {
                bool isBf16 = launch.Kernel.GetGenericArguments().Contains(typeof(Bf16Precision));
                Assert.That(ptx, isBf16 ? Does.Contain("mma.sync.aligned.m16n8k16").And.Contain("cvt.rn.bf16x2") : Does.Contain("mma.sync.aligned.m16n8k8").And.Contain("cvt.rna.tf32"), name);
            }
        }

        Assert.That(_kernels, Has.Count.GreaterThanOrEqualTo(12));
    }

    [Test]
    public void Barriers_keep_their_order_with_shared_memory_in_the_product()
    {
        // The loop's block: barrier, the 32 loads of fragments, barrier. Products work on registers and may stand anywhere behind the loads.
        string ptx = _ptx[(_kernels.First(pair => pair.Value.Kernel.DeclaringType == typeof(GpuGemm)).Key, "sm_90")];
        string[][] blocks = [.. Regex.Split(ptx, @"^\s*L_\w+:", RegexOptions.Multiline)
            .Select(block => block.Split('\n').Select(line => Kind(line.Trim())).Where(kind => kind.Length > 0).ToArray())];
        string[] loop = blocks.Single(block => block.Count(kind => kind == "barrier") == 2);
        int first = Array.IndexOf(loop, "barrier");
        int second = Array.LastIndexOf(loop, "barrier");

        Assert.That(loop[(first + 1)..second].Where(kind => kind != "mma"), Is.EqualTo(Enumerable.Repeat("load", 32)), "only read between the barriers");
        Assert.That(loop[..first].Concat(loop[(second + 1)..]), Has.None.EqualTo("load").And.None.EqualTo("store"), "nothing is read or written beside them");
        Assert.That(loop, Has.Some.EqualTo("mma"));

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
        string seen = string.Concat(_kernels.SelectMany(pair => s_targets.Select(target =>
        {
            PtxasReport report = Ptxas.Assemble(assembler, _ptx[(pair.Key, target)], target);
            Assert.That(report.StackBytes + report.SpillBytes, Is.Zero, $"stack and spills of {pair.Key} for {target}");
            int warps = 65536 / (report.Registers * pair.Value.Threads) * pair.Value.Threads / 32;
            return string.Create(
                CultureInfo.InvariantCulture,
                $"{pair.Key} {target} threads {pair.Value.Threads} registers {report.Registers} shared {report.SharedBytes} warps-by-registers {Math.Min(warps, 64)}\n");
        })));
        if (Environment.GetEnvironmentVariable("HIMO_WRITE_BUDGET") == "1")
        {
            File.WriteAllText(s_budget, seen);
        }

        Assert.That(seen, Is.EqualTo(File.ReadAllText(s_budget)), "differs from KernelBudget.txt; HIMO_WRITE_BUDGET=1 writes it anew, for review");
    }

    private static string Name(MethodInfo kernel)
    {
        string operands = string.Join(',', kernel.GetGenericArguments().Select(type => type.Name));
        return operands.Length == 0 ? $"{kernel.DeclaringType!.Name}.{kernel.Name}" : $"{kernel.DeclaringType!.Name}.{kernel.Name}<{operands}>";
    }
}
