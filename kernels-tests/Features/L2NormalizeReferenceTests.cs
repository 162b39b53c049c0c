// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class L2NormalizeReferenceTests
{
    [Test]
    public void Three_four_five()
    {
        ReferenceMatrix y = L2NormalizeReference.Forward(new ReferenceMatrix([3.0, 4.0, 0.0, 0.0, 0.0, -2.0], 3, 2));
        Assert.That(y.Elements, Is.EqualTo(new[] { 0.6, 0.8, 0.0, 0.0, 0.0, -1.0 }).Within(1e-15));
    }

    [TestCase(1e30)]
    [TestCase(1e300)]
    [TestCase(1e-11)]
    public void Unit_rows_at_any_scale(double scale)
    {
        ReferenceMatrix x = new([3.0 * scale, 4.0 * scale], 1, 2);
        ReferenceMatrix y = L2NormalizeReference.Forward(x);
        ReferenceMatrix gradX = L2NormalizeReference.Backward(x, y, new ReferenceMatrix([1.0, 0.0], 1, 2));
        Assert.Multiple(() =>
        {
            Assert.That(y.Elements, Is.EqualTo(new[] { 0.6, 0.8 }).Within(1e-15));

            // (e1 - 0.6 y) / |x| = (0.64, -0.48) / (5 scale)
            Assert.That(gradX[0, 0] * scale, Is.EqualTo(0.64 / 5.0).Within(1e-15));
            Assert.That(gradX[0, 1] * scale, Is.EqualTo(-0.48 / 5.0).Within(1e-15));
        });
    }

    [TestCase(0.0, 0.0)]
    [TestCase(3e-13, 0.3)]
    [TestCase(5e-324, 5e-312)]
    public void Rows_at_the_floor_are_divided_by_it_and_get_no_gradient(double value, double expected)
    {
        ReferenceMatrix x = new([value], 1, 1);
        ReferenceMatrix y = L2NormalizeReference.Forward(x);
        Assert.Multiple(() =>
        {
            Assert.That(y.Elements[0], Is.EqualTo(expected).Within(1e-15));
            Assert.That(L2NormalizeReference.Backward(x, y, new ReferenceMatrix([7.0], 1, 1)).Elements, Is.All.Zero);
        });
    }

    [TestCase(1, 1)]
    [TestCase(4, 3)]
    [TestCase(2, 9)]
    public void Gradient_by_central_differences(int rows, int columns)
    {
        ReferenceMatrix x = Batch.RandomMatrix(rows, columns, 3);
        ReferenceMatrix weights = Batch.RandomMatrix(rows, columns, 4);
        double[] expected = CentralDifference.Of(at => CentralDifference.Contract(L2NormalizeReference.Forward(at), weights), x);
        Expect.Gradient(
            L2NormalizeReference.Backward(x, L2NormalizeReference.Forward(x), weights).Elements, expected, CentralDifference.Tolerance, "dx");
    }
}
