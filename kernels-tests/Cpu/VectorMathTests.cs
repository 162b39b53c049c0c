// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

[Category(InstructionSets.Simd)]
public unsafe class VectorMathTests
{
    [Test]
    public void Exp_is_within_two_ulp_over_the_whole_range()
    {
        int step = TestLength.Pick(50_021, 101);                   // odd, so that it meets all kinds of mantissa
        List<float> inputs = [];
        for (long bits = 0; bits <= uint.MaxValue; bits += step)
        {
            float x = BitConverter.UInt32BitsToSingle((uint)bits);
            if (!float.IsNaN(x))
            {
                inputs.Add(x);
            }
        }

        foreach (float x in new[] { 0.0f, -0.0f, 88.722839f, 88.72283f, -87.33654f, -103.97f, -103.98f, -104.5f, 1e-30f, -1e-30f, float.MaxValue })
        {
            inputs.Add(x);
        }

        float[] given = [.. inputs];
        float[] seen = new float[given.Length];
        VectorMath.Exp(given, seen);
        for (int i = 0; i < given.Length; i++)
        {
            double wanted = Math.Exp(given[i]);
            if (wanted > float.MaxValue * (1.0 + 3e-8))
            {
                Assert.That(seen[i], Is.EqualTo(float.PositiveInfinity), $"exp({given[i]})");
                continue;
            }

            float rounded = Math.Max((float)wanted, 1e-38f);
            double ulp = (float.IsInfinity(rounded) ? float.MaxValue : rounded) - MathF.BitDecrement(rounded);
            if (!(Math.Abs(seen[i] - wanted) <= 2.0 * ulp))
            {
                Assert.Fail($"exp({given[i]:R}) = {seen[i]:R}, not {wanted:R} within 2 ulp");
            }
        }
    }

    [Test]
    public void Exp_of_infinities_and_nan()
    {
        float[] given = new float[40];
        Array.Fill(given, float.NaN);
        given[3] = float.NegativeInfinity;
        given[17] = float.PositiveInfinity;
        given[39] = float.NegativeInfinity;
        float[] seen = new float[40];
        VectorMath.Exp(given, seen);
        for (int i = 0; i < given.Length; i++)
        {
            Assert.That(seen[i], Is.EqualTo(MathF.Exp(given[i])), $"exp({given[i]})");
        }
    }

    [Test]
    public void ExpSum_and_Max_hold_for_every_length_up_to_the_end_of_memory([Range(1, 35)] int count)
    {
        Random random = new(count);
        using GuardedMemory x = new(count);
        using GuardedMemory y = new(count);
        for (int i = 0; i < count; i++)
        {
            x.Span[i] = (random.NextSingle() * 20.0f) - 10.0f;
        }

        float largest = VectorMath.Max(x.Pointer, count);
        Assert.That(largest, Is.EqualTo(x.Span.ToArray().Max()));
        float sum = VectorMath.ExpSum(x.Pointer, 3.0f, 3.0f * largest, y.Pointer, count);
        double wanted = 0.0;
        for (int i = 0; i < count; i++)
        {
            double term = Math.Exp(3.0 * x.Span[i] - (double)(3.0f * largest));
            Assert.That(y.Span[i], Is.EqualTo(term).Within(6e-6 * term + 1e-44));    // 60 in the argument: 4 ulp of 1e-6 there
            wanted += term;
        }

        Assert.That(sum, Is.EqualTo(wanted).Within(1e-5 * wanted));
    }

    [Test]
    public void Exp_may_write_over_its_input()
    {
        float[] x = [1.0f, -2.0f, 0.5f];
        VectorMath.Exp(x, x);
        Assert.That(x, Is.EqualTo(new[] { MathF.Exp(1.0f), MathF.Exp(-2.0f), MathF.Exp(0.5f) }).Within(2).Ulps);
    }
}
