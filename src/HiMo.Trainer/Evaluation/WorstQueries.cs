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
        QueryHits[] queries = new QueryHits[count];
        Parallel.For(0, count, () => new float[count], (text, _, column) =>
        {
            for (int image = 0; image < count; image++)
            {
                column[image] = similarity[(image * count) + text];
            }

            queries[text] = QueryHits.From(column, text, Ranks.Above<float>(column, text), count: 1);
            return column;
        }, _ => { });
        return Worst(queries, i => captions[i].Captions[^1], i => captions[i].Image, i => captions[i].Captions[^1]);
    }

    /// <summary>The same of a paired retrieval.</summary>
    /// <param name="retrieval">With its queries kept.</param>
    /// <param name="set">Images and captions.</param>
    public static JsonArray From(Retrieval retrieval, RetrievalSet set) =>
        Worst(retrieval.TextQueries, text => set.Captions[text], image => set.Images[image], image => set.Captions[image * set.PerImage]);

    private static JsonArray Worst(IReadOnlyList<QueryHits> queries, Func<int, string> text, Func<int, string> image, Func<int, string> captionOf) => new(
    [
        .. queries.Index().Where(query => query.Item.Rank > 0).OrderByDescending(query => query.Item.Rank).ThenBy(query => query.Index).Take(Kept).Select(query => new JsonObject
        {
            ["text"] = text(query.Index),
            ["image"] = image(query.Item.Answer),
            ["rank"] = query.Item.Rank + 1,
            ["similarity"] = query.Item.AnswerScore,
            ["first"] = new JsonObject { ["image"] = image(query.Item.Best[0]), ["text"] = captionOf(query.Item.Best[0]), ["similarity"] = query.Item.BestScores[0] },
        }),
    ]);
}
