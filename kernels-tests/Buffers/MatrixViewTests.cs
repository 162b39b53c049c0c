// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class MatrixViewTests
{
    [Test]
    public void Views_share_the_callers_memory()
    {
        float[] memory = [1f, 2f, 3f, 4f, 5f, 6f, 7f];
        MatrixView view = new(memory, 2, 3);
        view.Row(1)[0] = 40f;
        ReadOnlyMatrixView readOnly = view;
        Assert.That(memory[3], Is.EqualTo(40f));
        Assert.That(readOnly.Row(1).ToArray(), Is.EqualTo(new[] { 40f, 5f, 6f }));
        Assert.That(readOnly.Elements.Length, Is.EqualTo(6), "what is beyond rows x columns is not part of the view");
        Assert.That(readOnly.Shape, Is.EqualTo(new MatrixShape(2, 3)));
        Assert.That(readOnly.Shape.ToString(), Is.EqualTo("2 x 3"));
    }

    [Test]
    public void Default_and_empty_views_are_empty()
    {
        Assert.That(default(MatrixView).IsEmpty);
        Assert.That(new ReadOnlyMatrixView([], 0, 5).IsEmpty);
        Assert.That(new ReadOnlyMatrixView([1f], 1, 1).IsEmpty, Is.False);
    }

    [TestCase(2, 4, "2 x 4 needs 8 elements, the span has 7")]
    [TestCase(-1, 2, "-1 x 2")]
    [TestCase(65536, 65536, "4294967296")]
    public void Sizes_are_checked(int rows, int columns, string message)
    {
        float[] memory = new float[7];
        Assert.That(() => new MatrixView(memory, rows, columns).Rows, Throws.ArgumentException.With.Message.Contains(message));
        Assert.That(() => new ReadOnlyMatrixView(memory, rows, columns).Rows, Throws.ArgumentException.With.Message.Contains(message));
    }

    [Test]
    public void Shapes_have_64_bit_lengths() => Assert.That(new MatrixShape(100_000, 100_000).Length, Is.EqualTo(10_000_000_000L));
}
