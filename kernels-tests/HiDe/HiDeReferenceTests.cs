// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The float64 decomposition against the authors' numbers.</summary>
internal sealed class HiDeReferenceTests
{
    [TestCaseSource(typeof(GoldenLoss), nameof(GoldenLoss.Folders))]
    public void Golden_mean_spectrum_and_components(string folder)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, "base");
        HiDeReferenceState state = HiDeReference.Forward(UnitTexts(golden), golden.Options.Tau);
        Assert.Multiple(() =>
        {
            Assert.That(state.Result.M, Is.EqualTo(golden.Scalar("m")));
            Assert.That(state.Values, Has.Length.EqualTo(Math.Min(golden.Rows, golden.Columns)));
            double[] expected = golden.Array("explained_variance")!.Values;
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.That(state.Values[i], Is.EqualTo(expected[i]).Within(1e-12 * expected[0]), $"eigenvalue {i}");
            }

            double[] shares = golden.Array("cum_ratio")!.Values;
            Assert.That(state.Result.ExplainedVariance, Is.EqualTo(shares[state.Result.M - 1]).Within(1e-12));
            JsonElement margins = GoldenLoss.ReadManifest(Path.Combine("loss", folder)).GetProperty("tau_0.9");
            double gap = margins.GetProperty("relative_gap_at_m").GetDouble() * expected[state.Result.M - 1] / expected[0];
            Assert.That(state.Result.RelativeGap, Is.EqualTo(gap).Within(1e-12));
            if (golden.Array("text_mean") is GoldenArray mean)
            {
                Expect.Gradient(state.Mean, mean.Values, 1e-12, "mean");
            }

            if (golden.Array("u_prime") is GoldenArray components)
            {
                Expect.Gradient(state.Components.Elements, components.Values, components.Tolerance, "u'");
            }

            if (golden.Array("u_prime.rows") is GoldenArray rows)
            {
                double[] thinned = [.. state.Components.Elements.Chunk(golden.Columns).Where((_, i) => i % 8 == 0).SelectMany(row => row)];
                Expect.Gradient(thinned, rows.Values, rows.Tolerance, "u' rows");
            }
        });
    }

    [TestCase("n64_d64", "tau0.6")]
    [TestCase("n64_d64", "tau0.7")]
    [TestCase("n64_d64", "tau0.8")]
    [TestCase("n64_d64", "tau0.85")]
    [TestCase("n64_d64", "tau0.95")]
    public void Golden_components_by_tau(string folder, string id)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, id);
        HiDeReferenceState state = HiDeReference.Forward(UnitTexts(golden), golden.Options.Tau);
        Expect.Gradient(state.Components.Elements, golden.Array("u_prime")!.Values, 1e-8, "u'");
    }

    private static ReferenceMatrix UnitTexts(GoldenLoss golden) => L2NormalizeReference.Forward(
        ReferenceMatrix.Widen(new ReadOnlyMatrixView(golden.Texts(), golden.Rows, golden.Columns)));
}
