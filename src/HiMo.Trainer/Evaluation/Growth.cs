// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// HiMo's measures of one image: do its scores rise as its caption grows? Source: HiMo-CLIP (arXiv:2511.06653), HiMo@2, HiMo@3 and HiMo@K;
/// eval/text_mono/get_himo.py for the correlation.
/// </summary>
internal static class Growth
{
    /// <summary>Whether every score is above the one before.</summary>
    /// <param name="scores">From the shortest caption to the whole one.</param>
    public static bool IsStrictlyRising(ReadOnlySpan<double> scores)
    {
        for (int i = 1; i < scores.Length; i++)
        {
            if (!(scores[i] > scores[i - 1]))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Pearson's correlation of the scores with 1, 2, ..., K; 0 where they do not vary or there is only one.</summary>
    /// <param name="scores">From the shortest caption to the whole one.</param>
    public static double Pearson(ReadOnlySpan<double> scores)
    {
        double meanPosition = (scores.Length + 1) / 2.0;
        double mean = 0;
        foreach (double score in scores)
        {
            mean += score;
        }

        mean /= scores.Length;
        double covariance = 0;
        double positions = 0;
        double variance = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            double x = i + 1 - meanPosition;
            double y = scores[i] - mean;
            covariance += x * y;
            positions += x * x;
            variance += y * y;
        }

        double scale = Math.Sqrt(positions) * Math.Sqrt(variance);
        return scale == 0 ? 0 : covariance / scale;
    }
}
