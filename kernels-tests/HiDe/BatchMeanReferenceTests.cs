// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class BatchMeanReferenceTests
{
    [Test]
    public void Mean_centre_and_back()
    {
        ReferenceMatrix x = new([1.0, 2.0, 3.0, 6.0], 2, 2);
        double[] mean = BatchMeanReference.Mean(x);
        ReferenceMatrix centered = BatchMeanReference.Center(x, mean);
        Assert.Multiple(() =>
        {
            Assert.That(mean, Is.EqualTo(new[] { 2.0, 4.0 }));
            Assert.That(centered.Elements, Is.EqualTo(new[] { -1.0, -2.0, 1.0, 2.0 }));
            Assert.That(BatchMeanReference.AddMean(centered, mean).Elements, Is.EqualTo(x.Elements));
        });
    }

    [TestCase(1, 4)]
    [TestCase(5, 3)]
    public void Gradient_by_central_differences(int rows, int columns)
    {
        ReferenceMatrix x = Batch.RandomMatrix(rows, columns, 5);
        ReferenceMatrix toCentered = Batch.RandomMatrix(rows, columns, 6);
        ReferenceMatrix toMean = Batch.RandomMatrix(1, columns, 7);
        double[] expected = CentralDifference.Of(
            at =>
            {
                double[] mean = BatchMeanReference.Mean(at);
                return CentralDifference.Contract(BatchMeanReference.Center(at, mean), toCentered)
                    + CentralDifference.Contract(new ReferenceMatrix(mean, 1, columns), toMean);
            },
            x);
        Expect.Gradient(BatchMeanReference.Backward(toCentered, toMean.Elements).Elements, expected, CentralDifference.Tolerance, "dx");
    }
}
