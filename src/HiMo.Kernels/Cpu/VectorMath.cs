// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace HiMo.Kernels;

// exp(x) = 2^n exp(r), n = round(x / ln 2), r = x - n ln 2 in two parts (Cody and Waite, 1980), |r| <= ln 2 / 2.
// Precision  exp(r) by a polynomial of degree 7 (Taylor: its remainder is under 4e-9 relative); within 1 ulp of the true value,
//            2 ulp without fused multiply-add, 2^-149 among the denormals.
// Limits     exp(-inf) = 0, exp(+inf) = inf, overflow to inf above 88.722839, gradual underflow to 0 below -87.336544. NaN stays NaN.
internal static unsafe class VectorMath
{
    private const float Overflow = 88.72284f;          // the first float whose exponential is not finite
    private const float Underflow = -104.0f;           // below, exp rounds to 0
    private const float InverseLn2 = 1.44269504f;
    private const float Ln2High = 0.693359375f;        // 10 bits: n times it is exact
    private const float Ln2Low = -2.12194440e-4f;

    /// <summary>y[i] = exp(x[i]); x and y may be the same memory.</summary>
    public static void Exp(float* x, float* y, nint count) => _ = ExpSum(x, 1.0f, 0.0f, y, count);

    /// <summary>y[i] = exp(x[i]) for spans of one length; they may be the same memory.</summary>
    public static void Exp(ReadOnlySpan<float> x, Span<float> y)
    {
        Guard.That(y.Length >= x.Length, y.Length, $"must be at least x.Length = {x.Length}");
        fixed (float* from = x, to = y)
        {
            Exp(from, to, x.Length);
        }
    }

    /// <summary>y[i] = exp(scale x[i] - shift), returns the sum of y; x and y may be the same memory.</summary>
    /// <remarks>For a softmax, shift is the largest scale x[i]. The order of the sum depends on the width of the machine's vectors.</remarks>
    public static float ExpSum(float* x, float scale, float shift, float* y, nint count) =>
        Vector512.IsHardwareAccelerated ? ExpSum<Lanes512>(x, scale, shift, y, count)
        : Vector256.IsHardwareAccelerated ? ExpSum<Lanes256>(x, scale, shift, y, count)
        : ExpSum<Lanes128>(x, scale, shift, y, count);

    /// <summary>Largest of count >= 1 values, none of them NaN.</summary>
    public static float Max(float* x, nint count) =>
        Vector512.IsHardwareAccelerated ? Max<Lanes512>(x, count)
        : Vector256.IsHardwareAccelerated ? Max<Lanes256>(x, count)
        : Max<Lanes128>(x, count);

    /// <summary>exp of every lane: the building block for fused loops.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Exp<T>(T x)
        where T : struct, ILanes<T>
    {
        T clamped = T.Max(T.Broadcast(Underflow), T.Min(T.Broadcast(Overflow), x));     // in this order a NaN comes through
        T n = T.Round(T.Multiply(clamped, T.Broadcast(InverseLn2)));
        T r = T.MultiplyAdd(n, T.Broadcast(-Ln2High), clamped);
        r = T.MultiplyAdd(n, T.Broadcast(-Ln2Low), r);

        T polynomial = T.Broadcast(1.0f / 5040.0f);
        polynomial = T.MultiplyAdd(polynomial, r, T.Broadcast(1.0f / 720.0f));
        polynomial = T.MultiplyAdd(polynomial, r, T.Broadcast(1.0f / 120.0f));
        polynomial = T.MultiplyAdd(polynomial, r, T.Broadcast(1.0f / 24.0f));
        polynomial = T.MultiplyAdd(polynomial, r, T.Broadcast(1.0f / 6.0f));
        polynomial = T.MultiplyAdd(polynomial, r, T.Broadcast(0.5f));
        polynomial = T.MultiplyAdd(T.Multiply(r, r), polynomial, r);
        polynomial = T.Add(polynomial, T.Broadcast(1.0f));

        // 2^n in two factors: n reaches 128 at the top and -150 at the bottom, beyond what one float's exponent holds.
        T half = T.Round(T.Multiply(n, T.Broadcast(0.5f)));
        return T.Multiply(T.Multiply(polynomial, T.PowerOfTwo(half)), T.PowerOfTwo(T.Subtract(n, half)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float ExpSum<T>(float* x, float scale, float shift, float* y, nint count)
        where T : struct, ILanes<T>
    {
        T factor = T.Broadcast(scale);
        T offset = T.Broadcast(-shift);
        T sum = T.Zero;
        nint i = 0;
        for (; i + T.Count <= count; i += T.Count)
        {
            T value = Exp(T.MultiplyAdd(T.Load(x + i), factor, offset));
            T.Store(value, y + i);
            sum = T.Add(sum, value);
        }

        float total = T.Sum(sum);
        if (i < count)
        {
            // The remainder goes through one register whose unused lanes hold -inf, exponential 0.
            float* lanes = stackalloc float[T.Count];
            new Span<float>(lanes, T.Count).Fill(float.NegativeInfinity);
            for (nint j = i; j < count; j++)
            {
                lanes[j - i] = float.MultiplyAddEstimate(x[j], scale, -shift);
            }

            T value = Exp(T.Load(lanes));
            T.Store(value, lanes);
            total += T.Sum(value);
            for (nint j = i; j < count; j++)
            {
                y[j] = lanes[j - i];
            }
        }

        return total;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Max<T>(float* x, nint count)
        where T : struct, ILanes<T>
    {
        float largest = x[0];
        nint i = 0;
        if (count >= T.Count)
        {
            T lanes = T.Load(x);
            for (i = T.Count; i + T.Count <= count; i += T.Count)
            {
                lanes = T.Max(lanes, T.Load(x + i));
            }

            float* values = stackalloc float[T.Count];
            T.Store(lanes, values);
            for (int lane = 0; lane < T.Count; lane++)
            {
                largest = MathF.Max(largest, values[lane]);
            }
        }

        for (; i < count; i++)
        {
            largest = MathF.Max(largest, x[i]);
        }

        return largest;
    }
}
