// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>PTX ISA, rcp.approx.ftz and rsqrt.approx.ftz: about a unit of the last place, subnormal numbers and results are zeros.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class ReciprocalGpuTests
{
    private const float Infinity = float.PositiveInfinity;
    private const float Subnormal = 1.1e-38f;
    private static readonly double s_units = TestGpu.IsReal ? 2.0 : 1.0;

    [Test]
    public void Reciprocals_are_a_unit_from_the_exact_ones()
    {
        float[] x = [1.0f, -1.0f, 3.0f, 1.17549435e-38f, -8.5e37f, 8.5070587e37f, .. Numbers().Where(value => Math.Abs(value) < 8.5e37)];
        Check(x, IntrinsicRun.Each(Kernel, x), value => 1.0 / value);
    }

    [Test]
    public void Roots_reciprocals_are_a_unit_from_the_exact_ones()
    {
        float[] x = [1.0f, 2.0f, 4.0f, 1.17549435e-38f, float.MaxValue, .. Numbers().Select(Math.Abs)];
        Check(x, IntrinsicRun.Each(RootKernel, x), value => 1.0 / Math.Sqrt(value));
    }

    [Test]
    public void Ends_are_zero_and_infinite_with_the_sign()
    {
        float[] reciprocals = IntrinsicRun.Each(Kernel, [0.0f, -0.0f, Subnormal, -Subnormal, Infinity, -Infinity, 1.8e38f, -1.8e38f]);
        Assert.That(reciprocals.Select(BitConverter.SingleToUInt32Bits), Is.EqualTo(new[] { Infinity, -Infinity, Infinity, -Infinity, 0.0f, -0.0f, 0.0f, -0.0f }.Select(BitConverter.SingleToUInt32Bits)));
        float[] roots = IntrinsicRun.Each(RootKernel, [0.0f, -0.0f, Subnormal, -Subnormal, Infinity]);
        Assert.That(roots, Is.EqualTo(new[] { Infinity, -Infinity, Infinity, -Infinity, 0.0f }));
        Assert.That(IntrinsicRun.Each(Kernel, [float.NaN]).Concat(IntrinsicRun.Each(RootKernel, [float.NaN, -1.0f, -Infinity])), Is.All.NaN);
    }

    internal static void Kernel(WordArguments p)
    {
        for (int i = Group.IdxX; i < p.Inputs.IntLength; i += Group.DimX)
        {
            p.Outputs[i] = ILGPU.Interop.FloatAsInt(Reciprocal.Approximate(ILGPU.Interop.IntAsFloat(p.Inputs[i])));
        }
    }

    internal static void RootKernel(WordArguments p)
    {
        for (int i = Group.IdxX; i < p.Inputs.IntLength; i += Group.DimX)
        {
            p.Outputs[i] = ILGPU.Interop.FloatAsInt(Reciprocal.ApproximateRoot(ILGPU.Interop.IntAsFloat(p.Inputs[i])));
        }
    }

    private static IEnumerable<float> Numbers() => IntrinsicRun.RandomBits(2000).Select(BitConverter.UInt32BitsToSingle).Where(value => Math.Abs(value) >= 1.17549435e-38f);

    private static void Check(float[] x, float[] y, Func<double, double> exact)
    {
        for (int i = 0; i < x.Length; i++)
        {
            double wanted = exact(x[i]);
            Expect.AtMost(Math.Abs(y[i] - wanted) / Math.ScaleB(1.0, Math.ILogB(wanted) - 23), s_units, $"units between the result of {x[i]:R} and the exact one");
        }
    }
}
