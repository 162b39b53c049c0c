// SPDX-License-Identifier: Apache-2.0
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace HiMo.Kernels;

/// <summary>2^x by the special-function unit: about 2 ulp, subnormal results are 0.</summary>
internal static class Exp2
{
    /// <summary>2^x.</summary>
    [IntrinsicImplementation]
    public static float Approximate(float x)
    {
        float y = MathF.Pow(2.0f, x);
        return MathF.Abs(y) < 1.17549435e-38f ? 0.0f : y;
    }

    /// <summary>PTX of <see cref="Approximate"/>.</summary>
    public static void Emit(PTXBackend backend, PTXCodeGenerator generator, Value call)
    {
        string x = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        PtxEmitter.Emit(generator, "ex2.approx.ftz.f32", $"{PtxEmitter.Leaves(generator, generator.Allocate(call))[0]}, {x}");
    }
}
