// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Finds what a mistyped name was meant to be.</summary>
internal static class NearestName
{
    /// <summary>The candidate with the smallest edit distance, the first one where several are equally near; null without candidates.</summary>
    /// <param name="typed">What was typed.</param>
    /// <param name="candidates">What exists.</param>
    public static string? Find(string typed, IEnumerable<string> candidates) => candidates.MinBy(candidate => Distance(typed, candidate));

    /// <summary>Least number of inserted, deleted, replaced or swapped neighbouring characters that turns one word into the other.</summary>
    /// <param name="left">One word.</param>
    /// <param name="right">The other.</param>
    public static int Distance(string left, string right)
    {
        int[,] distance = new int[left.Length + 1, right.Length + 1];
        for (int i = 0; i <= left.Length; i++)
        {
            for (int j = 0; j <= right.Length; j++)
            {
                if (i == 0 || j == 0)
                {
                    distance[i, j] = i + j;
                    continue;
                }

                int replaced = distance[i - 1, j - 1] + (left[i - 1] == right[j - 1] ? 0 : 1);
                int least = Math.Min(replaced, 1 + Math.Min(distance[i - 1, j], distance[i, j - 1]));
                bool swapped = i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
                distance[i, j] = swapped ? Math.Min(least, 1 + distance[i - 2, j - 2]) : least;
            }
        }

        return distance[left.Length, right.Length];
    }
}
