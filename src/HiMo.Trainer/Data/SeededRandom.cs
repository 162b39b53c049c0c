// SPDX-License-Identifier: Apache-2.0
using System.Numerics;

namespace HiMo.Trainer;

/// <summary>
/// Random numbers whose sequence is part of the product: the same seed gives the same data on every machine and every version of
/// .NET, which <see cref="Random"/> does not promise. xoshiro256**, seeded by SplitMix64.
/// Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators" (2021).
/// </summary>
internal sealed class SeededRandom
{
    private ulong _a;
    private ulong _b;
    private ulong _c;
    private ulong _d;

    /// <summary>An independent sequence for every combination of parts, for example (seed, epoch, index).</summary>
    /// <param name="parts">What the sequence is a function of; order matters.</param>
    public SeededRandom(params ReadOnlySpan<long> parts)
    {
        ulong state = 0x243F6A8885A308D3; // digits of pi: any constant does
        foreach (long part in parts)
        {
            state = Mix(state + (ulong)part);
        }

        _a = Mix(state += Golden);
        _b = Mix(state += Golden);
        _c = Mix(state += Golden);
        _d = Mix(state + Golden);
    }

    private static ulong Golden => 0x9E3779B97F4A7C15;

    /// <summary>A uniform value in [0, 1) with 53 random bits.</summary>
    public double NextDouble() => (Next() >> 11) * (1.0 / (1UL << 53));

    /// <summary>A uniform value from <paramref name="low"/> to <paramref name="high"/> - 1, without bias.</summary>
    /// <param name="low">Smallest value.</param>
    /// <param name="high">One more than the largest; above <paramref name="low"/>.</param>
    public int Next(int low, int high)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(high, low);
        ulong range = (ulong)((long)high - low);

        // Lemire's multiplication: the few products at the bottom that would favour some values are drawn again.
        ulong threshold = unchecked(0UL - range) % range;
        while (true)
        {
            ulong top = Math.BigMul(Next(), range, out ulong bottom);
            if (bottom >= threshold)
            {
                return (int)(low + (long)top);
            }
        }
    }

    /// <summary>A Poisson variate by multiplication of uniforms, fit for small means.</summary>
    /// <param name="mean">The mean, from 0 to 100.</param>
    public int NextPoisson(double mean)
    {
        double limit = Math.Exp(-mean);
        int count = 0;
        for (double product = NextDouble(); product > limit; product *= NextDouble())
        {
            count++;
        }

        return count;
    }

    /// <summary>A standard normal variate (Box and Muller; one of the pair is thrown away).</summary>
    public double NextNormal() => Math.Sqrt(-2.0 * Math.Log(1.0 - NextDouble())) * Math.Cos(2.0 * Math.PI * NextDouble());

    /// <summary>The numbers from 0 to <paramref name="count"/> - 1 in random order (Fisher and Yates).</summary>
    /// <param name="count">How many.</param>
    public int[] Permutation(int count)
    {
        int[] order = new int[count];
        for (int i = 0; i < count; i++)
        {
            int j = Next(0, i + 1);
            order[i] = order[j];
            order[j] = i;
        }

        return order;
    }

    private static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }

    private ulong Next()
    {
        ulong result = BitOperations.RotateLeft(_b * 5, 7) * 9;
        ulong shifted = _b << 17;
        _c ^= _a;
        _d ^= _b;
        _b ^= _c;
        _a ^= _d;
        _c ^= shifted;
        _d = BitOperations.RotateLeft(_d, 45);
        return result;
    }
}
