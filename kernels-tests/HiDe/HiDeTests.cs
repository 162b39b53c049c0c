// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The public face: groups against the reference one by one, and refusals that write nothing.</summary>
internal sealed class HiDeTests
{
    private static readonly (int Groups, int Rows, int Columns)[] s_shapes = [(1, 1, 1), (1, 2, 3), (3, 8, 5), (2, 5, 8), (4, 17, 16), (2, 16, 33), (1, 48, 64)];

    [Test]
    public void Every_group_equals_the_reference([ValueSource(nameof(s_shapes))] (int Groups, int Rows, int Columns) shape, [Values] BasisGradient basis)
    {
        const double Tau = 0.85;
        int all = shape.Groups * shape.Rows;
        ReferenceMatrix[] texts = [.. Enumerable.Range(0, shape.Groups).Select(group => UnitTexts(shape.Rows, shape.Columns, group + 1, Tau))];
        float[] x = [.. texts.SelectMany(group => Batch.Single(group.Elements))];
        float[] gradComponents = Batch.Single(Batch.RandomMatrix(all, shape.Columns, 41).Elements);
        float[] components = Poisoned(x.Length);
        float[] gradTexts = Poisoned(x.Length);
        using HiDe hide = new(Tau, basis);
        hide.Forward(new(x, all, shape.Columns), shape.Groups, new(components, all, shape.Columns));
        hide.Backward(new(x, all, shape.Columns), new(gradComponents, all, shape.Columns), new(gradTexts, all, shape.Columns));

        HiDeResult[] results = hide.Results.ToArray();
        Assert.That(results, Has.Length.EqualTo(shape.Groups));
        for (int group = 0; group < shape.Groups; group++)
        {
            int start = group * shape.Rows * shape.Columns;
            int length = shape.Rows * shape.Columns;
            ReferenceMatrix wide = new(Batch.Widen(x[start..(start + length)]), shape.Rows, shape.Columns);
            HiDeReferenceState state = HiDeReference.Forward(wide, Tau);
            ReferenceMatrix expected = HiDeReference.Backward(state, new(Batch.Widen(gradComponents[start..(start + length)]), shape.Rows, shape.Columns), basis);
            float[] spectrum = hide.Spectrum(group).ToArray();
            Assert.Multiple(() =>
            {
                Assert.That(results[group].M, Is.EqualTo(state.Result.M));
                Assert.That(results[group].Warnings, Is.EqualTo(state.Result.Warnings));
                Assert.That(results[group].ExplainedVariance, Is.EqualTo(state.Result.ExplainedVariance).Within(1e-5));
                Assert.That(results[group].RelativeGap, Is.EqualTo(state.Result.RelativeGap).Within(1e-5));
                Expect.Gradient(Batch.Widen(spectrum), state.Values, 1e-5, "spectrum");
                Expect.Gradient(Batch.Widen(components[start..(start + length)]), state.Components.Elements, 1e-4, "u'");
                Expect.Gradient(Batch.Widen(gradTexts[start..(start + length)]), expected.Elements, 1e-3, "dx"); // divided by gaps down to 1e-3
            });
        }
    }

    [Test]
    public void A_batch_of_groups_has_the_bits_of_a_loop_over_them([Values(6, 20)] int rows, [Values] BasisGradient basis)
    {
        const int Groups = 5;
        const int Columns = 12;
        float[] x = Batch.Single(UnitTexts(Groups * rows, Columns, 3, 0.9).Elements);
        float[] gradComponents = Batch.Single(Batch.RandomMatrix(Groups * rows, Columns, 4).Elements);
        float[] components = Poisoned(x.Length);
        float[] gradTexts = Poisoned(x.Length);
        using HiDe batched = new(0.8, basis, threads: 2);
        batched.Forward(new(x, Groups * rows, Columns), Groups, new(components, Groups * rows, Columns));
        batched.Backward(new(x, Groups * rows, Columns), new(gradComponents, Groups * rows, Columns), new(gradTexts, Groups * rows, Columns));
        using HiDe single = new(0.8, basis, threads: 2);
        for (int group = 0; group < Groups; group++)
        {
            Range part = (group * rows * Columns)..((group + 1) * rows * Columns);
            float[] own = Poisoned(rows * Columns);
            float[] ownGradient = Poisoned(rows * Columns);
            single.Forward(new(x.AsSpan(part), rows, Columns), 1, new(own, rows, Columns));
            single.Backward(new(x.AsSpan(part), rows, Columns), new(gradComponents.AsSpan(part), rows, Columns), new(ownGradient, rows, Columns));
            Assert.Multiple(() =>
            {
                Assert.That(components[part], Is.EqualTo(own), $"u' of group {group}");
                Assert.That(gradTexts[part], Is.EqualTo(ownGradient), $"gradient of group {group}");
                Assert.That(batched.Results[group], Is.EqualTo(single.Results[0]));
            });
        }
    }

    [Test]
    public void Shapes_may_change_from_call_to_call()
    {
        using HiDe hide = new(0.5);
        foreach ((int groups, int rows, int columns) in s_shapes.Concat(s_shapes.Reverse()))
        {
            float[] x = Batch.Single(UnitTexts(groups * rows, columns, 2, 0.5).Elements);
            float[] components = new float[x.Length];
            hide.Forward(new(x, groups * rows, columns), groups, new(components, groups * rows, columns));
            Assert.That(hide.Results.Length, Is.EqualTo(groups));
            Assert.That(hide.Spectrum(groups - 1).Length, Is.EqualTo(Math.Min(rows, columns)));
        }
    }

    [Test]
    public void Degenerate_groups_stay_finite([Values] BasisGradient basis, [Values(0.5, 0.9, 1.0)] double tau, [Values(3, 12)] int columns)
    {
        const int Rows = 6;
        float[] pattern = Batch.Single(L2NormalizeReference.Forward(Batch.RandomMatrix(Rows, columns, 91)).Elements);
        float[] row = pattern[..columns];
        float[] other = pattern[columns..(2 * columns)];
        float[] zero = new float[columns];
        float[] tiny = [.. row.Select(value => value * 1e-30f)];
        float[][][] groups =
        [
            [zero, zero, zero, zero, zero, zero],
            [row, row, row, row, row, row],
            [row, other, row, other, row, other],
            [row, zero, zero, zero, zero, zero],
            [tiny, tiny, zero, zero, tiny, tiny],
            [row, [.. row.Select(value => -value)], other, [.. other.Select(value => -value)], zero, zero],
        ];
        float[] x = [.. groups.SelectMany(group => group).SelectMany(each => each)];
        int all = groups.Length * Rows;
        float[] components = Poisoned(x.Length);
        float[] gradTexts = Poisoned(x.Length);
        using HiDe hide = new(tau, basis, threads: 1);
        hide.Forward(new(x, all, columns), groups.Length, new(components, all, columns));
        hide.Backward(new(x, all, columns), new(Batch.Single(Batch.RandomMatrix(all, columns, 92).Elements), all, columns), new(gradTexts, all, columns));
        HiDeResult[] results = hide.Results.ToArray();
        Assert.Multiple(() =>
        {
            Assert.That(components, Is.All.Matches<float>(float.IsFinite));
            Assert.That(gradTexts, Is.All.Matches<float>(float.IsFinite));
            Assert.That(results.Select(result => result.M), Is.All.InRange(1, Math.Min(Rows, columns)));
            Assert.That(results.Select(result => result.ExplainedVariance), Is.All.InRange(0.0, 1.0 + 1e-6));
            Expect.Gradient(Batch.Widen(components[..(3 * Rows * columns)]), Batch.Widen(x[..(3 * Rows * columns)]), 1e-5, "rank 0 and 1 are rebuilt");
        });
    }

    [TestCase(0.0)]
    [TestCase(1.5)]
    [TestCase(double.NaN)]
    public void Bad_tau_is_refused(double tau) =>
        Assert.That(() => new HiDe(tau), Throws.ArgumentException.With.Message.Contains(FormattableString.Invariant($"tau must be in (0, 1]; it is {tau}")));

    [Test]
    public void Bad_calls_are_refused_and_nothing_is_written()
    {
        float[] x = [1f, 0f, 0f, 1f, 1f, 1f, 2f, 1f];
        float[] bad = [1f, 0f, 0f, 1f, 1f, 1f, float.NaN, 1f];
        float[] y = [7f, 7f, 7f, 7f, 7f, 7f, 7f, 7f];
        HiDe hide = new(threads: 1);
        Assert.Multiple(() =>
        {
            Assert.That(() => new HiDe(threads: -1), Throws.ArgumentException.With.Message.Contains("-1"));
            Assert.That(() => new HiDe(basisGradient: (BasisGradient)7), Throws.ArgumentException.With.Message.Contains("7"));
            Assert.That(() => hide.Backward(new(x, 4, 2), new(x, 4, 2), new(y, 4, 2)), Throws.InvalidOperationException.With.Message.Contains("Forward"));
            Assert.That(() => hide.Spectrum(0).Length, Throws.ArgumentException);
            Assert.That(() => hide.Forward(new(x, 4, 2), 3, new(y, 4, 2)), Throws.ArgumentException.With.Message.Contains("multiple of 3").And.Message.Contains("4 x 2"));
            Assert.That(() => hide.Forward(new(x, 4, 2), 0, new(y, 4, 2)), Throws.ArgumentException.With.Message.Contains("groups must be 1 or more; it is 0"));
            Assert.That(() => hide.Forward(new(x, 0, 2), 1, new(y, 0, 2)), Throws.ArgumentException.With.Message.Contains("0 x 2"));
            Assert.That(() => hide.Forward(new(x, 4, 2), 2, new(y, 2, 4)), Throws.ArgumentException.With.Message.Contains("2 x 4"));
            Assert.That(() => hide.Forward(new(x, 4, 2), 2, new(x, 4, 2)), Throws.ArgumentException.With.Message.Contains("overlaps"));
            Assert.That(() => hide.Forward(new(bad, 4, 2), 2, new(y, 4, 2)), Throws.ArgumentException.With.Message.StartsWith("texts holds NaN at row 3, column 0"));
            Assert.That(y, Is.All.EqualTo(7f));
        });

        hide.Forward(new(x, 4, 2), 2, new(new float[8], 4, 2));
        Assert.Multiple(() =>
        {
            Assert.That(() => hide.Spectrum(2).Length, Throws.ArgumentException.With.Message.Contains("from 0 to 1"));
            Assert.That(() => hide.Backward(new(x, 2, 4), new(x, 4, 2), new(y, 4, 2)), Throws.ArgumentException.With.Message.Contains("last forward pass"));
            Assert.That(() => hide.Backward(new(x, 4, 2), new(bad, 4, 2), new(y, 4, 2)), Throws.ArgumentException.With.Message.StartsWith("gradComponents holds NaN at row 3, column 0"));
            Assert.That(y, Is.All.EqualTo(7f));
        });

        hide.Dispose();
        Assert.That(() => hide.Forward(new(x, 4, 2), 2, new(y, 4, 2)), Throws.TypeOf<ObjectDisposedException>());
    }

    private static ReferenceMatrix UnitTexts(int rows, int columns, int seed, double tau) =>
        L2NormalizeReference.Forward(Batch.Create(rows, columns, seed, tau).Texts);

    private static float[] Poisoned(int length)
    {
        float[] values = new float[length];
        Array.Fill(values, float.NaN);
        return values;
    }
}
