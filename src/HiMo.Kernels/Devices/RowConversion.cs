// SPDX-License-Identifier: Apache-2.0
// Rows from any layout and type into dense float32 and back, for callers whose matrices are not dense float32.
// Shapes     N x d with any row stride on either side.
// Mapping    one thread an element, in the order of the dense side; memory-bound.
// Precision  widening is exact; narrowing rounds to nearest, ties to even. A float32 beyond half's range becomes infinity.
// Determinism  nothing is added; every element is one thread's.
// Limits     not in place: both sides are matrices of their own. Fewer than 2^38 elements, 128 for each group that Grid.X can count.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>A stored type of elements.</summary>
internal interface IStoredElement<T>
    where T : unmanaged
{
    static abstract float Widen(T value);

    static abstract T Narrow(float value);
}

/// <summary>Float32 as it is.</summary>
internal readonly struct Float32Stored : IStoredElement<float>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(float value) => value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Narrow(float value) => value;
}

/// <summary>IEEE half.</summary>
internal readonly struct Float16Stored : IStoredElement<ILGPU.Half>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(ILGPU.Half value) => value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ILGPU.Half Narrow(float value) => (ILGPU.Half)value;
}

/// <summary>Bits of IEEE half, by integers: OpenCL devices need not have the type (cl_khr_fp16), nor subnormal float32.</summary>
internal readonly struct Float16Bits : IStoredElement<ushort>
{
    private const uint Bias = 112u << 23;               // what float32's exponent has more
    private const uint SmallestNormal = 0x38800000u;    // 2^-14 of float32
    private const uint Overflow = 0x477ff000u;          // 65520, where rounding ends in infinity

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(ushort value)
    {
        uint magnitude = value & 0x7fffu;
        uint subnormal = ILGPU.Interop.FloatAsInt((int)magnitude * (1.0f / (1 << 24)));
        uint normal = (magnitude << 13) + (magnitude < 0x7c00u ? Bias : 2 * Bias);
        return ILGPU.Interop.IntAsFloat(((uint)(value & 0x8000) << 16) | (magnitude < 0x0400u ? subnormal : normal));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Narrow(float value)
    {
        uint bits = ILGPU.Interop.FloatAsInt(value);
        uint magnitude = bits & 0x7fffffffu;
        uint subnormal = ILGPU.Interop.FloatAsInt(ILGPU.Interop.IntAsFloat(magnitude) + 0.5f) - 0x3f000000u; // neighbours of 0.5 are 2^-24 apart, as subnormal halves
        uint normal = (magnitude - Bias + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
        uint special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
        uint finite = magnitude < SmallestNormal ? subnormal : normal;
        return (ushort)(((bits >> 16) & 0x8000u) | (magnitude < Overflow ? finite : special));
    }
}

/// <summary>Bits of bfloat16.</summary>
internal readonly struct BFloat16Stored : IStoredElement<ushort>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(ushort value) => ILGPU.Interop.IntAsFloat((uint)value << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Narrow(float value)
    {
        uint bits = ILGPU.Interop.FloatAsInt(value);
        bool isNan = (bits & 0x7fffffffu) > 0x7f800000u;
        uint rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
        return (ushort)((isNan ? bits | 0x00400000u : rounded) >> 16);
    }
}

/// <summary>Arguments of <see cref="RowConversion.Kernel"/>.</summary>
internal struct RowConversionArguments<TFrom, TTo>
    where TFrom : unmanaged
    where TTo : unmanaged
{
    public ArrayView<TFrom> From;
    public ArrayView<TTo> To;
    public long FromStride;
    public long ToStride;
    public int Columns;
    public long Length;
}

/// <summary>Conversion of rows on the GPU.</summary>
internal static class RowConversion
{
    private const int Threads = 128;

    /// <summary>Enqueues a conversion into dense float32.</summary>
    public static void ToDense(Gpu gpu, AcceleratorStream stream, GpuMatrix from, ArrayView<float> to)
    {
        switch (from.Element)
        {
            case GpuElement.Float16 when gpu.IsOpenCl:
                Run<ushort, float, Float16Bits, Float32Stored>(gpu, stream, from.Shape, from.As<ushort>(), from.RowStride, to, from.Columns);
                break;
            case GpuElement.Float16:
                Run<ILGPU.Half, float, Float16Stored, Float32Stored>(gpu, stream, from.Shape, from.As<ILGPU.Half>(), from.RowStride, to, from.Columns);
                break;
            case GpuElement.BFloat16:
                Run<ushort, float, BFloat16Stored, Float32Stored>(gpu, stream, from.Shape, from.As<ushort>(), from.RowStride, to, from.Columns);
                break;
            default:
                Run<float, float, Float32Stored, Float32Stored>(gpu, stream, from.Shape, from.As<float>(), from.RowStride, to, from.Columns);
                break;
        }
    }

    /// <summary>Enqueues a conversion out of dense float32.</summary>
    public static void FromDense(Gpu gpu, AcceleratorStream stream, ArrayView<float> from, GpuMatrix to)
    {
        switch (to.Element)
        {
            case GpuElement.Float16 when gpu.IsOpenCl:
                Run<float, ushort, Float32Stored, Float16Bits>(gpu, stream, to.Shape, from, to.Columns, to.As<ushort>(), to.RowStride);
                break;
            case GpuElement.Float16:
                Run<float, ILGPU.Half, Float32Stored, Float16Stored>(gpu, stream, to.Shape, from, to.Columns, to.As<ILGPU.Half>(), to.RowStride);
                break;
            case GpuElement.BFloat16:
                Run<float, ushort, Float32Stored, BFloat16Stored>(gpu, stream, to.Shape, from, to.Columns, to.As<ushort>(), to.RowStride);
                break;
            default:
                Run<float, float, Float32Stored, Float32Stored>(gpu, stream, to.Shape, from, to.Columns, to.As<float>(), to.RowStride);
                break;
        }
    }

    /// <summary>One element a thread.</summary>
    public static void Kernel<TFrom, TTo, TFromStored, TToStored>(RowConversionArguments<TFrom, TTo> p)
        where TFrom : unmanaged
        where TTo : unmanaged
        where TFromStored : struct, IStoredElement<TFrom>
        where TToStored : struct, IStoredElement<TTo>
    {
        long index = ((long)Grid.IdxX * Group.DimX) + Group.IdxX;
        if (index < p.Length)
        {
            long row = index / p.Columns;
            long column = index - (row * p.Columns);
            p.To[(row * p.ToStride) + column] = TToStored.Narrow(TFromStored.Widen(p.From[(row * p.FromStride) + column]));
        }
    }

    private static void Run<TFrom, TTo, TFromStored, TToStored>(
        Gpu gpu, AcceleratorStream stream, MatrixShape shape, ArrayView<TFrom> from, long fromStride, ArrayView<TTo> to, long toStride)
        where TFrom : unmanaged
        where TTo : unmanaged
        where TFromStored : struct, IStoredElement<TFrom>
        where TToStored : struct, IStoredElement<TTo>
    {
        int groups = checked((int)((shape.Length + Threads - 1) / Threads));
        gpu.Launch(
            stream, Kernel<TFrom, TTo, TFromStored, TToStored>, new Index3D(groups, 1, 1), Threads,
            new RowConversionArguments<TFrom, TTo> { From = from, To = to, FromStride = fromStride, ToStride = toStride, Columns = shape.Columns, Length = shape.Length });
    }
}
