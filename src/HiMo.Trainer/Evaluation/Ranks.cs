// SPDX-License-Identifier: Apache-2.0
using System.Numerics;

namespace HiMo.Trainer;

/// <summary>Where the right answer stands when candidates are sorted by falling score. Equal scores stand in the order of their index, as argmax takes them.</summary>
internal static class Ranks
{
    /// <summary>Rank of one candidate, 0 for the best.</summary>
    /// <param name="scores">One per candidate, none NaN.</param>
    /// <param name="target">The right one.</param>
    public static int Of<T>(ReadOnlySpan<T> scores, int target)
        where T : INumber<T>
    {
        T own = scores[target];
        int rank = 0;
        for (int i = 0; i < target; i++)
        {
            rank += scores[i] >= own ? 1 : 0;
        }

        for (int i = target + 1; i < scores.Length; i++)
        {
            rank += scores[i] > own ? 1 : 0;
        }

        return rank;
    }

    /// <summary>How many candidates have a higher score: the rank where equal scores share it, as captions of the same words should.</summary>
    /// <param name="scores">One per candidate, none NaN.</param>
    /// <param name="target">The right one.</param>
    public static int Above<T>(ReadOnlySpan<T> scores, int target)
        where T : INumber<T>
    {
        int above = 0;
        foreach (T score in scores)
        {
            above += score > scores[target] ? 1 : 0;
        }

        return above;
    }

    /// <summary>The best of several right candidates that follow each other, as the five captions of an image do; the first of equal ones.</summary>
    /// <param name="scores">One per candidate, none NaN.</param>
    /// <param name="first">The first right one.</param>
    /// <param name="count">How many, at least 1.</param>
    public static int Best<T>(ReadOnlySpan<T> scores, int first, int count)
        where T : INumber<T>
    {
        int best = first;
        for (int i = first + 1; i < first + count; i++)
        {
            best = scores[i] > scores[best] ? i : best;
        }

        return best;
    }

    /// <summary>How many other candidates have exactly the same score.</summary>
    /// <param name="scores">One per candidate.</param>
    /// <param name="target">The right one.</param>
    public static int Ties<T>(ReadOnlySpan<T> scores, int target)
        where T : INumber<T>
    {
        int equal = -1; // itself
        foreach (T score in scores)
        {
            equal += score == scores[target] ? 1 : 0;
        }

        return equal;
    }
}
