// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>How similar images are to their own captions, and to those of other images.</summary>
internal static class SimilarityHistogram
{
    /// <summary>Bins from cosine -1 to 1, each with its lower end.</summary>
    public const int Bins = 100;

    /// <summary>Lower end of a bin.</summary>
    /// <param name="bin">From 0 to <see cref="Bins"/> - 1.</param>
    public static double LowerEnd(int bin) => -1 + (2.0 * bin / Bins);

    /// <summary>Counts pairs.</summary>
    /// <param name="similarity">n x n cosines of images (rows) with captions, matched on the diagonal.</param>
    /// <param name="count">n.</param>
    /// <returns><c>matched</c> and <c>unmatched</c>: numbers of pairs in each bin; and the means of both.</returns>
    public static JsonObject From(ReadOnlySpan<float> similarity, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(similarity.Length, (long)count * count);
        long[][] counts = [new long[Bins], new long[Bins]];
        double[] sums = new double[2];
        for (int i = 0; i < similarity.Length; i++)
        {
            int kind = i / count == i % count ? 0 : 1;
            counts[kind][Math.Clamp((int)Math.Floor((similarity[i] + 1) / 2 * Bins), 0, Bins - 1)]++; // a cosine of 1 and a rounding stand in the last bin
            sums[kind] += similarity[i];
        }

        return new JsonObject
        {
            ["matched"] = Array(counts[0]),
            ["unmatched"] = Array(counts[1]),
            ["mean_matched"] = sums[0] / count,
            ["mean_unmatched"] = count > 1 ? sums[1] / ((double)count * (count - 1)) : null,
        };

        static JsonArray Array(long[] values) => new([.. values.Select(value => JsonValue.Create(value))]);
    }
}
