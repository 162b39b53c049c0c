// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Number of kept components.  m = min { m : sum_{i<=m} lambda_i / max(sum lambda, 1e-8) >= tau }, all of them if none reaches tau
// Source     HiMo-CLIP (arXiv:2511.06653), equation 1; the floor of 1e-8 and "all if none" as in the authors' code.
// Shapes     lambda: min(N,d) values, descending, not negative.
internal static class ExplainedRankReference
{
    public const double MinTotal = 1e-8;

    /// <returns>m; the share at m; (lambda_m - lambda_{m+1}) / lambda_1, infinity where nothing is dropped.</returns>
    public static (int M, double Share, double RelativeGap) Forward(ReadOnlySpan<double> values, double tau)
    {
        double total = 0.0;
        foreach (double value in values)
        {
            total += value;
        }

        double kept = 0.0;
        for (int i = 0; i < values.Length; i++)
        {
            kept += values[i];
            double share = kept / Math.Max(total, MinTotal);
            bool isLast = i == values.Length - 1;
            if (share >= tau || isLast)
            {
                return (i + 1, share, isLast ? double.PositiveInfinity : (values[i] - values[i + 1]) / values[0]);
            }
        }

        return (0, 0.0, double.PositiveInfinity);
    }
}
