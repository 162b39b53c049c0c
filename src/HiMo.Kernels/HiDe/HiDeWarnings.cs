// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>What a batch does to HiDe that its user should hear about once.</summary>
[Flags]
public enum HiDeWarnings
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>m reaches min(N - 1, d): nothing is dropped, and the component branch repeats the global one.</summary>
    NothingDropped = 1,

    /// <summary>The relative gap at the cut is under 1e-4: the kept subspace, and the exact basis gradient, are ill-conditioned.</summary>
    NearTieAtCut = 2,
}

/// <summary>The words of <see cref="HiDeWarnings"/>.</summary>
/// <example>
/// <code>
/// Console.WriteLine(HiDeWarnings.NothingDropped.Describe(m: 7, relativeGap: double.PositiveInfinity, tau: 0.9));
/// </code>
/// </example>
public static class HiDeWarningsText
{
    /// <summary>One sentence or two for each kind in <paramref name="warnings"/>: what happened and the way out.</summary>
    /// <param name="warnings">The kinds.</param>
    /// <param name="m">Number of kept components.</param>
    /// <param name="relativeGap">(lambda_m - lambda_{m+1}) / lambda_1.</param>
    /// <param name="tau">The share of variance that was asked for.</param>
    /// <returns>One line; empty for <see cref="HiDeWarnings.None"/>.</returns>
    public static string Describe(this HiDeWarnings warnings, int m, double relativeGap, double tau)
    {
        List<string> lines = [];
        if (warnings.HasFlag(HiDeWarnings.NothingDropped))
        {
            lines.Add(FormattableString.Invariant(
                $"HiDe keeps {m} components, all that the batch has: the component branch repeats the global one. Use a larger batch or a smaller tau than {tau}."));
        }

        if (warnings.HasFlag(HiDeWarnings.NearTieAtCut))
        {
            lines.Add(FormattableString.Invariant(
                $"The eigenvalues on both sides of HiDe's cut differ by {relativeGap:G3} of the largest: the exact basis gradient is ill-conditioned. Another tau, or BasisGradient.Stopped, avoids it."));
        }

        return string.Join(' ', lines);
    }
}
