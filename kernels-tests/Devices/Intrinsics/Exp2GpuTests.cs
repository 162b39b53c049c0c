// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>PTX ISA, ex2.approx.ftz: a relative error of 2^-22, subnormal results are zeros.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class Exp2GpuTests
{
    private const float Infinity = float.PositiveInfinity;

    [Test]
    public void Numbers_are_near_the_power()
    {
        Random random = new(1);
        float[] x = [0.0f, 1.0f, -1.0f, 0.5f, 10.0f, -126.0f, -125.99f, 127.0f, 127.999f, 1e-40f, -1e-10f, .. Enumerable.Range(0, 2000).Select(_ => (random.NextSingle() * 253.9f) - 126.0f)];
        float[] y = IntrinsicRun.Each(Kernel, x);
        for (int i = 0; i < x.Length; i++)
        {
            double exact = Math.Pow(2.0, x[i]);
            Expect.AtMost(Math.Abs(y[i] - exact) / exact, Math.Pow(2.0, -22), $"error of 2^{x[i]:R}");
        }
    }

    [Test]
    public void Ends_are_zero_and_infinite()
    {
        float[] small = [-126.0001f, -127.0f, -149.0f, -150.0f, -1e9f, float.MinValue, -Infinity];
        Assert.That(IntrinsicRun.Each(Kernel, small).Select(BitConverter.SingleToUInt32Bits), Is.All.Zero, "a subnormal result, or less, is +0");
        Assert.That(IntrinsicRun.Each(Kernel, [128.0f, 1e9f, float.MaxValue, Infinity]), Is.All.EqualTo(Infinity));
        Assert.That(IntrinsicRun.Each(Kernel, [float.NaN]), Is.All.NaN);
    }

    internal static void Kernel(WordArguments p)
    {
        for (int i = Group.IdxX; i < p.Inputs.IntLength; i += Group.DimX)
        {
            p.Outputs[i] = ILGPU.Interop.FloatAsInt(Exp2.Approximate(ILGPU.Interop.IntAsFloat(p.Inputs[i])));
        }
    }
}
