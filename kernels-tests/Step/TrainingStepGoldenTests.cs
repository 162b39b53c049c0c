// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The float32 step against the authors' numbers.</summary>
internal sealed class TrainingStepGoldenTests
{
    private const double LossTolerance = 2e-6;
    private const double GradientTolerance = 2e-4;
    private const double LooseLossTolerance = 1e-3;
    private const double LooseGradientTolerance = 5e-2;

    [TestCaseSource(typeof(GoldenLoss), nameof(GoldenLoss.All))]
    public void Golden_losses_and_gradients(string folder, string id)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, id);
        Assert.Multiple(() =>
        {
            foreach (IGrouping<(bool, BasisGradient), GoldenGradient> group in golden.Gradients().GroupBy(each => (each.GatherWithGrad, each.Basis)))
            {
                MoLoOptions options = golden.Options with { GatherWithGrad = group.Key.Item1, BasisGradient = group.Key.Item2 };
                StepRun step = StepRun.Of(golden.Images(), golden.Texts(), golden.Rows, golden.Columns, golden.LogitScale, options);
                Expect.Loss(step.Result.Loss, golden.Total, LossTolerance, "total");
                Expect.Loss(step.Result.Global, options.GlobalWeight != 0.0 ? golden.Scalar("loss_global") : 0.0, LossTolerance, "global");
                Expect.Loss(step.Result.Component, options.Lambda != 0.0 ? golden.Scalar("loss_comp") : 0.0, LossTolerance, "component");
                Expect.LogitScaleGradient(step.Result.GradLogitScale, golden.GradLogitScale, golden.Total, GradientTolerance);

                // Where both sides are reconstructed the authors' m is that of the images, which they decompose last.
                int m = options.Components == ComponentSource.Text ? step.Result.M : step.Result.MImage;
                Assert.That(m, Is.EqualTo(options.Lambda != 0.0 ? golden.Scalar("m") : 0.0), "m");
                foreach (GoldenGradient gradient in group)
                {
                    double[] actual = gradient.Of(Batch.Widen(gradient.IsImage ? step.GradImages : step.GradTexts), golden.Columns);
                    Expect.Gradient(actual, gradient.Values, GradientTolerance, gradient.Name);
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
        Comparable rule = golden.Comparable;
        if (rule.HasFlag(Comparable.ReferenceOnly))
        {
            Assert.That(
                () => StepRun.Of(golden.Images(), golden.Texts(), golden.Rows, golden.Columns, golden.LogitScale, golden.Options),
                Throws.ArgumentException.With.Message.Contains("logitScale must be from -100 to 80"));
            return;
        }

        MoLoOptions options = golden.Options with { GatherWithGrad = gatherWithGrad, BasisGradient = basis };
        StepRun step = StepRun.Of(golden.Images(), golden.Texts(), golden.Rows, golden.Columns, golden.LogitScale, options);
        bool loosely = rule.HasFlag(Comparable.SingleLoosely);
        bool onlyFinite = loosely && basis == BasisGradient.Stopped && name.StartsWith("tiny_variance", StringComparison.Ordinal);
        double lossTolerance = loosely ? LooseLossTolerance : LossTolerance;
        double gradientTolerance = loosely ? LooseGradientTolerance : GradientTolerance;
        Assert.Multiple(() =>
        {
            Assert.That(step.IsFinite(), "finite");
            if (rule.HasFlag(Comparable.M))
            {
                Assert.That(step.Result.M, Is.EqualTo(golden.Scalar("m")), "m");
            }

            if (rule.HasFlag(Comparable.GlobalLoss))
            {
                Expect.Loss(step.Result.Global, golden.Scalar("loss_global"), lossTolerance, "global");
            }

            if (rule.HasFlag(Comparable.ComponentLoss))
            {
                Expect.Loss(step.Result.Component, golden.Scalar("loss_comp"), lossTolerance, "component");
                Expect.Loss(step.Result.Loss, golden.Scalar("total"), lossTolerance, "total");
                double size = Math.Max(golden.Scalar("total"), golden.Rows > 1 ? 0.0 : 1.0); // one row has loss 0
                Expect.LogitScaleGradient(step.Result.GradLogitScale, golden.Scalar("grad_log_scale"), size, gradientTolerance);
            }

            if (rule.HasFlag(Comparable.GradImages) && !onlyFinite)
            {
                Expect.Gradient(Batch.Widen(step.GradImages), golden.GradImages(gatherWithGrad), gradientTolerance, "image gradient");
            }

            if (basis == BasisGradient.Stopped && rule.HasFlag(Comparable.GradTextsStopped))
            {
                Expect.Gradient(Batch.Widen(step.GradTexts), golden.GradTextsStopped(gatherWithGrad), gradientTolerance, "text gradient, basis stopped");
            }

            if (basis == BasisGradient.Exact && (rule.HasFlag(Comparable.GradTextsExact) || rule.HasFlag(Comparable.GradTextsLoosely)))
            {
                double tolerance = rule.HasFlag(Comparable.GradTextsLoosely) ? LooseGradientTolerance : gradientTolerance;
                Expect.Gradient(Batch.Widen(step.GradTexts), golden.GradTextsExact(gatherWithGrad), tolerance, "text gradient");
            }
        });
    }
}
