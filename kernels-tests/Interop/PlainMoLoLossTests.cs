// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>Both plain forms in float64 against the authors' numbers.</summary>
internal sealed class PlainMoLoLossTests
{
    private const double LossTolerance = 1e-10;
    private const double GradientTolerance = 1e-8;
    private const double RoundedTolerance = 5e-8;

    private static IEnumerable<TestCaseData> GoldenCases() =>
        GoldenLoss.All().Where(each => ((string)each.Arguments[0]!) is "n8_d16" or "n2_d8" or "n96_d32" or "n64_d64")
            .SelectMany(each => Enum.GetValues<PlainMethod>().Select(method => new TestCaseData(each.Arguments[0], each.Arguments[1], method)));

    [TestCaseSource(nameof(GoldenCases))]
    public void Golden_losses_and_gradients(string folder, string id, PlainMethod method)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, id);
        Assert.Multiple(() =>
        {
            foreach (IGrouping<(bool, BasisGradient), GoldenGradient> group in golden.Gradients().GroupBy(each => (each.GatherWithGrad, each.Basis)))
            {
                MoLoOptions options = golden.Options with { GatherWithGrad = group.Key.Item1, BasisGradient = group.Key.Item2 };
                using PlainMoLoLoss module = new(options, method);
                using TensorCase given = new(golden.Images(), golden.Texts(), golden.Rows, golden.Columns, golden.LogitScale, ScalarType.Float64);
                Outcome actual = given.Run(module);
                Expect.Loss(actual.Loss, golden.Total, LossTolerance, "total");
                Expect.LogitScaleGradient(actual.GradLogitScale, golden.GradLogitScale, golden.Total, GradientTolerance);
                foreach (GoldenGradient gradient in group)
                {
                    double[] part = gradient.Of(gradient.IsImage ? actual.GradImages : actual.GradTexts, golden.Columns);
                    Expect.Gradient(part, gradient.Values, gradient.IsRounded ? RoundedTolerance : GradientTolerance, $"{gradient.Name} {options.BasisGradient}");
                }

                if (options.Components != ComponentSource.TextAndImage && options.Lambda != 0.0)
                {
                    Assert.That(module.LastM, Is.EqualTo(golden.Scalar("m")), "m");
                }
            }
        });
    }
}
