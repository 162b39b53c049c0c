// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class ExplainedRankReferenceTests
{
    private static readonly double[] s_values = [4.0, 2.0, 1.0, 1.0];

    [TestCase(0.49, 1, 0.5, 0.5)]
    [TestCase(0.5, 1, 0.5, 0.5)]
    [TestCase(0.51, 2, 0.75, 0.25)]
    [TestCase(0.875, 3, 0.875, 0.0)]
    [TestCase(0.876, 4, 1.0, double.PositiveInfinity)]
    [TestCase(1.0, 4, 1.0, double.PositiveInfinity)]
    public void Smallest_rank_that_reaches_tau(double tau, int m, double share, double gap)
    {
        HiDeResult result = ExplainedRankReference.Forward(s_values, tau, 10, 4);
        Assert.That((result.M, result.ExplainedVariance, result.RelativeGap), Is.EqualTo((m, share, gap)));
    }

    [Test]
    public void All_components_where_none_reaches_tau()
    {
        HiDeResult result = ExplainedRankReference.Forward([2e-9, 1e-9, 0.0], 0.9, 4, 3);
        Assert.That((result.M, result.ExplainedVariance), Is.EqualTo((3, 0.3)).Within(1e-12), "the total counts as 1e-8");
    }

    [TestCase(5, 4, 1.0, HiDeWarnings.NothingDropped)]
    [TestCase(4, 9, 0.875, HiDeWarnings.NothingDropped | HiDeWarnings.NearTieAtCut)] // three of rank three
    [TestCase(5, 9, 0.875, HiDeWarnings.NearTieAtCut)]
    [TestCase(5, 9, 0.5, HiDeWarnings.None)]
    public void Warnings_name_what_makes_the_batch_useless(int rows, int columns, double tau, HiDeWarnings expected) =>
        Assert.That(ExplainedRankReference.Forward(s_values, tau, rows, columns).Warnings, Is.EqualTo(expected));
}
