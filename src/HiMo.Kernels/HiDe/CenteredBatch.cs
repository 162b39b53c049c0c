// SPDX-License-Identifier: Apache-2.0
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

    /// <summary>A piece of a row of X before its rounding.</summary>
    /// <param name="row">Which row.</param>
    /// <param name="from">First column.</param>
    /// <param name="wide">Receives as many columns as it has room for.</param>
    public readonly void Widen(int row, int from, Span<double> wide)
    {
        fixed (double* target = wide)
        {
            WideRows.Center(Source + ((nint)row * Columns) + from, Inverse == null ? 1.0 : Inverse[row], Mean + from, target, wide.Length);
        }
    }
}
