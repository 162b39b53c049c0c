// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Cuts n sentences into K neighbouring groups of nearly equal size: group i holds sentences floor(i n / K) to floor((i + 1) n / K) - 1.</summary>
internal static class Segments
{
    /// <summary>Number of sentences in each group.</summary>
    /// <param name="sentences">n, at least <paramref name="groups"/>.</param>
    /// <param name="groups">K, at least 1.</param>
    public static int[] Sizes(int sentences, int groups)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(groups, 1);
        return [.. Enumerable.Range(0, groups).Select(group => Kept(sentences, groups, group + 1) - Kept(sentences, groups, group))];
    }

    /// <summary>Number of sentences in the first groups together.</summary>
    /// <param name="sentences">n, at least <paramref name="groups"/>.</param>
    /// <param name="groups">K, at least 1.</param>
    /// <param name="first">How many groups, from 0 to K.</param>
    public static int Kept(int sentences, int groups, int first)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(groups, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(sentences, groups);
        return (int)((long)first * sentences / groups);
    }

    /// <summary>The growing captions of the first, the first two, ..., all groups.</summary>
    /// <param name="sentences">At least <paramref name="groups"/> of them.</param>
    /// <param name="groups">K, at least 1.</param>
    public static string[] Captions(IReadOnlyList<string> sentences, int groups) =>
        [.. Enumerable.Range(1, groups).Select(first => string.Join(' ', sentences.Take(Kept(sentences.Count, groups, first))))];
}
