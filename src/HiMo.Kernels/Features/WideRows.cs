// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

/// <summary>
/// Single passes over float32 rows in float64: what norms, means and the way back through them are made of. The order of a sum depends
/// on the row's length and the machine's vector width alone.
/// </summary>
internal static unsafe class WideRows
{
    /// <summary>Sum of squares.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double SumOfSquares(float* x, int count)
    {
        Vector<double> even = Vector<double>.Zero;
        Vector<double> odd = Vector<double>.Zero;
        int k = 0;
        for (; k + Vector<float>.Count <= count; k += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(x + k), out Vector<double> lower, out Vector<double> upper);
            even = Vector.MultiplyAddEstimate(lower, lower, even);
            odd = Vector.MultiplyAddEstimate(upper, upper, odd);
        }

        double sum = Vector.Sum(even + odd);
        for (; k < count; k++)
        {
            sum += (double)x[k] * x[k];
        }

        return sum;
    }

    /// <summary>y = factor x; returns y . direction from before y's rounding.</summary>
    /// <param name="x">A row.</param>
    /// <param name="factor">Its factor.</param>
    /// <param name="direction">As long as the row; null: 0 is returned.</param>
    /// <param name="y">Receives the result.</param>
    /// <param name="count">Length.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Scale(float* x, double factor, double* direction, float* y, int count)
    {
        Vector<double> scale = new(factor);
        Vector<double> even = Vector<double>.Zero;
        Vector<double> odd = Vector<double>.Zero;
        int k = 0;
        for (; k + Vector<float>.Count <= count; k += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(x + k), out Vector<double> lower, out Vector<double> upper);
            lower *= scale;
            upper *= scale;
            Vector.Narrow(lower, upper).Store(y + k);
            if (direction != null)
            {
                even = Vector.MultiplyAddEstimate(lower, Vector.Load(direction + k), even);
                odd = Vector.MultiplyAddEstimate(upper, Vector.Load(direction + k + Vector<double>.Count), odd);
            }
        }

        double dot = Vector.Sum(even + odd);
        for (; k < count; k++)
        {
            double value = x[k] * factor;
            y[k] = (float)value;
            dot += direction == null ? 0.0 : value * direction[k];
        }

        return dot;
    }

    /// <summary>y = factor x - mean.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Center(float* x, double factor, double* mean, float* y, int count)
    {
        Vector<double> scale = new(factor);
        int k = 0;
        for (; k + Vector<float>.Count <= count; k += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(x + k), out Vector<double> lower, out Vector<double> upper);
            lower = (lower * scale) - Vector.Load(mean + k);
            upper = (upper * scale) - Vector.Load(mean + k + Vector<double>.Count);
            Vector.Narrow(lower, upper).Store(y + k);
        }

        for (; k < count; k++)
        {
            y[k] = (float)((x[k] * factor) - mean[k]);
        }
    }

    /// <summary>sum += factor x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddScaled(float* x, double factor, double* sum, int count)
    {
        Vector<double> scale = new(factor);
        int k = 0;
        for (; k + Vector<float>.Count <= count; k += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(x + k), out Vector<double> lower, out Vector<double> upper);
            Vector.MultiplyAddEstimate(lower, scale, Vector.Load(sum + k)).Store(sum + k);
            Vector.MultiplyAddEstimate(upper, scale, Vector.Load(sum + k + Vector<double>.Count)).Store(sum + k + Vector<double>.Count);
        }

        for (; k < count; k++)
        {
            sum[k] += x[k] * factor;
        }
    }

    /// <summary>wide = grad + weight direction + constant; returns wide . x.</summary>
    /// <param name="x">A row before normalisation.</param>
    /// <param name="grad">The gradient of its unit row.</param>
    /// <param name="weight">Of the direction; 0: the direction may be null.</param>
    /// <param name="direction">As long as the row.</param>
    /// <param name="constant">As long as the row; null: none.</param>
    /// <param name="wide">Receives the sum.</param>
    /// <param name="count">Length.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Complete(float* x, float* grad, double weight, double* direction, double* constant, double* wide, int count)
    {
        Vector<double> along = new(weight);
        Vector<double> even = Vector<double>.Zero;
        Vector<double> odd = Vector<double>.Zero;
        int k = 0;
        for (; k + Vector<float>.Count <= count; k += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(grad + k), out Vector<double> lower, out Vector<double> upper);
            if (weight != 0.0)
            {
                lower = Vector.MultiplyAddEstimate(along, Vector.Load(direction + k), lower);
                upper = Vector.MultiplyAddEstimate(along, Vector.Load(direction + k + Vector<double>.Count), upper);
            }

            if (constant != null)
            {
                lower += Vector.Load(constant + k);
                upper += Vector.Load(constant + k + Vector<double>.Count);
            }

            lower.Store(wide + k);
            upper.Store(wide + k + Vector<double>.Count);
            Vector.Widen(Vector.Load(x + k), out Vector<double> lowerX, out Vector<double> upperX);
            even = Vector.MultiplyAddEstimate(lower, lowerX, even);
            odd = Vector.MultiplyAddEstimate(upper, upperX, odd);
        }

        double dot = Vector.Sum(even + odd);
        for (; k < count; k++)
        {
            double value = grad[k] + (weight == 0.0 ? 0.0 : weight * direction[k]) + (constant == null ? 0.0 : constant[k]);
            wide[k] = value;
            dot += value * x[k];
        }

        return dot;
    }

    /// <summary>y = factor (wide - along x), clamped to float32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Project(float* x, double* wide, double along, double factor, float* y, int count)
    {
        Vector<double> part = new(-along);
        Vector<double> scale = new(factor);
        Vector<double> largest = new(float.MaxValue);
        int k = 0;
        for (; k + Vector<float>.Count <= count; k += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(x + k), out Vector<double> lower, out Vector<double> upper);
            lower = scale * Vector.MultiplyAddEstimate(part, lower, Vector.Load(wide + k));
            upper = scale * Vector.MultiplyAddEstimate(part, upper, Vector.Load(wide + k + Vector<double>.Count));
            Vector.Narrow(Vector.Max(-largest, Vector.Min(largest, lower)), Vector.Max(-largest, Vector.Min(largest, upper))).Store(y + k);
        }

        for (; k < count; k++)
        {
            y[k] = (float)Math.Clamp(factor * (wide[k] - (along * x[k])), -float.MaxValue, float.MaxValue);
        }
    }
}
