// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>Where the spectrum is cut.</summary>
/// <param name="M">Number of kept components.</param>
/// <param name="Defined">Those of them whose direction is defined: lambda_i above 1e-6 lambda_1.</param>
/// <param name="Share">The share of the variance that the m components explain.</param>
/// <param name="RelativeGap">(lambda_m - lambda_{m+1}) / lambda_1; infinity where nothing is dropped.</param>
internal readonly record struct ExplainedRank(int M, int Defined, double Share, double RelativeGap)
{
    private const double NearTie = 1e-4;

    /// <summary>What the user of a batch of rows x columns should hear about.</summary>
    public HiDeWarnings Warnings(int rows, int columns) =>
        (M >= Math.Min(rows - 1, columns) ? HiDeWarnings.NothingDropped : HiDeWarnings.None)
        | (RelativeGap < NearTie ? HiDeWarnings.NearTieAtCut : HiDeWarnings.None);
}

// Number of kept components.  m = min { m : sum_{i<=m} lambda_i / max(sum lambda, 1e-8) >= tau }, all of them if none reaches tau
// Source     HiMo-CLIP (arXiv:2511.06653), equation 1; the floor of 1e-8 and "all if none" as in the authors' code.
// Shapes     lambda: n = min(N,d) values, descending, not negative.
// Precision  float64 sums of eigenvalues that are mostly float32's.
internal static unsafe class ExplainedRankCpu
{
    /// <summary>A kept direction this far below the largest eigenvalue is rounding noise in float32.</summary>
    public const float RelativeFloor = 1e-6f;

    /// <summary>Below this, the largest eigenvalue itself is rounding: float32 unit rows that differ at all differ by more.</summary>
    private const float AbsoluteFloor = 1e-28f;

    private const double MinTotal = 1e-8;

    public static ExplainedRank Forward(double* values, int count, double tau)
    {
        double total = 0.0;
        for (int i = 0; i < count; i++)
        {
            total += values[i];
        }

        double kept = 0.0;
        int m = 0;
        double share = 0.0;
        while (m < count && (m == 0 || share < tau))
        {
            kept += values[m++];
            share = kept / Math.Max(total, MinTotal);
        }

        return At(m, share, values, count);
    }

    /// <summary>The cut behind m values, once they are known better than when m was found.</summary>
    public static ExplainedRank At(int m, double share, double* values, int count)
    {
        int defined = 0;
        while (defined < m && values[defined] > Math.Max(RelativeFloor * values[0], AbsoluteFloor))
        {
            defined++;
        }

        return new(m, defined, share, m == count ? double.PositiveInfinity : values[0] > 0.0 ? (values[m - 1] - values[m]) / values[0] : 0.0);
    }
}
