// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

/// <summary>A batch less its mean: X_ik = inverse_i source_ik - mu_k, rounded to float32, and what it was made of.</summary>
internal unsafe struct CenteredBatch
{
    public float* Source;              // N x d
    public double* Inverse;            // N factors that make unit rows of the source; null: the source is used as it is
    public double* Mean;               // mu, d
    public float* Centered;            // X, N x d
    public int Rows;
    public int Columns;

    /// <summary>factor x - mean in float64 for as many elements as a register holds floats: X before its rounding.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Load(float* x, double factor, double* mean, out Vector<double> lower, out Vector<double> upper)
    {
        Vector.Widen(Vector.Load(x), out lower, out upper);
        lower = (lower * new Vector<double>(factor)) - Vector.Load(mean);
        upper = (upper * new Vector<double>(factor)) - Vector.Load(mean + Vector<double>.Count);
    }

    /// <summary>Where a row of the source begins.</summary>
    public readonly float* Row(int row) => Source + ((nint)row * Columns);

    /// <summary>What makes a unit row of it.</summary>
    public readonly double Factor(int row) => Inverse == null ? 1.0 : Inverse[row];
}
