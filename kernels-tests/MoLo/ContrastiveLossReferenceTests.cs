// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class ContrastiveLossReferenceTests
{
    [TestCase(0.0)]
    [TestCase(0.1)]
    public void Two_by_two_by_hand(double smoothing)
    {
        // Logits (2, 0) and (0, 2): both rows have logsumexp ln(e^2 + 1), target logit 2, sum of logits 2.
        ReferenceMatrix unit = ReferenceMatrix.Identity(2);
        double expected = Math.Log(Math.Exp(2.0) + 1.0) - ((1.0 - smoothing) * 2.0) - (smoothing / 2.0 * 2.0);
        CrossEntropyReference result = ContrastiveLossReference.Run(unit, unit, 0, 2.0, smoothing, gradients: true);
        double soft = Math.Exp(2.0) / (Math.Exp(2.0) + 1.0);
        double onTarget = 0.5 * (soft - (1.0 - smoothing) - (smoothing / 2.0));
        Assert.Multiple(() =>
        {
            Assert.That(result.Loss, Is.EqualTo(expected).Within(1e-15));
            Assert.That(result.GradQueries[0, 0], Is.EqualTo(2.0 * onTarget).Within(1e-15));
            Assert.That(result.GradQueries[0, 1], Is.EqualTo(-2.0 * onTarget).Within(1e-15));
            Assert.That(result.GradLogitScale, Is.EqualTo(2.0 * 2.0 * onTarget).Within(1e-15));
        });
    }

    [Test]
    public void The_target_is_offset()
    {
        ReferenceMatrix keys = ReferenceMatrix.Identity(3);
        ReferenceMatrix query = keys.Slice(2, 1);
        double right = ContrastiveLossReference.Run(query, keys, 2, 5.0, 0.0, gradients: false).Loss;
        double wrong = ContrastiveLossReference.Run(query, keys, 0, 5.0, 0.0, gradients: false).Loss;
        Assert.Multiple(() =>
        {
            Assert.That(right, Is.EqualTo(Math.Log(1.0 + (2.0 * Math.Exp(-5.0)))).Within(1e-15));
            Assert.That(wrong, Is.EqualTo(right + 5.0).Within(1e-14));
        });
    }

    [Test]
    public void Gradients_by_central_differences([Values(0.0, 0.1)] double smoothing, [Values(0, 3)] int offset)
    {
        const double LogitScale = 1.3;
        ReferenceMatrix queries = Batch.RandomMatrix(3, 4, 21);
        ReferenceMatrix keys = Batch.RandomMatrix(6, 4, 22);
        double Loss(ReferenceMatrix q, ReferenceMatrix k, double logitScale) =>
            ContrastiveLossReference.Run(q, k, offset, Math.Exp(logitScale), smoothing, gradients: false).Loss;
        CrossEntropyReference result = ContrastiveLossReference.Run(queries, keys, offset, Math.Exp(LogitScale), smoothing, gradients: true);
        Assert.Multiple(() =>
        {
            Expect.Gradient(result.GradQueries.Elements, CentralDifference.Of(at => Loss(at, keys, LogitScale), queries), CentralDifference.Tolerance, "dq");
            Expect.Gradient(result.GradKeys.Elements, CentralDifference.Of(at => Loss(queries, at, LogitScale), keys), CentralDifference.Tolerance, "dk");
            Expect.LogitScaleGradient(
                result.GradLogitScale, CentralDifference.Of(at => Loss(queries, keys, at), LogitScale), result.Loss, CentralDifference.Tolerance);
        });
    }

    [TestCase(1e4)]
    [TestCase(1e130)]
    public void Large_logits_stay_finite(double scale)
    {
        ReferenceMatrix rows = L2NormalizeReference.Forward(Batch.RandomMatrix(4, 3, 23));
        CrossEntropyReference result = ContrastiveLossReference.Run(rows, rows, 0, scale, 0.0, gradients: true);
        Assert.Multiple(() =>
        {
            Assert.That(result.Loss, Is.Zero, "every row is nearest to itself by far");
            Assert.That(result.GradQueries.Elements, Is.All.Matches<double>(double.IsFinite));
        });
    }
}
