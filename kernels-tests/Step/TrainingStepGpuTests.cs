// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class TrainingStepGpuTests
{
    private const double LossTolerance = 5e-6;
    private const double GradientTolerance = 1e-3;

    private Gpu _gpu = null!;
    private Gpu _wide = null!;

    [OneTimeSetUp]
    public void Open()
    {
        _gpu = TestGpu.Open(warps: 4);
        _wide = TestGpu.IsReal ? _gpu : TestGpu.Open(warps: 8); // for warpgroup instructions
    }

    [OneTimeTearDown]
    public void Close()
    {
        _gpu.Dispose();
        _wide.Dispose();
    }

    private static IEnumerable<TestCaseData> Cases()
    {
        MoLoOptions plain = new() { Tau = 0.8, Lambda = 0.7, GlobalWeight = 1.3 };
        MoLoOptions stopped = plain with { BasisGradient = BasisGradient.Stopped };
        MoLoOptions cosine = plain with { ComponentNormalization = ComponentNormalization.Cosine };

        // N <= d: everything in N x N.
        yield return Case(2, 3, 2.0, stopped with { LabelSmoothing = 0.0, Tau = 0.9 });
        yield return Case(3, 8, 4.6, plain with { GatherWithGrad = false, Tau = 0.6 });
        yield return Case(9, 17, 3.0, plain);
        yield return Case(9, 17, 3.0, stopped with { GatherWithGrad = false, LabelSmoothing = 0.2, Components = ComponentSource.Image });
        yield return Case(17, 20, -1.0, plain with { Tau = 1.0, LabelSmoothing = 0.0 });
        yield return Case(33, 34, 2.0, plain with { Tau = 0.7 }); // a whole warp adds up the losses
        yield return Case(5, 5, 2.0, plain with { GlobalWeight = 0.0, Components = ComponentSource.Image });

        yield return Case(6, 7, 3.0, cosine);
        yield return Case(7, 9, 3.0, cosine with { BasisGradient = BasisGradient.Stopped, GatherWithGrad = false, Components = ComponentSource.Image });
        yield return Case(8, 8, 3.0, plain with { Components = ComponentSource.TextAndImage, GatherWithGrad = false });
        yield return Case(6, 8, 3.0, stopped with { Components = ComponentSource.TextAndImage });
        yield return Case(9, 11, 3.0, cosine with { Components = ComponentSource.TextAndImage });
        yield return Case(7, 10, 3.0, cosine with { Components = ComponentSource.TextAndImage, BasisGradient = BasisGradient.Stopped, GlobalWeight = 0.0 });

        // N > d: factors of m columns. Sizes around the tile of 64 and, by StripRows, around the strip.
        yield return Case(2, 1, 2.0, plain);
        yield return Case(3, 2, 1.0, stopped with { LabelSmoothing = 0.0 });
        yield return Case(63, 6, 3.0, plain with { GatherWithGrad = false });
        yield return Case(64, 7, 3.0, stopped);
        yield return Case(65, 5, 4.6, plain);
        yield return Case(131, 4, 3.0, cosine, strip: 64);
        yield return Case(65, 17, 2.0, cosine with { GatherWithGrad = false, Components = ComponentSource.Image }, strip: 64);
        yield return Case(20, 9, 3.0, cosine with { BasisGradient = BasisGradient.Stopped, GlobalWeight = 0.0 });
        yield return Case(20, 9, 3.0, plain with { Components = ComponentSource.TextAndImage });
        yield return Case(21, 8, 3.0, cosine with { Components = ComponentSource.TextAndImage, GatherWithGrad = false });
        yield return Case(22, 7, 3.0, stopped with { Components = ComponentSource.TextAndImage, GlobalWeight = 0.0 });
        yield return Case(20, 9, 3.0, plain with { Tau = 1.0, GatherWithGrad = false, GlobalWeight = 0.0 });

        // Eigenproblems on the whole chip.
        yield return Case(9, 12, 3.0, plain, group: 2);
        yield return Case(20, 7, 3.0, plain with { Components = ComponentSource.TextAndImage }, group: 2);

        // Without a component branch both sizes take the same way.
        yield return Case(6, 9, 3.0, plain with { Lambda = 0.0 });
        yield return Case(9, 6, 3.0, plain with { Lambda = 0.0, GatherWithGrad = false });

        static TestCaseData Case(int n, int d, double logitScale, MoLoOptions options, int strip = 1024, int group = 176) =>
            new TestCaseData(n, d, logitScale, options, strip, group).SetArgDisplayNames(
                $"{n}x{d}", $"{options.Components}", $"{options.ComponentNormalization}", $"{options.BasisGradient}", $"gather={options.GatherWithGrad}",
                $"tau={options.Tau}", $"weights={options.GlobalWeight}:{options.Lambda}", $"strip={strip}", $"group={group}");
    }

    [TestCaseSource(nameof(Cases))]
    public void Agrees_with_the_reference(int n, int d, double logitScale, MoLoOptions options, int strip, int group)
    {
        TestGpu.EigenproblemFitsOpenCl(Math.Min(n, d), group);
        float[] images = Features(n, d, 1);
        float[] texts = Features(n, d, 2);
        ReferenceStep expected = TrainingStepReference.Run(Batch.Widen(images), Batch.Widen(texts), n, d, (float)logitScale, options);

        GpuStepRun run = GpuStepRun.Of(_gpu, images, texts, n, d, logitScale, options, TestGpu.Settings with { StripRows = strip, LargestGroupProblem = group });

        run.IsNear(expected, LossTolerance, GradientTolerance);
    }

    // What batches of up to 128 take on a GPU: four teams a tile, and sixteen warps that go along lines.
    [TestCase(17, 20, ComponentSource.Text, ComponentNormalization.None, BasisGradient.Exact, GpuPrecision.Strict)]
    [TestCase(33, 36, ComponentSource.TextAndImage, ComponentNormalization.Cosine, BasisGradient.Exact, GpuPrecision.Strict)]
    [TestCase(17, 20, ComponentSource.TextAndImage, ComponentNormalization.Cosine, BasisGradient.Stopped, GpuPrecision.Strict)]
    [TestCase(18, 21, ComponentSource.Image, ComponentNormalization.Cosine, BasisGradient.Exact, GpuPrecision.Tf32)]
    [TestCase(9, 12, ComponentSource.Text, ComponentNormalization.None, BasisGradient.Stopped, GpuPrecision.Bf16)]
    [TestCase(33, 9, ComponentSource.Text, ComponentNormalization.None, BasisGradient.Exact, GpuPrecision.Strict)]
    [TestCase(20, 7, ComponentSource.TextAndImage, ComponentNormalization.Cosine, BasisGradient.Exact, GpuPrecision.Tf32)]
    [TestCase(18, 5, ComponentSource.Image, ComponentNormalization.None, BasisGradient.Exact, GpuPrecision.Bf16)]
    public void Agrees_in_tiles_of_teams(int n, int d, ComponentSource components, ComponentNormalization normalization, BasisGradient basisGradient, GpuPrecision precision)
    {
        TestGpu.NotOnOpenCl("matrix instructions");
        using Gpu gpu = Gpu.OpenEmulated(warps: 4 * DeepTile.Parts, multiprocessors: 132, together: 1);
        MoLoOptions options = new() { Tau = 0.8, Lambda = 0.7, Components = components, ComponentNormalization = normalization, BasisGradient = basisGradient };
        Batch batch = Batch.Create(n, d, tau: 0.8);
        ReferenceStep expected = TrainingStepReference.Run(Batch.Widen(batch.SingleImages), Batch.Widen(batch.SingleTexts), n, d, 3.0, options);

        GpuStepRun run = GpuStepRun.Of(gpu, batch.SingleImages, batch.SingleTexts, n, d, 3.0, options, TestGpu.Settings with { Precision = precision, Warpgroups = false });

        (double loss, double gradient) = TestGpu.Tolerance(precision);
        run.IsNear(expected, loss, gradient);
        Assert.That(gpu.Log.Launches.Where(launch => launch.Name.StartsWith("GpuGemm.", StringComparison.Ordinal)).Select(launch => launch.Name), Is.All.Contains(",DeepTile,"));
    }

    [Test]
    public void What_is_not_finite_gives_no_number([Values(3, 5)] int n, [Values(1.0f, float.NaN, float.PositiveInfinity)] float feature)
    {
        float[] images = Features(n, 4, 1);
        images[5] = feature;
        double logitScale = float.IsFinite(feature) ? 100.0 : 2.0; // e^100 is beyond float32
        GpuStepRun run = GpuStepRun.Of(_gpu, images, Features(n, 4, 2), n, 4, logitScale, new MoLoOptions(), TestGpu.Settings);
        Assert.That(run.Summary[..4].Concat(run.GradImages).Concat(run.GradTexts), Has.None.Matches<float>(float.IsFinite));
    }

    // Two tiles of warpgroup instructions; ContrastiveLossWarpgroupGpuTests has two blocks of depth in the short form too.
    private static IEnumerable<(int N, int D)> PrecisionSizes() => [(40, 6), TestLength.IsLong || TestGpu.IsReal ? (131, 65) : (129, 9), (12, 20)];

    private static IEnumerable<TestCaseData> Precisions() =>
        from size in PrecisionSizes()
        from each in new[] { (GpuPrecision.Tf32, 5e-3, 3e-2), (GpuPrecision.Bf16, 3e-2, 1e-1) }
        where size.N < 128 || each.Item1 == GpuPrecision.Bf16
        select new TestCaseData(size.N, size.D, each.Item1, each.Item2, each.Item3);

    [TestCaseSource(nameof(Precisions))]
    public void Lower_precisions_keep_m(int n, int d, GpuPrecision precision, double lossTolerance, double gradientTolerance)
    {
        TestGpu.NotOnOpenCl("matrix instructions");
        MoLoOptions options = new() { Tau = 0.8 };
        Batch batch = Batch.Create(n, d, tau: 0.8);
        ReferenceStep expected = TrainingStepReference.Run(batch.Images.Elements, batch.Texts.Elements, n, d, 3.0, options);

        GpuStepRun run = GpuStepRun.Of(
            precision == GpuPrecision.Bf16 ? _wide : _gpu, batch.SingleImages, batch.SingleTexts, n, d, 3.0, options, TestGpu.Settings with { Precision = precision });

        run.IsNear(expected, lossTolerance, gradientTolerance);
    }

    [Test]
    public void One_row_has_nothing_to_tell_apart()
    {
        GpuStepRun run = GpuStepRun.Of(_gpu, [0.5f, 2.0f], [3.0f, 1.0f], 1, 2, 4.0, new MoLoOptions());

        Assert.Multiple(() =>
        {
            Assert.That(run.M, Is.EqualTo(1));
            Assert.That(run.Summary[..4], Is.All.Zero);
            Assert.That(run.GradImages.Concat(run.GradTexts), Is.All.EqualTo(0.0f).Within(1e-6f));
        });
    }

    [TestCase(5, 8, 176)]
    [TestCase(70, 4, 2)]
    public void Run_does_no_host_work_and_repeats_bit_for_bit(int n, int d, int group)
    {
        TestGpu.EigenproblemFitsOpenCl(Math.Min(n, d), group);
        float[] images = Features(n, d, 3);
        float[] texts = Features(n, d, 4);
        using TrainingStepGpu step = new(_gpu, new MatrixShape(n, d), new MoLoOptions(), TestGpu.Settings with { LargestGroupProblem = group });
        GpuStepRun first = GpuStepRun.Of(_gpu, step, images, texts, 2.0, () => { });

        GpuStepRun second = GpuStepRun.Of(_gpu, step, images, texts, 2.0, _gpu.Log.Reset);

        Assert.Multiple(() =>
        {
            Assert.That(_gpu.Log.Allocations, Is.Zero);
            Assert.That(_gpu.Log.HostCopies + _gpu.Log.Synchronizations, Is.Zero);
            Assert.That(second.Summary, Is.EqualTo(first.Summary));
            Assert.That(second.GradImages, Is.EqualTo(first.GradImages));
            Assert.That(second.GradTexts, Is.EqualTo(first.GradTexts));
        });
    }

    private static IEnumerable<TestCaseData> LaunchCounts()
    {
        MoLoOptions plain = new();
        MoLoOptions both = plain with { Components = ComponentSource.TextAndImage };
        MoLoOptions cosine = plain with { ComponentNormalization = ComponentNormalization.Cosine };
        MoLoOptions stopped = plain with { BasisGradient = BasisGradient.Stopped };
        yield return Case(128, 200, plain, 11);
        yield return Case(128, 200, plain with { Components = ComponentSource.Image }, 11);
        yield return Case(128, 200, stopped, 10);
        yield return Case(128, 200, cosine, 12);
        yield return Case(128, 200, both, 12);
        yield return Case(128, 200, both with { ComponentNormalization = ComponentNormalization.Cosine }, 12);
        yield return Case(128, 200, plain, 11, GpuPrecision.Bf16);
        yield return Case(200, 300, plain, 11 + 7);
        yield return Case(200, 300, plain, 12 + 7, GpuPrecision.Bf16); // A has a launch of its own
        yield return Case(200, 100, plain, 22);
        yield return Case(200, 100, plain with { GatherWithGrad = false }, 22);
        yield return Case(200, 100, stopped, 18);
        yield return Case(200, 100, cosine, 26);
        yield return Case(200, 100, both, 36);
        yield return Case(1100, 100, plain, 25 + 2, GpuPrecision.Tf32); // C and T in parts
        yield return Case(300, 180, plain, 22 + 7);
        yield return Case(100, 200, plain with { Lambda = 0.0 }, 8);

        static TestCaseData Case(int n, int d, MoLoOptions options, int launches, GpuPrecision precision = GpuPrecision.Strict) =>
            new TestCaseData(n, d, options, precision, launches).SetArgDisplayNames(
                $"{n}x{d}", $"{options.Components}", $"{options.ComponentNormalization}", $"{options.BasisGradient}", $"gather={options.GatherWithGrad}", $"lambda={options.Lambda}",
                $"{precision}", $"{launches}");
    }

    // What was promised, whatever the options.
    [Test]
    public void Up_to_176_rows_take_at_most_twelve_launches(
        [Values(1, 33, 128, 176)] int n, [Values] GpuPrecision precision, [Values] BasisGradient basisGradient, [Values] ComponentSource components,
        [Values] ComponentNormalization normalization)
    {
        foreach (int[] level in AllPairs.Of(2, 2, 2, 2, 2))
        {
            MoLoOptions options = new()
            {
                Components = components, BasisGradient = basisGradient, ComponentNormalization = normalization, GatherWithGrad = level[0] == 0, LabelSmoothing = 0.1 * level[1],
                GlobalWeight = level[2], Lambda = level[3],
            };
            if (options.GlobalWeight + options.Lambda > 0.0)
            {
                int launches = Launches(n, 176, options, new GpuStepSettings { Precision = precision, Groups = 1 + (6 * level[4] * (options.Lambda > 0.0 ? 1 : 0)) });
                Assert.That(launches, Is.InRange(8, 12), $"{options}");
            }
        }
    }

    [TestCaseSource(nameof(LaunchCounts))]
    public void Has_its_number_of_launches(int n, int d, MoLoOptions options, GpuPrecision precision, int launches)
    {
        int shared = n <= d && options.Lambda != 0.0 ? launches : 5 * launches;
        Assert.Multiple(() =>
        {
            Assert.That(Launches(n, d, options, new GpuStepSettings { Precision = precision }), Is.EqualTo(launches));
            Assert.That(Launches(n, d, options, new GpuStepSettings { Precision = precision, Groups = 5 }), Is.EqualTo(shared), "5 groups");
            Assert.That(Launches(n, d, options, new GpuStepSettings { Precision = precision, Groups = 5, MostMemory = 0 }), Is.EqualTo(5 * launches), "without memory for two");
        });
    }

    private static int Launches(int n, int d, MoLoOptions options, GpuStepSettings settings)
    {
        using Gpu recorder = Gpu.OpenEmulated(warps: 8, onlyRecords: true, multiprocessors: 132);
        using TrainingStepGpu step = new(recorder, new MatrixShape(n, d), options, settings);
        using MemoryBuffer1D<float, Stride1D.Dense> data = recorder.Allocate<float>((long)settings.Groups * n * d);
        ArrayView<float> view = data.View.BaseView;
        recorder.Log.Reset();
        step.Run(recorder.Accelerator.DefaultStream, new StepBuffers<float>
        {
            Images = view, Texts = view, LogitScale = view, GradImages = view, GradTexts = view, Summary = view,
        });
        Assert.That((recorder.Log.Allocations, recorder.Log.HostCopies, recorder.Log.Synchronizations), Is.EqualTo((0, 0, 0)), $"{options}");
        return recorder.Log.Launches.Count;
    }

    private static IEnumerable<TestCaseData> GroupCases()
    {
        MoLoOptions plain = new() { Tau = 0.7 };
        MoLoOptions both = plain with { Components = ComponentSource.TextAndImage, ComponentNormalization = ComponentNormalization.Cosine };
        yield return Case(3, 5, plain, 3);
        yield return Case(4, 5, plain with { Components = ComponentSource.Image, BasisGradient = BasisGradient.Stopped }, 2);
        yield return Case(3, 4, both, 3);
        yield return Case(5, 3, both, 1);
        yield return Case(3, 4, both, 3, largest: 2);
        yield return Case(3, 4, plain, 3, largest: 2);
        yield return Case(6, 3, plain with { Components = ComponentSource.Image }, 1, largest: 2);

        static TestCaseData Case(int n, int d, MoLoOptions options, int together, int largest = EigenSymmetricGpu.MaxSize) =>
            new TestCaseData(n, d, options, together, largest).SetArgDisplayNames(
                $"{n}x{d}", $"{options.Components}", $"{options.ComponentNormalization}", $"{options.BasisGradient}", $"together={together}", $"group={largest}");
    }

    [TestCaseSource(nameof(GroupCases))]
    public void Groups_have_the_bits_of_calls_of_their_own(int n, int d, MoLoOptions options, int together, int largest)
    {
        TestGpu.EigenproblemFitsOpenCl(Math.Min(n, d), largest);
        GpuStepSettings one = TestGpu.Settings with { LargestGroupProblem = largest };
        long memory = TrainingStepGpu.WorkspaceBytes(new MatrixShape(n, d), options, one);
        float[][] images = [.. Enumerable.Range(0, 3).Select(group => Features(n, d, group))];
        float[][] texts = [.. Enumerable.Range(3, 3).Select(group => Features(n, d, group))];
        GpuStepRun[] single = [.. images.Zip(texts, (image, text) => GpuStepRun.Of(_gpu, image, text, n, d, 2.0, options, one))];

        GpuStepRun all = GpuStepRun.Of(
            _gpu, [.. images.SelectMany(each => each)], [.. texts.SelectMany(each => each)], n, d, 2.0, options, one with { Groups = 3, MostMemory = together * memory });

        Assert.Multiple(() =>
        {
            Assert.That(all.Kept, Is.EqualTo(single.SelectMany(each => each.Kept)));
            Assert.That(all.GradImages.Concat(all.GradTexts).Concat(all.Summary), Has.None.NaN);
            Assert.That(all.Summary, Is.EqualTo(single.SelectMany(each => each.Summary)));
            Assert.That(all.GradImages, Is.EqualTo(single.SelectMany(each => each.GradImages)));
            Assert.That(all.GradTexts, Is.EqualTo(single.SelectMany(each => each.GradTexts)));
        });
    }

    [Test]
    public void What_is_missing_is_refused_by_name()
    {
        Assert.That(
            () => TrainingStepGpu.CheckSupported(new MatrixShape(5000, 6000), new MoLoOptions(), new GpuStepSettings()),
            Throws.TypeOf<NotSupportedException>().With.Message.Contains("5000 x 6000"));
    }

    private static float[] Features(int n, int d, int seed)
    {
        Random random = new((100 * n) + d + (1000 * seed));
        return [.. Enumerable.Range(0, n * d).Select(i => (float)((random.NextDouble() - 0.4) / Math.Sqrt((i % d) + 1)))];
    }
}
