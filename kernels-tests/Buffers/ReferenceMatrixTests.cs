// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class ReferenceMatrixTests
{
    [Test]
    public void Product_by_hand()
    {
        ReferenceMatrix a = new([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3);
        Assert.Multiple(() =>
        {
            Assert.That((a * a.T).Elements, Is.EqualTo(new[] { 14.0, 32.0, 32.0, 77.0 }));
            Assert.That((a.T * a).Elements, Is.EqualTo(new[] { 17.0, 22.0, 27.0, 22.0, 29.0, 36.0, 27.0, 36.0, 45.0 }));
            Assert.That((2.0 * a).Elements, Is.EqualTo(new[] { 2.0, 4.0, 6.0, 8.0, 10.0, 12.0 }));
            Assert.That(() => a * a, Throws.ArgumentException.With.Message.Contains("2 x 3"));
        });
    }

    /// <summary>Sizes around the blocks of 4, 32 and 64 that the product works in, alone and with several threads.</summary>
    [TestCase(1, 1, 1)]
    [TestCase(3, 5, 7)]
    [TestCase(33, 65, 9)]
    [TestCase(97, 130, 71)]
    public void Product_equals_the_sum(int m, int k, int n)
    {
        ReferenceMatrix a = Batch.RandomMatrix(m, k, 1);
        ReferenceMatrix b = Batch.RandomMatrix(k, n, 2);
        ReferenceMatrix product = a * b;
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double sum = 0.0;
                for (int p = 0; p < k; p++)
                {
                    sum += a[i, p] * b[p, j];
                }

                Assert.That(product[i, j], Is.EqualTo(sum).Within(1e-13 * k));
            }
        }
    }

    [Test]
    public void Narrowing_clamps_to_float32()
    {
        float[] narrow = new float[3];
        new ReferenceMatrix([1e300, -1e300, 0.1], 1, 3).Narrow(new MatrixView(narrow, 1, 3));
        Assert.That(narrow, Is.EqualTo(new[] { float.MaxValue, -float.MaxValue, 0.1f }));
    }
}
