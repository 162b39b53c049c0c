// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The float64 reference against the authors' numbers.</summary>
internal sealed class TrainingStepReferenceTests
{
    private const double LossTolerance = 1e-10;
    private const double GradientTolerance = 1e-8;
    private const double RoundedTolerance = 5e-8;  // stored as float32
    private const double LooseTolerance = 5e-2;

    [TestCaseSource(typeof(GoldenLoss), nameof(GoldenLoss.All))]
    public void Golden_losses_and_gradients(string folder, string id)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, id);
        double[] images = Batch.Widen(golden.Images());
        double[] texts = Batch.Widen(golden.Texts());
        GoldenGradient[] gradients = [.. golden.Gradients()];
        Assert.That(gradients, Is.Not.Empty);
        Assert.Multiple(() =>
        {
            foreach (IGrouping<(bool, BasisGradient), GoldenGradient> group in gradients.GroupBy(each => (each.GatherWithGrad, each.Basis)))
            {
                MoLoOptions options = golden.Options with { GatherWithGrad = group.Key.Item1, BasisGradient = group.Key.Item2 };
                ReferenceStep step = TrainingStepReference.Run(images, texts, golden.Rows, golden.Columns, golden.LogitScale, options);
                CheckScalars(golden, step.Result);
                foreach (GoldenGradient gradient in group)
                {
                    double[] actual = gradient.Of(gradient.IsImage ? step.GradImages : step.GradTexts, golden.Columns);
                    Expect.Gradient(actual, gradient.Values, gradient.IsRounded ? RoundedTolerance : GradientTolerance, gradient.Name);
                }
            }
        });
    }

    [Test]
    public void Golden_degenerate_input(
        [ValueSource(typeof(GoldenDegenerate), nameof(GoldenDegenerate.Names))] string name,
        [Values] bool gatherWithGrad,
        [Values] BasisGradient basis)
    {
        GoldenDegenerate golden = GoldenDegenerate.Open(name);
        MoLoOptions options = golden.Options with { GatherWithGrad = gatherWithGrad, BasisGradient = basis };
        ReferenceStep step = TrainingStepReference.Run(
            Batch.Widen(golden.Images()), Batch.Widen(golden.Texts()), golden.Rows, golden.Columns, golden.LogitScale, options);
        Comparable rule = golden.Comparable;
        Assert.Multiple(() =>
        {
            AllFinite(step);
            if (rule.HasFlag(Comparable.GlobalLoss))
            {
                Expect.Loss(step.Result.Global, golden.Scalar("loss_global"), LossTolerance, "global");
            }

            if (rule.HasFlag(Comparable.ComponentLoss))
            {
                Expect.Loss(step.Result.Component, golden.Scalar("loss_comp"), LossTolerance, "component");
                Expect.Loss(step.Result.Loss, golden.Scalar("total"), LossTolerance, "total");
                double size = Math.Max(golden.Scalar("total"), golden.Rows > 1 ? 0.0 : 1.0); // one row has loss 0
                Expect.LogitScaleGradient(step.Result.GradLogitScale, golden.Scalar("grad_log_scale"), size, GradientTolerance);
            }

            if (rule.HasFlag(Comparable.M))
            {
                Assert.That(step.Result.M, Is.EqualTo(golden.Scalar("m")), "m");
            }

            if (rule.HasFlag(Comparable.Components))
            {
                ReferenceMatrix unit = L2NormalizeReference.Forward(new ReferenceMatrix(Batch.Widen(golden.Texts()), golden.Rows, golden.Columns));
                Expect.Gradient(HiDeReference.Forward(unit, options.Tau).Components.Elements, golden.Components(), GradientTolerance, "u'");
            }

            if (rule.HasFlag(Comparable.GradImages))
            {
                Expect.Gradient(step.GradImages, golden.GradImages(gatherWithGrad), GradientTolerance, "image gradient");
            }

            if (basis == BasisGradient.Stopped && rule.HasFlag(Comparable.GradTextsStopped))
            {
                Expect.Gradient(step.GradTexts, golden.GradTextsStopped(gatherWithGrad), GradientTolerance, "text gradient, basis stopped");
            }

            if (basis == BasisGradient.Exact && rule.HasFlag(Comparable.GradTextsExact))
            {
                Expect.Gradient(step.GradTexts, golden.GradTextsExact(gatherWithGrad), GradientTolerance, "text gradient");
            }

            if (basis == BasisGradient.Exact && rule.HasFlag(Comparable.GradTextsLoosely))
            {
                Expect.Gradient(step.GradTexts, golden.GradTextsExact(gatherWithGrad), LooseTolerance, "text gradient, loosely");
            }
        });
    }

    [Test]
    public void Every_degenerate_folder_has_a_rule()
    {
        string folder = TestData.Get("golden", "loss", "degenerate");
        Assert.That(Directory.GetDirectories(folder).Select(path => Path.GetFileName(path)), Is.EquivalentTo(GoldenDegenerate.Names));
    }

    [Test]
    public void A_zero_row_gets_no_gradient([Values] bool isImage)
    {
        GoldenDegenerate golden = GoldenDegenerate.Open(isImage ? "zero_image_row" : "zero_text_row");
        float[] given = isImage ? golden.Images() : golden.Texts();
        int row = Enumerable.Range(0, golden.Rows).Single(i => given.AsSpan(i * golden.Columns, golden.Columns).IndexOfAnyExcept(0.0f) < 0);
        ReferenceStep step = TrainingStepReference.Run(
            Batch.Widen(golden.Images()), Batch.Widen(golden.Texts()), golden.Rows, golden.Columns, golden.LogitScale, golden.Options);
        double[] gradient = isImage ? step.GradImages : step.GradTexts;
        Assert.Multiple(() =>
        {
            AllFinite(step);
            Assert.That(gradient.Skip(row * golden.Columns).Take(golden.Columns), Is.All.Zero);
            Assert.That(gradient.Chunk(golden.Columns).Where((_, i) => i != row).Select(Expect.Norm), Is.All.GreaterThan(0.0));
        });
    }

    [Test]
    public void Gradients_by_central_differences(
        [Values] ComponentSource components, [Values] ComponentNormalization normalization, [Values(5, 9)] int rows, [Values(0.0, 0.1)] double smoothing)
    {
        const int Columns = 6;
        const double LogitScale = 1.2;
        MoLoOptions options = new()
        {
            Components = components,
            ComponentNormalization = normalization,
            LabelSmoothing = smoothing,
            Tau = 0.8,
            Lambda = 0.7,
            GlobalWeight = 1.4,
        };
        Batch batch = Batch.Create(rows, Columns, seed: 6, options.Tau);
        double Loss(ReferenceMatrix images, ReferenceMatrix texts, double logitScale) =>
            TrainingStepReference.Run(images.Elements, texts.Elements, rows, Columns, logitScale, options, gradients: false).Result.Loss;
        ReferenceStep step = TrainingStepReference.Run(batch.Images.Elements, batch.Texts.Elements, rows, Columns, LogitScale, options);
        Assert.Multiple(() =>
        {
            Expect.Gradient(step.GradImages, CentralDifference.Of(at => Loss(at, batch.Texts, LogitScale), batch.Images), CentralDifference.Tolerance, "images");
            Expect.Gradient(step.GradTexts, CentralDifference.Of(at => Loss(batch.Images, at, LogitScale), batch.Texts), CentralDifference.Tolerance, "texts");
            Expect.LogitScaleGradient(
                step.Result.GradLogitScale,
                CentralDifference.Of(at => Loss(batch.Images, batch.Texts, at), LogitScale),
                step.Result.Loss,
                CentralDifference.Tolerance);
        });
    }

    [TestCase(5)]
    [TestCase(9)]
    public void Stopped_gradient_holds_the_directions_by_central_differences(int rows)
    {
        const int Columns = 6;
        MoLoOptions options = new() { Tau = 0.8, BasisGradient = BasisGradient.Stopped };
        Batch batch = Batch.Create(rows, Columns, seed: 6, options.Tau);
        ReferenceMatrix v = L2NormalizeReference.Forward(batch.Images);
        HiDeReferenceState state = HiDeReference.Forward(L2NormalizeReference.Forward(batch.Texts), options.Tau);
        ReferenceMatrix p = ProjectionReference.Directions(state.Centered, state.Vectors, state.Values, state.Side, state.Result.M);
        double Loss(ReferenceMatrix texts)
        {
            ReferenceMatrix x = L2NormalizeReference.Forward(texts);
            double[] mean = BatchMeanReference.Mean(x);
            ReferenceMatrix components = BatchMeanReference.AddMean(BatchMeanReference.Center(x, mean) * p.T * p, mean);
            MoLoReferenceOperands operands = new(v, x, v, components);
            return MoLoReference.Run(operands, operands, 0, 1.2, options, gradients: false).Loss;
        }

        ReferenceStep step = TrainingStepReference.Run(batch.Images.Elements, batch.Texts.Elements, rows, Columns, 1.2, options);
        Expect.Gradient(step.GradTexts, CentralDifference.Of(Loss, batch.Texts), CentralDifference.Tolerance, "texts");
    }

    [TestCase(0.0)]
    [TestCase(-0.5)]
    [TestCase(1.0000001)]
    [TestCase(double.NaN)]
    public void Bad_tau_is_refused(double tau) =>
        Assert.That(
            () => TrainingStepReference.Run([1.0], [1.0], 1, 1, 0.0, new MoLoOptions { Tau = tau }),
            Throws.ArgumentException.With.Message.Contains(FormattableString.Invariant($"Tau must be in (0, 1]; it is {tau}")));

    [TestCase(-100.5)]
    [TestCase(300.5)]
    [TestCase(double.NaN)]
    public void Bad_logit_scale_is_refused(double logitScale) =>
        Assert.That(
            () => TrainingStepReference.Run([1.0], [1.0], 1, 1, logitScale, new MoLoOptions()),
            Throws.ArgumentException.With.Message.Contains(FormattableString.Invariant($"{logitScale}")));

    [TestCase(double.NaN)]
    [TestCase(double.NegativeInfinity)]
    public void Non_finite_input_is_named(double bad) =>
        Assert.That(
            () => TrainingStepReference.Run([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, bad, 4.0], 2, 2, 0.0, new MoLoOptions()),
            Throws.ArgumentException.With.Message.StartsWith(FormattableString.Invariant($"texts holds {bad} at row 1, column 0")));

    [TestCase(-100.0)]
    [TestCase(300.0)]
    public void Extreme_logit_scales_stay_finite(double logitScale)
    {
        Random random = new(11);
        double[] images = [.. Enumerable.Range(0, 40).Select(_ => random.NextDouble() - 0.5)];
        double[] texts = [.. Enumerable.Range(0, 40).Select(_ => random.NextDouble() - 0.5)];
        AllFinite(TrainingStepReference.Run(images, texts, 8, 5, logitScale, new MoLoOptions()));
    }

    private static void AllFinite(ReferenceStep step)
    {
        Assert.That(double.IsFinite(step.Result.Loss) && double.IsFinite(step.Result.Global) && double.IsFinite(step.Result.Component), "losses are finite");
        Assert.That(double.IsFinite(step.Result.GradLogitScale), "the temperature's gradient is finite");
        Assert.That(step.GradImages.Concat(step.GradTexts).Concat(step.Spectrum), Is.All.Matches<double>(double.IsFinite), "gradients, spectrum");
    }

    private static void CheckScalars(GoldenLoss golden, MoLoResult result)
    {
        bool hasGlobal = golden.Options.GlobalWeight != 0.0;
        bool hasComponent = golden.Options.Lambda != 0.0;
        Expect.Loss(result.Loss, golden.Total, LossTolerance, "total");
        Expect.Loss(result.Global, hasGlobal ? golden.Scalar("loss_global") : 0.0, LossTolerance, "global");
        Expect.Loss(result.Component, hasComponent ? golden.Scalar("loss_comp") : 0.0, LossTolerance, "component");
        Expect.LogitScaleGradient(result.GradLogitScale, golden.GradLogitScale, golden.Total, GradientTolerance);

        // Where both sides are reconstructed the authors' m is that of the images, which they decompose last.
        int m = golden.Options.Components == ComponentSource.Text ? result.M : result.MImage;
        Assert.That(m, Is.EqualTo(hasComponent ? golden.Scalar("m") : 0.0), "m");
    }
}
