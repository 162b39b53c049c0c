// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The public face: float32 results against the reference, extremes, and refusals that write nothing.</summary>
internal sealed class L2NormalizeTests
{
    private static readonly (int Rows, int Columns)[] s_shapes = [(0, 3), (3, 0), (1, 1), (2, 3), (5, 17), (3, 64), (7, 515)];

    [Test]
    public void Equals_the_reference([ValueSource(nameof(s_shapes))] (int Rows, int Columns) shape)
    {
        float[] x = Batch.Single(Batch.RandomMatrix(shape.Rows, shape.Columns, 31).Elements);
        float[] gradY = Batch.Single(Batch.RandomMatrix(shape.Rows, shape.Columns, 32).Elements);
        float[] y = Poisoned(x.Length);
        float[] gradX = Poisoned(x.Length);
        L2Normalize.Forward(new(x, shape.Rows, shape.Columns), new(y, shape.Rows, shape.Columns));
        L2Normalize.Backward(new(x, shape.Rows, shape.Columns), new(gradY, shape.Rows, shape.Columns), new(gradX, shape.Rows, shape.Columns));

        ReferenceMatrix wide = new(Batch.Widen(x), shape.Rows, shape.Columns);
        ReferenceMatrix expected = L2NormalizeReference.Forward(wide);
        ReferenceMatrix expectedGrad = L2NormalizeReference.Backward(wide, expected, new(Batch.Widen(gradY), shape.Rows, shape.Columns));
        Assert.Multiple(() =>
        {
            Expect.Gradient(Batch.Widen(y), expected.Elements, 1e-6, "y");
            Expect.Gradient(Batch.Widen(gradX), expectedGrad.Elements, 1e-5, "dx");
        });
    }

    [TestCase(1e30f)]
    [TestCase(3e38f)]
    [TestCase(1e-11f)]
    public void Unit_rows_at_any_scale(float scale)
    {
        float[] x = [scale, -scale, scale, scale];
        float[] y = new float[4];
        L2Normalize.Forward(new(x, 1, 4), new(y, 1, 4));
        Assert.That(y, Is.EqualTo(new[] { 0.5f, -0.5f, 0.5f, 0.5f }).Within(1e-6f));
    }

    [Test]
    public void Zero_and_tiny_rows_get_no_gradient_and_large_gradients_are_clamped()
    {
        float[] x = [0f, 0f, 1e-45f, 0f, 1e-11f, 0f];
        float[] y = Poisoned(6);
        float[] gradX = Poisoned(6);
        L2Normalize.Forward(new(x, 3, 2), new(y, 3, 2));
        L2Normalize.Backward(new(x, 3, 2), new(new float[] { 1f, 1f, 1f, 1f, 0f, 1e30f }, 3, 2), new(gradX, 3, 2));
        Assert.Multiple(() =>
        {
            Assert.That(y[..4], Is.All.EqualTo(0f).Within(1e-30f));
            Assert.That(y[4..], Is.EqualTo(new[] { 1f, 0f }).Within(1e-6f));
            Assert.That(gradX, Is.EqualTo(new[] { 0f, 0f, 0f, 0f, 0f, float.MaxValue }));
        });
    }

    [TestCase(float.NaN, "NaN")]
    [TestCase(float.PositiveInfinity, "Infinity")]
    [TestCase(float.NegativeInfinity, "-Infinity")]
    public void Non_finite_input_is_named_and_nothing_written(float bad, string shown)
    {
        float[] good = [1f, 2f, 3f, 4f, 5f, 6f];
        float[] x = [1f, 2f, 3f, 4f, bad, 6f];
        float[] y = [7f, 7f, 7f, 7f, 7f, 7f];
        Assert.Multiple(() =>
        {
            Assert.That(
                () => L2Normalize.Forward(new(x, 2, 3), new(y, 2, 3)),
                Throws.ArgumentException.With.Message.StartsWith($"x holds {shown} at row 1, column 1"));
            Assert.That(
                () => L2Normalize.Backward(new(x, 2, 3), new(good, 2, 3), new(y, 2, 3)),
                Throws.ArgumentException.With.Message.StartsWith($"x holds {shown} at row 1, column 1"));
            Assert.That(
                () => L2Normalize.Backward(new(good, 2, 3), new(x, 2, 3), new(y, 2, 3)),
                Throws.ArgumentException.With.Message.StartsWith($"gradY holds {shown} at row 1, column 1"));
            Assert.That(y, Is.All.EqualTo(7f));
        });
    }

    [Test]
    public void Shapes_and_overlap_are_checked()
    {
        float[] x = new float[6];
        float[] other = new float[6];
        Assert.Multiple(() =>
        {
            Assert.That(() => L2Normalize.Forward(new(x, 2, 3), new(other, 3, 2)), Throws.ArgumentException.With.Message.Contains("3 x 2").And.Message.Contains("2 x 3"));
            Assert.That(() => L2Normalize.Forward(new(x, 2, 3), new(x, 2, 3)), Throws.ArgumentException.With.Message.Contains("y overlaps x"));
            Assert.That(() => L2Normalize.Backward(new(x, 2, 3), new(other, 2, 3), new(other, 2, 3)), Throws.ArgumentException.With.Message.Contains("gradX overlaps gradY"));
            Assert.That(() => L2Normalize.Backward(new(x, 2, 3), new(other, 2, 2), new(new float[6], 2, 3)), Throws.ArgumentException.With.Message.Contains("2 x 2"));
        });
    }

    private static float[] Poisoned(int length)
    {
        float[] values = new float[length];
        Array.Fill(values, float.NaN);
        return values;
    }
}
