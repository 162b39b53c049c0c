// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>PTX ISA, cvt.rna.tf32, cvt.rn.bf16x2 and mul.rn: formats, ties, infinities, NaN, subnormal numbers.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class RoundingGpuTests
{
    private static readonly (uint From, uint To)[] s_tf32 =
    [
        (0x3f800000, 0x3f800000), (0xc0490000, 0xc0490000), (0x00000000, 0x00000000), (0x80000000, 0x80000000), // exact
        (0x3f801000, 0x3f802000), (0x3f803000, 0x3f804000), (0xbf801000, 0xbf802000), (0xbf803000, 0xbf804000), // ties, away from zero behind an even number and an odd one
        (0x3f800fff, 0x3f800000), (0x3f801001, 0x3f802000), (0xbf800fff, 0xbf800000), (0xbf801001, 0xbf802000), // beside a tie
        (0x3ffff000, 0x40000000), (0x7f7fefff, 0x7f7fe000), (0x7f7ff000, 0x7f800000), (0xff7fffff, 0xff800000), // into the next power of two, and past the largest number
        (0x7f800000, 0x7f800000), (0xff800000, 0xff800000),
        (0x00000fff, 0x00000000), (0x00001000, 0x00002000), (0x80001000, 0x80002000), (0x007fefff, 0x007fe000), (0x007ff000, 0x00800000), // subnormal
    ];

    private static readonly (uint From, uint To)[] s_bf16 =
    [
        (0x3f800000, 0x3f80), (0xc0490000, 0xc049), (0x00000000, 0x0000), (0x80000000, 0x8000),
        (0x3f808000, 0x3f80), (0x3f818000, 0x3f82), (0xbf808000, 0xbf80), (0xbf818000, 0xbf82), // ties, to even
        (0x3f807fff, 0x3f80), (0x3f808001, 0x3f81), (0xbf817fff, 0xbf81), (0xbf818001, 0xbf82),
        (0x3fff8000, 0x4000), (0x7f7f7fff, 0x7f7f), (0x7f7f8000, 0x7f80), (0xff7fffff, 0xff80),
        (0x7f800000, 0x7f80), (0xff800000, 0xff80),
        (0x00008000, 0x0000), (0x00008001, 0x0001), (0x00018000, 0x0002), (0x80018000, 0x8002), (0x007f7fff, 0x007f), (0x007f8000, 0x0080),
    ];

    private static readonly uint[] s_nan = [0x7fc00000, 0xffc00000, 0x7f800001, 0x7f801000, 0xffffffff, 0x7fffffff];

    [Test]
    public void Tf32_is_the_nearest_number_with_ties_away_from_zero()
    {
        Assert.That(IntrinsicRun.Each(Tf32Kernel, [.. s_tf32.Select(each => each.From)]), Is.EqualTo(s_tf32.Select(each => each.To)));
        uint[] random = IntrinsicRun.RandomBits(2000);
        Assert.That(IntrinsicRun.Each(Tf32Kernel, random), Is.EqualTo(random.Select(bits => Nearest(bits, explicitBits: 10, MidpointRounding.AwayFromZero))));
    }

    [Test]
    public void Bf16_is_the_nearest_number_with_ties_to_even()
    {
        Assert.That(IntrinsicRun.Each(Bf16Kernel, [.. s_bf16.Select(each => each.From)]), Is.EqualTo(s_bf16.Select(each => each.To)));
        uint[] random = IntrinsicRun.RandomBits(2000);
        Assert.That(IntrinsicRun.Each(Bf16Kernel, random), Is.EqualTo(random.Select(bits => Nearest(bits, explicitBits: 7, MidpointRounding.ToEven) >> 16)));
    }

    [Test]
    public void A_NaN_stays_one()
    {
        Assert.That(IntrinsicRun.Each(Tf32Kernel, s_nan).Select(bits => float.IsNaN(BitConverter.UInt32BitsToSingle(bits & 0xffffe000))), Is.All.True, "in what the matrix instructions see of it");
        Assert.That(IntrinsicRun.Each(Bf16Kernel, s_nan).Select(bits => float.IsNaN(BitConverter.UInt32BitsToSingle(bits << 16))), Is.All.True);
    }

    [Test]
    public void The_first_number_of_a_pair_is_in_the_lower_half() =>
        Assert.That(IntrinsicRun.Words(PairKernel, [0x3f800000, 0xc0000000], 1), Is.EqualTo(new[] { 0xc0003f80 }));

    [Test]
    public void A_product_is_rounded_before_it_is_subtracted_from()
    {
        // (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24, half a unit above what float32 has.
        float factor = 1.0f + (1.0f / 4096), product = 1.0f + (1.0f / 2048);
        uint[] inputs = [BitConverter.SingleToUInt32Bits(factor), BitConverter.SingleToUInt32Bits(factor), BitConverter.SingleToUInt32Bits(product)];
        Assert.That(MathF.FusedMultiplyAdd(factor, factor, -product), Is.EqualTo(MathF.Pow(2.0f, -24)));
        Assert.That(IntrinsicRun.Words(ProductKernel, inputs, 1), Is.EqualTo(new[] { 0u }));
    }

    internal static void Tf32Kernel(WordArguments p)
    {
        for (int i = Group.IdxX; i < p.Inputs.IntLength; i += Group.DimX)
        {
            p.Outputs[i] = Rounding.ToTf32(ILGPU.Interop.IntAsFloat(p.Inputs[i]));
        }
    }

    // The number in both halves, which must be the same.
    internal static void Bf16Kernel(WordArguments p)
    {
        for (int i = Group.IdxX; i < p.Inputs.IntLength; i += Group.DimX)
        {
            float value = ILGPU.Interop.IntAsFloat(p.Inputs[i]);
            uint pair = Rounding.ToBf16Pair(value, value);
            p.Outputs[i] = pair >> 16 == (pair & 0xffffu) ? pair & 0xffffu : pair;
        }
    }

    internal static void PairKernel(WordArguments p) => p.Outputs[0] = Rounding.ToBf16Pair(ILGPU.Interop.IntAsFloat(p.Inputs[0]), ILGPU.Interop.IntAsFloat(p.Inputs[1]));

    internal static void ProductKernel(WordArguments p) =>
        p.Outputs[0] = ILGPU.Interop.FloatAsInt(Rounding.Product(ILGPU.Interop.IntAsFloat(p.Inputs[0]), ILGPU.Interop.IntAsFloat(p.Inputs[1])) - ILGPU.Interop.IntAsFloat(p.Inputs[2]));

    // By the definition: a whole multiple of the format's distance at the number, which is that of the smallest normal numbers below them.
    private static uint Nearest(uint bits, int explicitBits, MidpointRounding ties)
    {
        double value = BitConverter.UInt32BitsToSingle(bits);
        double distance = Math.ScaleB(1.0, Math.Max(value == 0.0 ? -126 : Math.ILogB(value), -126) - explicitBits);
        double rounded = Math.Round(value / distance, ties) * distance;
        return BitConverter.SingleToUInt32Bits((float)Math.CopySign(rounded, value)); // float32 has all of it; what is too large is infinite
    }
}
