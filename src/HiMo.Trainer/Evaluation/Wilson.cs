// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>How far a share of a finite number of queries may lie from the true one. Source: E. B. Wilson, 1927.</summary>
internal static class Wilson
{
    private const double Deviations = 1.959963984540054; // of a normal distribution, for 95 %

    /// <summary>The interval that holds the true share in 95 of 100 samples.</summary>
    /// <param name="share">The share found, from 0 to 1.</param>
    /// <param name="count">Number of independent queries, at least 1.</param>
    public static (double Low, double High) Interval(double share, long count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        double square = Deviations * Deviations / count;
        double centre = (share + (square / 2)) / (1 + square);
        double half = Deviations * Math.Sqrt((share * (1 - share) / count) + (square / 4 / count)) / (1 + square);
        return (Math.Max(0, centre - half), Math.Min(1, centre + half));
    }
}
