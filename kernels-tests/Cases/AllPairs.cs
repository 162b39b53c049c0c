// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests;

/// <summary>Few combinations of the levels of some factors, in which every two levels of two factors meet. Greedy; the same at every call.</summary>
internal static class AllPairs
{
    /// <summary>The combinations: of each factor the number of a level.</summary>
    /// <param name="levels">How many levels each factor has.</param>
    public static List<int[]> Of(params int[] levels)
    {
        List<int[]> combinations = [];
        HashSet<(int Factor, int Level, int Other, int OtherLevel)> missing =
        [
            .. from factor in Enumerable.Range(0, levels.Length)
               from other in Enumerable.Range(factor + 1, levels.Length - factor - 1)
               from level in Enumerable.Range(0, levels[factor])
               from otherLevel in Enumerable.Range(0, levels[other])
               select (factor, level, other, otherLevel),
        ];
        while (missing.Count > 0)
        {
            int[] chosen = [.. Enumerable.Repeat(-1, levels.Length)];
            (int Factor, int Level, int Other, int OtherLevel) first = missing.Min();
            chosen[first.Factor] = first.Level;
            chosen[first.Other] = first.OtherLevel;
            for (int factor = 0; factor < levels.Length; factor++)
            {
                if (chosen[factor] < 0)
                {
                    chosen[factor] = Enumerable.Range(0, levels[factor]).MaxBy(level => Met(chosen, factor, level).Count(missing.Contains));
                }
            }

            for (int factor = 0; factor < levels.Length; factor++)
            {
                missing.ExceptWith(Met(chosen, factor, chosen[factor]));
            }

            combinations.Add(chosen);
        }

        return combinations;
    }

    // The pairs of a level with what is chosen of other factors.
    private static IEnumerable<(int Factor, int Level, int Other, int OtherLevel)> Met(int[] chosen, int factor, int level) =>
        from other in Enumerable.Range(0, chosen.Length)
        where other != factor && chosen[other] >= 0
        select factor < other ? (factor, level, other, chosen[other]) : (other, chosen[other], factor, level);
}
