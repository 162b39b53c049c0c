// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Number of kept components.  m = min { m : sum_{i<=m} lambda_i / max(sum lambda, 1e-8) >= tau }, all of them if none reaches tau
// Source     HiMo-CLIP (arXiv:2511.06653), equation 1; the floor of 1e-8 and "all if none" as in the authors' code.
// Shapes     lambda: min(N,d) values, descending, not negative; at least one.
internal static class ExplainedRankReference
{
    public const double MinTotal = 1e-8;
    public const double NearTie = 1e-4;

    public static HiDeResult Forward(ReadOnlySpan<double> values, double tau, int rows, int columns)
    {
        double total = 0.0;
        foreach (double value in values)
        {
            total += value;
        }

        int m = 0;
        double kept = 0.0;
        double share = 0.0;
        while (m < values.Length && share < tau)
        {
            kept += values[m++];
            share = kept / Math.Max(total, MinTotal);
        }

        double gap = m == values.Length ? double.PositiveInfinity : (values[m - 1] - values[m]) / values[0];
        HiDeWarnings warnings = (m >= Math.Min(rows - 1, columns) ? HiDeWarnings.NothingDropped : HiDeWarnings.None)
            | (gap < NearTie ? HiDeWarnings.NearTieAtCut : HiDeWarnings.None);
        return new(m, share, gap, warnings);
    }
}
