// SPDX-License-Identifier: Apache-2.0
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace HiMo.Kernels;

/// <summary>Reciprocals by the special-function unit, to about 1 ulp and without branches; subnormal numbers and results are 0.</summary>
internal static class Reciprocal
{
    /// <summary>1 / x.</summary>
    [IntrinsicImplementation]
    public static float Approximate(float x) => Flushed(1.0f / Flushed(x));

    /// <summary>1 / sqrt(x).</summary>
    [IntrinsicImplementation]
    public static float ApproximateRoot(float x) => (float)(1.0 / Math.Sqrt(Flushed(x)));

    /// <summary>PTX of <see cref="Approximate"/>.</summary>
    public static void Emit(PTXBackend backend, PTXCodeGenerator generator, Value call) => Emit(generator, call, "rcp.approx.ftz.f32");

    /// <summary>PTX of <see cref="ApproximateRoot"/>.</summary>
    public static void EmitRoot(PTXBackend backend, PTXCodeGenerator generator, Value call) => Emit(generator, call, "rsqrt.approx.ftz.f32");

    private static float Flushed(float x) => MathF.Abs(x) < 1.17549435e-38f ? MathF.CopySign(0.0f, x) : x;

    private static void Emit(PTXCodeGenerator generator, Value call, string instruction)
    {
        string x = PtxEmitter.Leaves(generator, generator.Load(call[0]))[0];
        PtxEmitter.Emit(generator, instruction, $"{PtxEmitter.Leaves(generator, generator.Allocate(call))[0]}, {x}");
    }
}
