// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>x = high + low, of which the tf32 instructions see all but a bit.</summary>
internal sealed class MmaFragmentsTests
{
    [Test]
    public void The_split_is_exact()
    {
        IEnumerable<float> random = IntrinsicRun.RandomBits(20000).Select(BitConverter.UInt32BitsToSingle).Where(x => Math.Abs(x) is > 1e-30f and < 1e38f);
        foreach (float x in random.Concat([0.0f, -0.0f, 1.0f, 1.0f + (1.0f / 2048), -1.0f - (3.0f / 2048), 1.9999999f]))
        {
            (float high, float low) = Split(x);
            float unit = MathF.ScaleB(1.0f, x == 0.0f ? -149 : Math.ILogB(x) - 23);
            Assert.That(Seen(high), Is.EqualTo(high), $"high part of {x:R}");
            Assert.That((double)high + low, Is.EqualTo((double)x), $"sum of the parts of {x:R}");
            Expect.AtMost(Math.Abs((double)low), 4096.0 * unit, $"low part of {x:R}: high is the nearest");
            Expect.AtMost(Math.Abs((double)low - Seen(low)), unit, $"what of the low part of {x:R} is lost");
        }
    }

    [Test]
    public void The_high_part_of_a_tie_is_away_from_zero()
    {
        Assert.That(Split(1.0f + (1.0f / 2048)), Is.EqualTo((1.0f + (1.0f / 1024), -1.0f / 2048)));
        Assert.That(Split(-1.0f - (1.0f / 2048)), Is.EqualTo((-1.0f - (1.0f / 1024), 1.0f / 2048)));
    }

    [TestCase(0x7fc00000u)]
    [TestCase(0x7f800001u)]
    [TestCase(0xffffffffu)]
    [TestCase(0x7f800000u, Description = "infinity less itself")]
    public void What_is_not_finite_leaves_a_NaN(uint bits) => Assert.That(Seen(Split(BitConverter.UInt32BitsToSingle(bits)).Low), Is.NaN);

    [Test]
    public void Every_word_of_a_fragment_is_split_by_itself()
    {
        FragmentA a = new() { Upper = Four(0), Lower = Four(4) };
        FragmentA high = Tf32Split.High(a);
        Assert.That(Words(high.Upper, high.Lower), Is.EqualTo(Words(a.Upper, a.Lower).Select(Tf32Split.High)));
        FragmentA low = Tf32Split.Low(a, high);
        Assert.That(Words(low.Upper, low.Lower), Is.EqualTo(Words(a.Upper, a.Lower).Select(x => Split(x).Low)));

        FragmentPair pair = new() { B0 = Four(0), B1 = Four(4) };
        FragmentPair highPair = Tf32Split.High(pair);
        Assert.That(Words(highPair.B0, highPair.B1), Is.EqualTo(Words(pair.B0, pair.B1).Select(Tf32Split.High)));
        FragmentPair lowPair = Tf32Split.Low(pair, highPair);
        Assert.That(Words(lowPair.B0, lowPair.B1), Is.EqualTo(Words(pair.B0, pair.B1).Select(x => Split(x).Low)));

        FragmentB b = new() { B0 = Four(0), B1 = Four(4), B2 = Four(8), B3 = Four(12) };
        FragmentB highB = Tf32Split.High(b);
        Assert.That(Words(highB.B0, highB.B1, highB.B2, highB.B3), Is.EqualTo(Words(b.B0, b.B1, b.B2, b.B3).Select(Tf32Split.High)));
        FragmentB lowB = Tf32Split.Low(b, highB);
        Assert.That(Words(lowB.B0, lowB.B1, lowB.B2, lowB.B3), Is.EqualTo(Words(b.B0, b.B1, b.B2, b.B3).Select(x => Split(x).Low)));
    }

    private static (float High, float Low) Split(float x)
    {
        FragmentA a = default;
        a.Upper.X = x;
        FragmentA high = Tf32Split.High(a);
        return (high.Upper.X, Tf32Split.Low(a, high).Upper.X);
    }

    // What a tf32 instruction sees of a word.
    private static float Seen(float x) => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(x) & 0xffffe000u);

    private static Float4 Four(int first) => new() { X = MathF.Sin(first + 1), Y = MathF.Sin(first + 2), Z = MathF.Sin(first + 3), W = MathF.Sin(first + 4) };

    private static float[] Words(params Float4[] fours) => [.. fours.SelectMany(four => new[] { four.X, four.Y, four.Z, four.W })];
}
