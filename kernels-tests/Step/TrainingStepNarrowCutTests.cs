// SPDX-License-Identifier: Apache-2.0
using FsCheck;
using FsCheck.Fluent;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Cuts so narrow that a float32 Gram or covariance matrix does not know the subspace, but the rows do.</summary>
internal sealed class TrainingStepNarrowCutTests
{
    private const double LogitScale = 2.6593;
    private const double Tolerance = 1e-4;                // 2^-24 over the gap would be 6e-3 and 6e-2
    private const double LossTolerance = 1e-6;
    private const double Roundings = 8;                   // of what one does: 8000 cases stayed within 3

    private static readonly (int Rows, int Columns)[] s_shapes = [(24, 40), (40, 24), (36, 44), (44, 36), (48, 16)];

    private static readonly Gen<Given> s_given =
        from shape in Gen.Elements(s_shapes)
        from gap in Gen.Elements(1e-5, 1e-6)
        from seed in Gen.Choose(1, 10_000)
        from components in Gen.Elements(Enum.GetValues<ComponentSource>())
        from normalization in Gen.Elements(Enum.GetValues<ComponentNormalization>())
        from basis in Gen.Elements(Enum.GetValues<BasisGradient>())
        select new Given(shape.Rows, shape.Columns, gap, seed, new() { Components = components, ComponentNormalization = normalization, BasisGradient = basis });

    [Test]
    public void Near_ties_equal_the_reference() => GeneratedCases.Check(s_given, 40, 1000, given =>
    {
        (NarrowCut batch, MoLoOptions options) = given.Create();
        ReferenceStep expected = TrainingStepReference.Run(Batch.Widen(batch.Images), Batch.Widen(batch.Texts), batch.Rows, batch.Columns, LogitScale, options);
        StepRun actual = StepRun.Of(batch.Images, batch.Texts, batch.Rows, batch.Columns, LogitScale, options);
        Assert.That(expected.Result.RelativeGap, Is.EqualTo(given.Gap).Within(20).Percent, "the batch is what was asked for");
        Assert.That(actual.Result.RelativeGap, Is.EqualTo(expected.Result.RelativeGap).Within(1).Percent, "gap");
        Assert.That(actual.Result.M, Is.EqualTo(expected.Result.M), "m");
        Expect.Loss(actual.Result.Loss, expected.Result.Loss, LossTolerance, "loss");
        ComponentNoise noise = ComponentNoise.Of(batch, LogitScale, options, given.Seed);
        Expect.Gradient(Batch.Widen(actual.GradImages), expected.GradImages, Tolerance + (Roundings * noise.Images / Expect.Norm(expected.GradImages)), "images");
        Expect.Gradient(Batch.Widen(actual.GradTexts), expected.GradTexts, Tolerance + (Roundings * noise.Texts / Expect.Norm(expected.GradTexts)), "texts");
    });

    [Test]
    public void Neither_threads_nor_unwanted_gradients_change_anything([ValueSource(nameof(s_shapes))] (int Rows, int Columns) shape, [Values] BasisGradient basis)
    {
        (NarrowCut batch, MoLoOptions options) = new Given(shape.Rows, shape.Columns, 1e-6, 7, new() { BasisGradient = basis }).Create();
        StepRun expected = StepRun.Of(batch.Images, batch.Texts, batch.Rows, batch.Columns, LogitScale, options, threads: 1);
        foreach (int threads in (int[])[2, 3, 7])
        {
            StepRun run = StepRun.Of(batch.Images, batch.Texts, batch.Rows, batch.Columns, LogitScale, options, threads);
            Assert.That(run.Result, Is.EqualTo(expected.Result), $"{threads} threads");
            Assert.That(run.GradImages, Is.EqualTo(expected.GradImages), $"{threads} threads");
            Assert.That(run.GradTexts, Is.EqualTo(expected.GradTexts), $"{threads} threads");
        }

        StepRun none = StepRun.Of(batch.Images, batch.Texts, batch.Rows, batch.Columns, LogitScale, options, gradImages: false, gradTexts: false);
        Assert.That(none.Result, Is.EqualTo(expected.Result with { GradLogitScale = 0.0 }));
        Assert.That(none.Spectrum, Is.EqualTo(expected.Spectrum).And.Ordered.Descending);
    }

    [Test]
    public void After_the_first_step_of_a_shape_nothing_is_allocated([ValueSource(nameof(s_shapes))] (int Rows, int Columns) shape)
    {
        (int rows, int columns) = shape;
        (NarrowCut batch, MoLoOptions options) = new Given(rows, columns, 1e-6, 7, new()).Create();
        float[] images = batch.Images;
        float[] texts = batch.Texts;
        float[] gradient = new float[2 * texts.Length];
        using TrainingStep step = new(options, threads: 2);
        Run();
        Run();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run();
        Run();
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);

        void Run() => _ = step.Run(
            new(images, rows, columns), new(texts, rows, columns), LogitScale,
            new(gradient.AsSpan(0, texts.Length), rows, columns), new(gradient.AsSpan(texts.Length), rows, columns));
    }

    /// <summary>A near-tie on the side that is reconstructed.</summary>
    private sealed record Given(int Rows, int Columns, double Gap, int Seed, MoLoOptions Options)
    {
        public (NarrowCut Batch, MoLoOptions Options) Create()
        {
            NarrowCut batch = NarrowCut.Create(Rows, Columns, Gap, Seed);
            return (Options.Components == ComponentSource.Image ? batch with { Images = batch.Texts, Texts = batch.Images } : batch, Options with { Tau = batch.Tau });
        }
    }
}
