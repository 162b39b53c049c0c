// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>What one query found.</summary>
/// <param name="Rank">Rank of the right answer, 0 for the best.</param>
/// <param name="Answer">The right candidate; of several the best.</param>
/// <param name="AnswerScore">Its score.</param>
/// <param name="Best">The candidates of the highest scores, falling; equal ones in the order of their index.</param>
/// <param name="BestScores">Their scores.</param>
internal sealed record QueryHits(int Rank, int Answer, float AnswerScore, int[] Best, float[] BestScores)
{
    /// <summary>Ranks one row of scores.</summary>
    /// <param name="scores">One per candidate, none NaN.</param>
    /// <param name="answer">The right candidate.</param>
    /// <param name="rank">Its rank, under the rule for ties that is in force.</param>
    /// <param name="count">How many of the best to keep, at most all.</param>
    public static QueryHits From(ReadOnlySpan<float> scores, int answer, int rank, int count)
    {
        int[] best = Highest(scores, count);
        float[] bestScores = new float[best.Length];
        for (int i = 0; i < best.Length; i++)
        {
            bestScores[i] = scores[best[i]];
        }

        return new QueryHits(rank, answer, scores[answer], best, bestScores);
    }

    /// <summary>Indices of the highest scores, falling; equal ones in the order of their index.</summary>
    /// <param name="scores">Any number, none NaN.</param>
    /// <param name="count">How many are wanted; all where there are fewer.</param>
    public static int[] Highest(ReadOnlySpan<float> scores, int count)
    {
        int[] best = new int[Math.Min(count, scores.Length)];
        int kept = 0;
        for (int i = 0; i < scores.Length && best.Length > 0; i++)
        {
            if (kept < best.Length || scores[i] > scores[best[kept - 1]])
            {
                int place = kept < best.Length ? kept++ : kept - 1;
                for (; place > 0 && scores[i] > scores[best[place - 1]]; place--)
                {
                    best[place] = best[place - 1];
                }

                best[place] = i;
            }
        }

        return best;
    }
}
