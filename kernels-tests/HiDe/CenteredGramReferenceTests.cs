// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class CenteredGramReferenceTests
{
    [Test]
    public void Gram_and_covariance_by_hand()
    {
        ReferenceMatrix x = new([1.0, 2.0, 3.0, -4.0, 0.0, 1.0], 2, 3);
        Assert.Multiple(() =>
        {
            Assert.That(CenteredGramReference.Forward(x, GramSide.Gram).Elements, Is.EqualTo(new[] { 14.0, -1.0, -1.0, 17.0 }));
            Assert.That(
                CenteredGramReference.Forward(x, GramSide.Covariance).Elements,
                Is.EqualTo(new[] { 17.0, 2.0, -1.0, 2.0, 4.0, 6.0, -1.0, 6.0, 10.0 }));
        });
    }

    [TestCase(3, 4, ExpectedResult = GramSide.Gram)]
    [TestCase(4, 4, ExpectedResult = GramSide.Gram)]
    [TestCase(5, 4, ExpectedResult = GramSide.Covariance)]
    public object The_smaller_side_is_taken(int rows, int columns) => CenteredGramReference.Side(rows, columns);
}
