// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The float32 step against the reference, and what its face promises.</summary>
internal sealed class TrainingStepTests
{
    private const double LogitScale = 3.0;
    private static readonly int[] s_sizes = [1, 2, 3, 7, 8, 9, 31, 33];

    /// <summary>Options so that any two values of two options meet in one of them.</summary>
    public static IEnumerable<MoLoOptions> OptionPairs()
    {
        ComponentSource[] sources = Enum.GetValues<ComponentSource>();
        for (int i = 0; i < 36; i++)
        {
            yield return new MoLoOptions
            {
                Components = sources[i % 3],
                ComponentNormalization = i / 3 % 2 == 0 ? ComponentNormalization.None : ComponentNormalization.Cosine,
                BasisGradient = i / 6 % 2 == 0 ? BasisGradient.Exact : BasisGradient.Stopped,
                GatherWithGrad = i / 12 % 2 == 0,
                Tau = i % 5 == 0 ? 0.6 : 0.9,
                Lambda = i % 7 == 3 ? 0.0 : i % 2 == 0 ? 1.0 : 2.0,
                GlobalWeight = i % 7 == 5 ? 0.0 : i % 4 == 1 ? 0.5 : 1.0,
                LabelSmoothing = i / 2 % 3 == 0 ? 0.0 : 0.1,
            };
        }

        yield return new MoLoOptions { Lambda = 0.0, GlobalWeight = 0.0 };
    }

    [TestCaseSource(nameof(OptionPairs))]
    public void Every_shape_equals_the_reference(MoLoOptions options)
    {
        Assert.Multiple(() =>
        {
            foreach (int rows in s_sizes)
            {
                foreach (int columns in s_sizes)
                {
                    EqualsReference(rows, columns, options);
                }
            }
        });
    }

    [Test]
    [Category(InstructionSets.Simd)]
    public void Shapes_around_a_square_equal_the_reference([Values(20, 64)] int columns, [Values(-1, 0, 1, 2)] int more, [Values] BasisGradient basis, [Values] bool gather) =>
        Assert.Multiple(() => EqualsReference(columns + more, columns, new() { BasisGradient = basis, GatherWithGrad = gather }));

    [Test]
    [Category(InstructionSets.Simd)]
    public void Several_tiles_equal_the_reference([Values] bool gather, [Values] ComponentNormalization normalization) =>
        Assert.Multiple(() => EqualsReference(LogitBranch.TileRows + 37, 24, new() { GatherWithGrad = gather, ComponentNormalization = normalization }));

    [Test]
    public void Bits_do_not_depend_on_the_number_of_threads(
        [Values(40, 100)] int rows, [Values] ComponentSource components, [Values] ComponentNormalization normalization)
    {
        MoLoOptions options = new() { Components = components, ComponentNormalization = normalization };
        Batch batch = Batch.Create(rows, 64);
        StepRun expected = StepRun.Of(batch.SingleImages, batch.SingleTexts, rows, 64, LogitScale, options, threads: 1);
        foreach (int threads in (int[])[2, 3, 7])
        {
            StepRun run = StepRun.Of(batch.SingleImages, batch.SingleTexts, rows, 64, LogitScale, options, threads);
            Assert.Multiple(() =>
            {
                Assert.That(run.Result, Is.EqualTo(expected.Result));
                Assert.That(run.GradImages, Is.EqualTo(expected.GradImages), $"{threads} threads");
                Assert.That(run.GradTexts, Is.EqualTo(expected.GradTexts), $"{threads} threads");
            });
        }
    }

    [Test]
    public void Unwanted_gradients_change_nothing_else([Values(24, 50)] int rows, [Values] BasisGradient basis, [Values] bool gather, [Values] ComponentSource components)
    {
        MoLoOptions options = new() { BasisGradient = basis, GatherWithGrad = gather, Components = components };
        Batch batch = Batch.Create(rows, 32);
        StepRun both = StepRun.Of(batch.SingleImages, batch.SingleTexts, rows, 32, LogitScale, options);
        StepRun images = StepRun.Of(batch.SingleImages, batch.SingleTexts, rows, 32, LogitScale, options, gradTexts: false);
        StepRun texts = StepRun.Of(batch.SingleImages, batch.SingleTexts, rows, 32, LogitScale, options, gradImages: false);
        StepRun none = StepRun.Of(batch.SingleImages, batch.SingleTexts, rows, 32, LogitScale, options, gradImages: false, gradTexts: false);
        Assert.Multiple(() =>
        {
            Assert.That(none.Result, Is.EqualTo(both.Result with { GradLogitScale = 0.0 }));
            Assert.That(images.Result.GradLogitScale, Is.EqualTo(both.Result.GradLogitScale).Within(1e-6));
            Expect.Gradient(Batch.Widen(images.GradImages), Batch.Widen(both.GradImages), 1e-6, "images");
            Expect.Gradient(Batch.Widen(texts.GradTexts), Batch.Widen(both.GradTexts), 1e-6, "texts");
        });
    }

    [Test]
    public void After_the_first_step_of_a_shape_nothing_is_allocated([Values(30, 70)] int rows, [Values] ComponentSource components)
    {
        const int Columns = 40;
        Batch batch = Batch.Create(rows, Columns);
        float[] images = batch.SingleImages;
        float[] texts = batch.SingleTexts;
        float[] gradient = new float[2 * images.Length];
        using TrainingStep step = new(new() { Components = components }, threads: 2);
        Run();
        Run();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 20; i++)
        {
            Run();
        }

        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);

        void Run() => _ = step.Run(
            new(images, rows, Columns),
            new(texts, rows, Columns),
            LogitScale,
            new(gradient.AsSpan(0, images.Length), rows, Columns),
            new(gradient.AsSpan(images.Length), rows, Columns));
    }

    [Test]
    public void Each_kind_of_warning_comes_once()
    {
        List<string> warnings = [];
        using TrainingStep step = new(new() { Tau = 1.0 });
        step.Warning += warnings.Add;
        Batch batch = Batch.Create(6, 12);
        StepRun first = StepRun.Of(step, batch.SingleImages, batch.SingleTexts, 6, 12, LogitScale);
        StepRun second = StepRun.Of(step, batch.SingleImages, batch.SingleTexts, 6, 12, LogitScale);
        Assert.Multiple(() =>
        {
            Assert.That(first.Result.Warnings.HasFlag(HiDeWarnings.NothingDropped));
            Assert.That(second.Result.Warnings, Is.EqualTo(first.Result.Warnings));
            Assert.That(warnings, Has.One.Contains("the component branch repeats the global one"));
        });
    }

    [Test]
    public void A_tie_at_the_cut_is_warned_about_and_finite([Values] BasisGradient basis)
    {
        // Plus and minus each axis: the eigenvalues are 2, 2, 2, and tau cuts between the first two.
        float[] texts = [1, 0, 0, -1, 0, 0, 0, 1, 0, 0, -1, 0, 0, 0, 1, 0, 0, -1];
        float[] images = Batch.Single(Batch.RandomMatrix(6, 3, 5).Elements);
        List<string> warnings = [];
        using TrainingStep step = new(new() { Tau = 0.3, BasisGradient = basis });
        step.Warning += warnings.Add;
        StepRun run = StepRun.Of(step, images, texts, 6, 3, LogitScale);
        Assert.Multiple(() =>
        {
            Assert.That(run.IsFinite());
            Assert.That(run.Result.M, Is.EqualTo(1));
            Assert.That(run.Result.Warnings, Is.EqualTo(HiDeWarnings.NearTieAtCut));
            Assert.That(warnings, Has.One.Contains("ill-conditioned"));
        });
    }

    [TestCase(float.NaN)]
    [TestCase(float.PositiveInfinity)]
    [TestCase(float.NegativeInfinity)]
    public void A_value_that_is_not_finite_is_named_before_anything_is_written(float value)
    {
        foreach (bool isImage in (bool[])[true, false])
        {
            float[] images = Batch.Create(5, 7).SingleImages;
            float[] texts = Batch.Create(5, 7).SingleTexts;
            (isImage ? images : texts)[(3 * 7) + 4] = value;
            float[] gradient = new float[70];
            using TrainingStep step = new(new());
            Assert.That(
                () => step.Run(new(images, 5, 7), new(texts, 5, 7), LogitScale, new(gradient.AsSpan(0, 35), 5, 7), new(gradient.AsSpan(35), 5, 7)),
                Throws.ArgumentException.With.Message.Contains(FormattableString.Invariant($"{(isImage ? "images" : "texts")} holds {value} at row 3, column 4")));
            Assert.That(gradient, Is.All.Zero);
        }
    }

    [Test]
    public void Bad_calls_are_refused()
    {
        float[] x = Batch.Create(4, 6).SingleTexts;
        float[] y = Batch.Create(4, 6).SingleImages;
        float[] gradient = new float[24];
        TrainingStep step = new(new());
        Assert.Multiple(() =>
        {
            Assert.That(() => new TrainingStep(new() { Tau = 0.0 }), Throws.ArgumentException.With.Message.Contains("Tau must be in (0, 1]; it is 0"));
            Assert.That(() => new TrainingStep(new(), threads: -2), Throws.ArgumentException.With.Message.Contains("-2"));
            Assert.That(() => step.Run(new(x, 4, 6), new(y, 3, 8), 0.0, default, default), Throws.ArgumentException.With.Message.Contains("images is 4 x 6, texts is 3 x 8"));
            Assert.That(() => step.Run(default, default, 0.0, default, default), Throws.ArgumentException.With.Message.Contains("0 x 0"));
            Assert.That(() => step.Run(new(x, 4, 6), new(y, 4, 6), 80.5, default, default), Throws.ArgumentException.With.Message.Contains("80.5"));
            Assert.That(() => step.Run(new(x, 4, 6), new(y, 4, 6), -100.5, default, default), Throws.ArgumentException.With.Message.Contains("-100.5"));
            Assert.That(() => step.Run(new(x, 4, 6), new(y, 4, 6), double.NaN, default, default), Throws.ArgumentException.With.Message.Contains("NaN"));
            Assert.That(() => step.Run(new(x, 4, 6), new(y, 4, 6), 0.0, new(gradient, 6, 4), default), Throws.ArgumentException.With.Message.Contains("gradImages is 6 x 4"));
            Assert.That(() => step.Run(new(x, 4, 6), new(y, 4, 6), 0.0, new(x, 4, 6), default), Throws.ArgumentException.With.Message.Contains("gradImages overlaps"));
            Assert.That(() => step.Run(new(x, 4, 6), new(y, 4, 6), 0.0, default, new(x, 4, 6)), Throws.ArgumentException.With.Message.Contains("gradTexts overlaps"));
            Assert.That(() => step.Run(new(x, 4, 6), new(y, 4, 6), 0.0, new(gradient, 4, 6), new(gradient, 4, 6)), Throws.ArgumentException.With.Message.Contains("overlap"));
        });
        step.Dispose();
        step.Dispose();
        Assert.That(() => step.Run(new(x, 4, 6), new(y, 4, 6), 0.0, default, default), Throws.TypeOf<ObjectDisposedException>());
    }

    // Where nothing can be dropped without a tie, tau 1 and one row or column aside, the batch has a gap of a thousandth at the cut.
    private static void EqualsReference(int rows, int columns, MoLoOptions options)
    {
        Batch batch = Batch.Create(rows, columns, tau: options.Tau);
        ReferenceStep expected = TrainingStepReference.Run(
            Batch.Widen(batch.SingleImages), Batch.Widen(batch.SingleTexts), rows, columns, LogitScale, options);
        StepRun actual = StepRun.Of(batch.SingleImages, batch.SingleTexts, rows, columns, LogitScale, options);
        string name = $"{rows} x {columns}";
        Assert.That(actual.IsFinite(), name);
        Expect.Loss(actual.Result.Loss, expected.Result.Loss, 2e-6, $"{name} loss");
        Expect.Loss(actual.Result.Global, expected.Result.Global, 2e-6, $"{name} global");
        Expect.Loss(actual.Result.Component, expected.Result.Component, 2e-6, $"{name} component");
        Assert.That(actual.Result.M, Is.EqualTo(expected.Result.M), $"{name} m");
        Assert.That(actual.Result.MImage, Is.EqualTo(expected.Result.MImage), $"{name} m of the images");
        Assert.That(actual.Result.ExplainedVariance, Is.EqualTo(expected.Result.ExplainedVariance).Within(1e-5), $"{name} explained variance");
        Assert.That(actual.Result.Warnings, Is.EqualTo(expected.Result.Warnings), $"{name} warnings");
        Expect.Gradient(Batch.Widen(actual.Spectrum), expected.Spectrum, 1e-5, $"{name} spectrum");
        EqualsGradient(actual.GradImages, expected.GradImages, expected.Result.Loss, $"{name} image gradient");
        EqualsGradient(actual.GradTexts, expected.GradTexts, expected.Result.Loss, $"{name} text gradient");
        double size = Math.Max(Math.Max(Math.Abs(expected.Result.GradLogitScale), Math.Abs(expected.Result.Loss)), 1e-2);
        Expect.AtMost(Math.Abs(actual.Result.GradLogitScale - expected.Result.GradLogitScale) / size, 2e-4, $"{name} logit scale gradient");
    }

    // A float32 logit of size s carries s 2^-24, which is the relative error of a share; the parts of a gradient are at most s times the
    // shares that are missed, which is about the loss, and may cancel. A few such errors are allowed beside 2e-4 of the gradient.
    private static void EqualsGradient(float[] actual, double[] expected, double loss, string name)
    {
        double scale = Math.Exp(LogitScale);
        double size = Math.Max(Expect.Norm(expected), 1e-6);
        double tolerance = 2e-4 + (8.0 * scale * scale * Math.Pow(2.0, -24) * Math.Min(Math.Abs(loss), 1.0) / size);
        Expect.Gradient(Batch.Widen(actual), expected, tolerance, name);
    }
}
