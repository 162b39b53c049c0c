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

    [TestCase(3, 6)]
    [TestCase(6, 6)]
    [TestCase(7, 6)]
    [TestCase(9, 4)]
    public void Gradients_by_central_differences(int rows, int columns)
    {
        ReferenceMatrix x = Batch.Create(rows, columns, seed: 4).Texts;
        ReferenceMatrix weights = Batch.RandomMatrix(rows, columns, 61);
        HiDeReferenceState state = HiDeReference.Forward(x, 0.9);
        ReferenceMatrix p = ProjectionReference.Directions(state.Centered, state.Vectors, state.Values, state.Side, state.Result.M);
        double[] exact = CentralDifference.Of(at => CentralDifference.Contract(HiDeReference.Forward(at, 0.9).Components, weights), x);
        double[] stopped = CentralDifference.Of(
            at =>
            {
                double[] mean = BatchMeanReference.Mean(at);
                return CentralDifference.Contract(BatchMeanReference.AddMean(BatchMeanReference.Center(at, mean) * p.T * p, mean), weights);
            },
            x);
        Assert.Multiple(() =>
        {
            Assert.That(state.Result.M, Is.LessThan(Math.Min(rows - 1, columns)), "something is dropped");
            Expect.Gradient(HiDeReference.Backward(state, weights, BasisGradient.Exact).Elements, exact, CentralDifference.Tolerance, "exact");
            Expect.Gradient(HiDeReference.Backward(state, weights, BasisGradient.Stopped).Elements, stopped, CentralDifference.Tolerance, "stopped");
            Assert.That(Expect.GradientError(stopped, exact), Is.GreaterThan(1e-2), "the two gradients differ");
        });
    }

    [Test]
    public void Eigenvalues_are_never_negative()
    {
        // A centred batch of 8 has rank 7: the last eigenvalue is zero up to rounding of either sign.
        IEnumerable<double> values = Enumerable.Range(0, 30).SelectMany(seed => HiDeReference.Forward(Batch.RandomMatrix(8, 12, seed), 0.9).Values);
        Assert.That(values.Min(), Is.Zero);
    }

    [TestCase(5, 6)]
    [TestCase(6, 6)]
    [TestCase(7, 6)]
    [TestCase(20, 21)]
    [TestCase(21, 20)]
    public void Both_sides_give_the_same(int rows, int columns)
    {
        ReferenceMatrix x = L2NormalizeReference.Forward(Batch.Create(rows, columns, seed: 5).Texts);
        ReferenceMatrix weights = Batch.RandomMatrix(rows, columns, 62);
        HiDeReferenceState gram = HiDeReference.Forward(x, 0.9, GramSide.Gram);
        HiDeReferenceState covariance = HiDeReference.Forward(x, 0.9, GramSide.Covariance);
        Assert.Multiple(() =>
        {
            Assert.That(gram.Result.M, Is.EqualTo(covariance.Result.M));
            Expect.Gradient(gram.Components.Elements, covariance.Components.Elements, 1e-11, "u'");
            foreach (BasisGradient basis in Enum.GetValues<BasisGradient>())
            {
                Expect.Gradient(HiDeReference.Backward(gram, weights, basis).Elements, HiDeReference.Backward(covariance, weights, basis).Elements, 1e-10, $"{basis}");
            }
        });
    }

    private static ReferenceMatrix UnitTexts(GoldenLoss golden) => L2NormalizeReference.Forward(
        ReferenceMatrix.Widen(new ReadOnlyMatrixView(golden.Texts(), golden.Rows, golden.Columns)));
}
