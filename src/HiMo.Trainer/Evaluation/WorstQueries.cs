// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>Failures worth looking at: the captions that find their image last, and what they find first.</summary>
internal static class WorstQueries
{
    private const int Kept = 8;

    /// <summary>The worst first; captions that find their image at once are left out.</summary>
    /// <param name="similarity">n x n cosines of images (rows) with captions, matched on the diagonal.</param>
    /// <param name="captions">n images with their captions, the last of which asks.</param>
    /// <returns>Objects with <c>text</c>, <c>image</c>, <c>rank</c> (1 for the best), <c>similarity</c>, and the same of the <c>first</c>.</returns>
    public static JsonArray From(float[] similarity, IReadOnlyList<GrowingCaption> captions)
    {
        int count = captions.Count;
        (int Text, QueryHits Hits)[] queries = new (int, QueryHits)[count];
        Parallel.For(0, count, () => new float[count], (text, _, column) =>
        {
            for (int image = 0; image < count; image++)
            {
                column[image] = similarity[(image * count) + text];
            }

            queries[text] = (text, QueryHits.From(column, text, Ranks.Above<float>(column, text), count: 1));
            return column;
        }, _ => { });
        return new JsonArray(
        [
            .. queries.Where(query => query.Hits.Rank > 0).OrderByDescending(query => query.Hits.Rank).ThenBy(query => query.Text).Take(Kept).Select(query => new JsonObject
            {
                ["text"] = captions[query.Text].Captions[^1],
                ["image"] = captions[query.Text].Image,
                ["rank"] = query.Hits.Rank + 1,
                ["similarity"] = query.Hits.AnswerScore,
                ["first"] = new JsonObject { ["image"] = captions[query.Hits.Best[0]].Image, ["text"] = captions[query.Hits.Best[0]].Captions[^1], ["similarity"] = query.Hits.BestScores[0] },
            }),
        ]);
    }
}
