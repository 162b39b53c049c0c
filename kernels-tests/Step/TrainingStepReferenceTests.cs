// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The float64 reference against the authors' numbers.</summary>
internal sealed class TrainingStepReferenceTests
{
    private const double LossTolerance = 1e-10;
    private const double GradientTolerance = 1e-8;
    private const double RoundedTolerance = 5e-8;

    [TestCaseSource(typeof(GoldenLoss), nameof(GoldenLoss.All))]
    public void Golden_losses_and_gradients(string folder, string id)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, id);
        double[] images = [.. golden.Images().Select(value => (double)value)];
        double[] texts = [.. golden.Texts().Select(value => (double)value)];
        GoldenGradient[] gradients = [.. golden.Gradients()];
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
