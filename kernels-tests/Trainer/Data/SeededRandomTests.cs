// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class SeededRandomTests
{
    [Test]
    public void The_sequence_is_frozen()
    {
        // Data sets and runs are reproduced from their seeds: these values may never change. (An independent implementation gave them.)
        SeededRandom random = new(7, 3);
        int[] drawn = [.. Enumerable.Range(0, 8).Select(_ => random.Next(0, 1000))];
        Assert.That(drawn, Is.EqualTo(new[] { 334, 642, 644, 154, 717, 342, 366, 667 }));
    }

    [Test]
    public void Every_part_and_their_order_matter()
    {
        double[] firsts = [First(0), First(1), First(0, 0), First(1, 0), First(0, 1), First(1, 0, 0), First(-1)];
        Assert.That(firsts, Is.Unique);

        static double First(params long[] parts) => new SeededRandom(parts).NextDouble();
    }

    [Test]
    public void Bounded_values_are_uniform()
    {
        SeededRandom random = new(1);
        int[] counts = new int[7];
        for (int i = 0; i < 70_000; i++)
        {
            counts[random.Next(-3, 4) + 3]++;
        }

        // 10,000 expected, standard deviation 93: five of them.
        Assert.That(counts, Has.All.InRange(9_535, 10_465));
    }

    [Test]
    public void Poisson_and_normal_have_their_moments()
    {
        SeededRandom random = new(2);
        double[] counts = [.. Enumerable.Range(0, 40_000).Select(_ => (double)random.NextPoisson(1.5))];
        double[] normals = [.. Enumerable.Range(0, 40_000).Select(_ => random.NextNormal())];
        Assert.Multiple(() =>
        {
            // Five standard errors: sqrt(1.5 / 40,000) = 0.006 and sqrt(1 / 40,000) = 0.005; of the variances 0.014 and 0.007.
            Assert.That(counts.Average(), Is.EqualTo(1.5).Within(0.03));
            Assert.That(Variance(counts), Is.EqualTo(1.5).Within(0.07));
            Assert.That(normals.Average(), Is.EqualTo(0).Within(0.025));
            Assert.That(Variance(normals), Is.EqualTo(1).Within(0.035));
        });

        static double Variance(double[] values) => values.Average(value => value * value) - (values.Average() * values.Average());
    }

    [Test]
    public void A_permutation_holds_every_number_once()
    {
        int[] order = new SeededRandom(5).Permutation(1000);
        Assert.Multiple(() =>
        {
            Assert.That(order.Order(), Is.EqualTo(Enumerable.Range(0, 1000)));
            Assert.That(order, Is.Not.EqualTo(Enumerable.Range(0, 1000)));
            Assert.That(new SeededRandom(5).Permutation(0), Is.Empty);
        });
    }

    [Test]
    public void An_empty_range_is_refused() => Assert.That(() => new SeededRandom(1).Next(3, 3), Throws.TypeOf<ArgumentOutOfRangeException>());
}
