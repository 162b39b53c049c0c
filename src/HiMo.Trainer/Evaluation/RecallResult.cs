// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>Recall in one direction.</summary>
/// <param name="At1">Share of the queries whose answer is first, from 0 to 1.</param>
/// <param name="At5">Share with it among the first five.</param>
/// <param name="At10">Share with it among the first ten.</param>
/// <param name="MeanRank">Mean rank, 1 for first.</param>
/// <param name="MedianRank">Median rank.</param>
internal sealed record RecallResult(double At1, double At5, double At10, double MeanRank, double MedianRank)
{
    /// <summary>Sums up ranks.</summary>
    /// <param name="ranks">One per query, 0 for first; at least one.</param>
    public static RecallResult From(IReadOnlyCollection<int> ranks)
    {
        int[] sorted = [.. ranks.Order()];
        double median = (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2.0;
        return new RecallResult(Share(1), Share(5), Share(10), sorted.Average(rank => rank + 1.0), median + 1);

        double Share(int limit) => (double)sorted.Count(rank => rank < limit) / sorted.Length;
    }

    /// <summary>Adds <c>direction_R@1</c>, <c>_R@5</c> and <c>_R@10</c> to an object.</summary>
    /// <param name="target">Receives them.</param>
    /// <param name="direction"><c>image_to_text</c> or <c>text_to_image</c>.</param>
    public void AddTo(JsonObject target, string direction)
    {
        target[$"{direction}_R@1"] = At1;
        target[$"{direction}_R@5"] = At5;
        target[$"{direction}_R@10"] = At10;
    }
}
