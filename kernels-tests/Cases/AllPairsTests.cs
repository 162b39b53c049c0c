// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

internal sealed class AllPairsTests
{
    private static IEnumerable<TestCaseData> Factors() => new int[][] { [3], [2, 2], [4, 1, 3], [7, 7, 4, 3, 2, 2, 2, 2] }.Select(levels => new TestCaseData((object)levels));

    [TestCaseSource(nameof(Factors))]
    public void Every_two_levels_of_two_factors_meet_in_few_combinations(int[] levels)
    {
        List<int[]> combinations = AllPairs.Of(levels);
        for (int factor = 0; factor < levels.Length; factor++)
        {
            for (int other = factor + 1; other < levels.Length; other++)
            {
                IEnumerable<(int, int)> met = combinations.Select(each => (each[factor], each[other])).Distinct();
                Assert.That(met.Count(), Is.EqualTo(levels[factor] * levels[other]), $"factors {factor} and {other}");
            }
        }

        int[] largest = [.. levels.OrderDescending().Take(2)];
        Assert.That(combinations, Has.Count.AtMost(largest.Length < 2 ? 0 : 1.3 * largest[0] * largest[1]));
        Assert.That(combinations.SelectMany(each => each.Select((level, factor) => level >= 0 && level < levels[factor])), Is.All.True);
    }
}
