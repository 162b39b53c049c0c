// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels.Tests.Devices;
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>HiDe alone on the GPU: groups against the reference one by one, and the face's promises.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class HiDeGpuTests
{
    private const int GuardLength = 8;

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    private static IEnumerable<TestCaseData> Cases()
    {
        foreach (BasisGradient basis in Enum.GetValues<BasisGradient>())
        {
            yield return Case(1, 1, 1);
            yield return Case(3, 2, 3);
            yield return Case(2, 5, 8);
            yield return Case(1, 17, 20);
            yield return Case(2, 6, 6, largest: 2);

            yield return Case(2, 2, 1);
            yield return Case(3, 8, 5);
            yield return Case(1, 66, 3);
            yield return Case(2, 9, 7, largest: 2);

            TestCaseData Case(int groups, int n, int d, int largest = EigenSymmetricGpu.MaxSize) =>
                new TestCaseData(groups, n, d, basis, largest).SetArgDisplayNames($"{groups}x({n}x{d})", $"{basis}", $"group={largest}");
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void Every_group_equals_the_reference_and_has_the_bits_of_a_call_of_its_own(int groups, int n, int d, BasisGradient basis, int largest)
    {
        const double Tau = 0.8;
        TestGpu.EigenproblemFitsOpenCl(Math.Min(n, d), largest);
        int length = n * d;
        float[] texts = [.. Enumerable.Range(1, groups).SelectMany(seed => Batch.Single(L2NormalizeReference.Forward(Batch.Create(n, d, seed, Tau).Texts).Elements))];
        float[] gradComponents = Batch.Single(Batch.RandomMatrix(groups * n, d, 41).Elements);
        GpuStepSettings settings = TestGpu.SettingsOfWarps with { LargestGroupProblem = largest };

        Pass all = Run(texts, gradComponents, new(n, d), groups, Tau, basis, settings);

        for (int group = 0; group < groups; group++)
        {
            Range part = (group * length)..((group + 1) * length);
            HiDeReferenceState state = HiDeReference.Forward(new(Batch.Widen(texts[part]), n, d), Tau);
            ReferenceMatrix gradient = HiDeReference.Backward(state, new(Batch.Widen(gradComponents[part]), n, d), basis);
            Pass own = Run(texts[part], gradComponents[part], new(n, d), 1, Tau, basis, settings);
            Assert.Multiple(() =>
            {
                Assert.That(all.Kept[group], Is.EqualTo(state.Result.M));
                Assert.That(all.Rank[2 * group], Is.EqualTo(state.Result.ExplainedVariance).Within(1e-5));
                Assert.That(all.Rank[(2 * group) + 1], Is.EqualTo(state.Result.RelativeGap).Within(1e-5));
                Expect.Gradient(Batch.Widen(all.Components[part]), state.Components.Elements, 1e-5, "u'");
                Expect.Gradient(Batch.Widen(all.GradTexts[part]), gradient.Elements, 1e-3, "dx"); // divided by gaps down to 1e-3
                Assert.That(own.Components, Is.EqualTo(all.Components[part]));
                Assert.That(own.GradTexts, Is.EqualTo(all.GradTexts[part]));
            });
        }
    }

    // On devices of more multiprocessors than there are large tiles, and of so many that four teams share a tile.
    [TestCase(4, 2, "SmallTile", 17, 20)]
    [TestCase(4, 3, "SmallTile", 35, 9)]
    [TestCase(16, 132, "DeepTile", 17, 20)]
    [TestCase(16, 132, "DeepTile", 33, 9)]
    public void Small_tiles_and_teams_give_the_same(int warps, int multiprocessors, string tile, int n, int d)
    {
        TestGpu.NotOnOpenCl("matrix instructions", warps > 4);
        using Gpu gpu = Gpu.OpenEmulated(warps, multiprocessors: multiprocessors, together: 1);
        float[] texts = Batch.Single(L2NormalizeReference.Forward(Batch.Create(n, d, tau: 0.8).Texts).Elements);
        float[] gradComponents = Batch.Single(Batch.RandomMatrix(n, d, 41).Elements);
        HiDeReferenceState state = HiDeReference.Forward(new(Batch.Widen(texts), n, d), 0.8);
        ReferenceMatrix gradient = HiDeReference.Backward(state, new(Batch.Widen(gradComponents), n, d), BasisGradient.Exact);

        Pass pass = Run(texts, gradComponents, new(n, d), 1, 0.8, BasisGradient.Exact, TestGpu.Settings, gpu);

        Assert.That(pass.Kept[0], Is.EqualTo(state.Result.M));
        Expect.Gradient(Batch.Widen(pass.Components), state.Components.Elements, 1e-5, "u'");
        Expect.Gradient(Batch.Widen(pass.GradTexts), gradient.Elements, 1e-3, "dx");
        Assert.That(gpu.Log.Launches.Where(launch => launch.Name.StartsWith("GpuGemm.", StringComparison.Ordinal)).Select(launch => launch.Name), Has.Some.Contains($",{tile},").And.Some.Contains("Gradient"));
    }

    [Test]
    public void Many_groups_in_one_call()
    {
        const int Rows = 2, Width = 3, Length = Rows * Width;
        int groups = TestLength.Pick(8, 1000); // the emulation takes 0.4 s for each
        const double Tau = 0.8;
        float[] texts = Batch.Single(L2NormalizeReference.Forward(Batch.RandomMatrix(groups * Rows, Width, 51)).Elements);
        float[] gradComponents = Batch.Single(Batch.RandomMatrix(groups * Rows, Width, 52).Elements);

        Pass all = Run(texts, gradComponents, new(Rows, Width), groups, Tau, BasisGradient.Exact, TestGpu.Settings);

        HiDeReferenceState[] states = [.. texts.Chunk(Length).Select(part => HiDeReference.Forward(new(Batch.Widen(part), Rows, Width), Tau))];
        IEnumerable<double> gradients = states.Zip(gradComponents.Chunk(Length))
            .SelectMany(each => HiDeReference.Backward(each.First, new(Batch.Widen(each.Second), Rows, Width), BasisGradient.Exact).Elements);
        Assert.Multiple(() =>
        {
            Assert.That(all.Kept, Is.EqualTo(states.Select(state => state.Result.M)));
            Expect.Gradient(Batch.Widen(all.Components), [.. states.SelectMany(state => state.Components.Elements)], 1e-5, "u'");
            Expect.Gradient(Batch.Widen(all.GradTexts), [.. gradients], 1e-3, "dx");
        });
    }

    [TestCase(4, 1e-3f, 1e-6)]
    [TestCase(12, 1e-3f, 1e-6)]
    public void Nearly_equal_rows_keep_their_differences(int columns, float spread, double tolerance)
    {
        const int Rows = 6;
        float[] texts = [.. Batch.RandomMatrix(Rows, columns, 5).Elements.Select(value => 1.0f + (spread * (float)value))];
        float[] gradComponents = Batch.Single(Batch.RandomMatrix(Rows, columns, 6).Elements);
        HiDeReferenceState state = HiDeReference.Forward(new(Batch.Widen(texts), Rows, columns), 0.7);
        ReferenceMatrix gradient = HiDeReference.Backward(state, new(Batch.Widen(gradComponents), Rows, columns), BasisGradient.Exact);

        Pass pass = Run(texts, gradComponents, new(Rows, columns), 1, 0.7, BasisGradient.Exact, TestGpu.Settings);

        Assert.That(pass.Kept[0], Is.EqualTo(state.Result.M));
        Expect.Gradient(Batch.Widen(pass.Components), state.Components.Elements, tolerance, "u'");
        Expect.Gradient(Batch.Widen(pass.GradTexts), gradient.Elements, 1e-3, "dx");
    }

    [Test]
    public void Degenerate_groups_stay_finite([Values] BasisGradient basis, [Values(0.5, 1.0)] double tau, [Values(3, 7)] int columns)
    {
        float[] pattern = Batch.Single(L2NormalizeReference.Forward(Batch.RandomMatrix(2, columns, 91)).Elements);
        float[] row = pattern[..columns], other = pattern[columns..], zero = new float[columns];
        float[][][] groups = [[zero, zero, zero, zero], [row, row, row, row], [row, other, row, other], [row, zero, zero, zero], [row, [.. row.Select(value => -value)], other, zero]];
        float[] texts = [.. groups.SelectMany(group => group).SelectMany(each => each)];

        Pass pass = Run(texts, Batch.Single(Batch.RandomMatrix(4 * groups.Length, columns, 92).Elements), new(4, columns), groups.Length, tau, basis, TestGpu.Settings);

        Assert.Multiple(() =>
        {
            Assert.That(pass.Components, Is.All.Matches<float>(float.IsFinite));
            Assert.That(pass.GradTexts, Is.All.Matches<float>(float.IsFinite));
            Assert.That(pass.Kept, Is.All.InRange(1, Math.Min(4, columns)));
            Expect.Gradient(Batch.Widen(pass.Components[..(3 * 4 * columns)]), Batch.Widen(texts[..(3 * 4 * columns)]), 1e-5, "rank 0 and 1 are rebuilt");
        });
    }

    [TestCase(128, 768, BasisGradient.Exact, 4, 6)]
    [TestCase(128, 768, BasisGradient.Stopped, 4, 5)]
    [TestCase(200, 768, BasisGradient.Exact, 4 + 7, 6)]
    [TestCase(1024, 128, BasisGradient.Exact, 6, 9)]
    [TestCase(1024, 128, BasisGradient.Stopped, 6, 5)]
    public void Any_number_of_groups_takes_the_same_launches(int n, int d, BasisGradient basis, int forward, int backward)
    {
        using Gpu recorder = Gpu.OpenEmulated(warps: 4, onlyRecords: true);
        bool isLarge = Math.Min(n, d) > EigenSymmetricGpu.MaxSize; // in turns of as many as there are multiprocessors, here one
        foreach (int groups in new[] { 1, 5, isLarge ? 8 : BatchStream.MaxBatches })
        {
            int turns = isLarge ? groups - 1 : 0;
            using HiDeGpu hide = new(new(n, d), groups, 0.9, basis, new GpuStepSettings());
            hide.TakeMemory(recorder);
            ArrayView<float> rows = recorder.PretendMemory((long)groups * n * d * sizeof(float)).Cast<float>();
            recorder.Log.Reset();
            hide.Forward(recorder.Accelerator.DefaultStream, rows, rows);
            Assert.That(recorder.Log.Launches, Has.Count.EqualTo(forward + turns), $"{groups} groups, forward");
            recorder.Log.Reset();
            hide.Backward(recorder.Accelerator.DefaultStream, rows, rows, rows);
            Assert.That(recorder.Log.Launches, Has.Count.EqualTo(backward), $"{groups} groups, backward");
        }
    }

    // 99 KiB a group, as sm_86 and sm_89 have them, and few multiprocessors: problems of one group's size span the chip, and large ones take turns.
    [TestCase(128, 768)]
    [TestCase(150, 768)]
    [TestCase(1500, 1600)]
    [TestCase(3500, 3600)]
    public void No_launch_wants_more_shared_memory_than_a_small_device_has(int n, int d)
    {
        const int Groups = 20, Bytes = 99 << 10;
        using Gpu recorder = Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 28, sharedBytes: Bytes);
        using HiDeGpu hide = new(new(n, d), Groups, 0.9, BasisGradient.Exact, new GpuStepSettings().On(recorder));
        hide.TakeMemory(recorder);
        ArrayView<float> rows = recorder.PretendMemory((long)Groups * n * d * sizeof(float)).Cast<float>();
        hide.Forward(recorder.Accelerator.DefaultStream, rows, rows);
        hide.Backward(recorder.Accelerator.DefaultStream, rows, rows, rows);

        ILookup<string, int> fixedBytes = KernelPtxTests.Budget().ToLookup(line => line.Kernel, line => line.SharedBytes);
        Assert.That(recorder.Log.Launches.Select(launch => fixedBytes[launch.Name].Max() + (sizeof(float) * launch.SharedLength)), Is.All.AtMost(Bytes));
        Assert.That(
            recorder.Log.Launches.Where(launch => launch.Kernel.Name.Contains("ColumnsKernel")).Sum(launch => launch.Groups.Y), Is.EqualTo(n > 128 ? Groups : 0), "every problem once");
        Assert.That(recorder.Log.Launches.Where(launch => launch.Kernel.Name.Contains("ColumnsKernel")).Select(launch => launch.Groups.X * launch.Groups.Y), Is.All.AtMost(28), "all at the same time");
    }

    [Test]
    public void The_face_takes_any_rows_keeps_its_promises_and_equals_the_CPU()
    {
        const int Groups = 2, Rows = 3, Width = 4, Stride = 6, All = Groups * Rows;
        float[] texts = [.. Batch.RandomMatrix(All, Width, 7).Elements.Select(value => BFloat16Stored.Widen(BFloat16Stored.Narrow((float)value)))];
        float[] gradComponents = Batch.Single(Batch.RandomMatrix(All, Width, 8).Elements);
        using MemoryBuffer1D<ushort, Stride1D.Dense> x = _gpu.Accelerator.Allocate1D(texts.Select(BFloat16Stored.Narrow).ToArray());
        using MemoryBuffer1D<float, Stride1D.Dense> g = _gpu.Accelerator.Allocate1D(gradComponents);
        using MemoryBuffer1D<float, Stride1D.Dense> u = _gpu.Accelerator.Allocate1D(Unset(All * Stride));
        using MemoryBuffer1D<float, Stride1D.Dense> dx = _gpu.Accelerator.Allocate1D(Unset(All * Width));
        GpuMatrix from = GpuMatrix.OfBFloat16(x.View.BaseView, All, Width), grad = new(g.View.BaseView, All, Width);
        GpuMatrix components = new(u.View.BaseView, All, Width, Stride), gradTexts = new(dx.View.BaseView, All, Width);
        using HiDe hide = new(0.8, threads: 1);
        _gpu.Log.Reset();
        using HiDeGpuWorkspace workspace = hide.CreateWorkspace(_gpu, new(Rows, Width), Groups);
        Assert.That((workspace.Bytes, _gpu.Log.AllocatedBytes), Is.EqualTo((hide.WorkspaceBytes(new(Rows, Width), Groups), workspace.Bytes)));
        _gpu.Log.Reset();
        hide.Forward(from, components, workspace);
        hide.Backward(from, grad, gradTexts, workspace);
        Assert.That((_gpu.Log.AllocatedBytes, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((2 * workspace.BytesPerConversion, 0, 0)), "texts and components");
        _gpu.Log.Reset();
        hide.Forward(from, components, workspace);
        hide.Backward(from, grad, gradTexts, workspace);
        Assert.That((_gpu.Log.Allocations, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)), "second pass");

        float[] onCpu = Unset(All * Width), gradOnCpu = Unset(All * Width);
        hide.Forward(new(texts, All, Width), Groups, new(onCpu, All, Width));
        hide.Backward(new(texts, All, Width), new(gradComponents, All, Width), new(gradOnCpu, All, Width));
        HiDeResult[] results = workspace.ReadResults();
        float[] written = u.GetAsArray1D();
        Assert.Multiple(() =>
        {
            Expect.Gradient(Batch.Widen([.. written.Where((_, i) => i % Stride < Width)]), Batch.Widen(onCpu), 1e-5, "u'");
            Assert.That(written.Where((_, i) => i % Stride >= Width), Is.All.NaN, "between the rows");
            Expect.Gradient(Batch.Widen(dx.GetAsArray1D()), Batch.Widen(gradOnCpu), 1e-3, "dx");
            Assert.That(results.Select(each => (each.M, each.Warnings)), Is.EqualTo(hide.Results.ToArray().Select(each => (each.M, each.Warnings))));
            Assert.That(workspace.Summary.Shape, Is.EqualTo(new MatrixShape(Groups, 2)));
        });
    }

    [Test]
    public void Wrong_arguments_are_named_before_anything_runs()
    {
        using HiDe hide = new(threads: 1);
        using HiDe other = new(threads: 1);
        using HiDeGpuWorkspace workspace = hide.CreateWorkspace(_gpu, new(3, 4), 2);
        using MemoryBuffer1D<float, Stride1D.Dense> memory = _gpu.Allocate<float>(24);
        GpuMatrix good = new(memory.View.BaseView, 6, 4), small = new(memory.View.BaseView, 3, 4);
        _gpu.Log.Reset();
        Assert.Multiple(() =>
        {
            Refused("texts is 3 x 4; it must be 6 x 4, 2 groups of 3 x 4", () => hide.Forward(small, good, workspace));
            Refused("components is 0 x 0", () => hide.Forward(good, default, workspace));
            Refused("created by another HiDe", () => other.Forward(good, good, workspace));
            Refused("groups must be from 1 to 65535; it is 0", () => hide.CreateWorkspace(_gpu, new(3, 4), 0));
            Refused("shape must have", () => hide.WorkspaceBytes(new(0, 4)));
            Refused("rows", () => hide.WorkspaceBytes(new(1 << 20, 4), 4096));
            Assert.That(() => hide.WorkspaceBytes(new(5000, 5000)), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("5000 x 5000"));
            Assert.That(() => hide.Backward(good, good, good, workspace), Throws.InvalidOperationException.With.Message.Contains("call HiDe.Forward first"));
            Assert.That(() => workspace.ReadResults(), Throws.InvalidOperationException);
            Assert.That(_gpu.Log.Launches, Is.Empty);
        });
        workspace.Dispose();
        workspace.Dispose();
        Assert.That(() => hide.Forward(good, good, workspace), Throws.InstanceOf<ObjectDisposedException>());
        hide.Dispose();
        Assert.That(() => hide.CreateWorkspace(_gpu, new(3, 4)), Throws.InstanceOf<ObjectDisposedException>());

        static void Refused(string message, Action call) => Assert.That(call, Throws.ArgumentException.With.Message.Contains(message));
    }

    // Forward and backward on arrays, with outputs that begin as NaN and guards behind them.
    private Pass Run(float[] texts, float[] gradComponents, MatrixShape shape, int groups, double tau, BasisGradient basis, GpuStepSettings settings, Gpu? gpu = null)
    {
        gpu ??= _gpu;
        using MemoryBuffer1D<float, Stride1D.Dense> x = gpu.Accelerator.Allocate1D(texts);
        using MemoryBuffer1D<float, Stride1D.Dense> g = gpu.Accelerator.Allocate1D(gradComponents);
        using MemoryBuffer1D<float, Stride1D.Dense> u = gpu.Accelerator.Allocate1D(Unset(texts.Length + GuardLength));
        using MemoryBuffer1D<float, Stride1D.Dense> dx = gpu.Accelerator.Allocate1D(Unset(texts.Length + GuardLength));
        using WatchedMemory memory = new(gpu);
        using HiDeGpu hide = new(shape, groups, tau, basis, settings.On(gpu));
        hide.TakeMemory(gpu);
        memory.Fill();
        AcceleratorStream stream = gpu.Accelerator.DefaultStream;
        hide.Forward(stream, x.View.BaseView, u.View.BaseView);
        hide.Backward(stream, x.View.BaseView, g.View.BaseView, dx.View.BaseView);
        stream.Synchronize();
        float[] components = u.GetAsArray1D(), gradTexts = dx.GetAsArray1D(), rank = new float[2 * groups];
        int[] kept = new int[groups];
        hide.Kept.CopyToCPU(stream, kept);
        hide.Rank.CopyToCPU(stream, rank);
        stream.Synchronize();
        memory.Check();
        Assert.That(components[^GuardLength..].Concat(gradTexts[^GuardLength..]), Is.All.NaN, "guards behind the outputs");
        return new(kept, rank, components[..^GuardLength], gradTexts[..^GuardLength]);
    }

    private static float[] Unset(int length) => [.. Enumerable.Repeat(float.NaN, length)];

    private sealed record Pass(int[] Kept, float[] Rank, float[] Components, float[] GradTexts);
}
