// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>One JSON object a line for every query of an evaluation: what was asked, where the answer stood, what stood first.</summary>
internal static class QueryRecords
{
    /// <summary>How many of the best candidates a record names.</summary>
    public const int Kept = 5;

    private static readonly JsonSerializerOptions s_line = new(JsonText.Readable) { WriteIndented = false };

    /// <summary>Runs an evaluation and writes its records; the file is there only when all of them are.</summary>
    /// <param name="path">The file, or null for no records.</param>
    /// <param name="run">The evaluation; its argument takes the records and is null where none are wanted.</param>
    /// <exception cref="UserError">The file system refuses, or the evaluation fails.</exception>
    public static JsonObject Write(string? path, Func<Action<JsonObject>?, JsonObject> run)
    {
        if (path is null)
        {
            return run(null);
        }

        JsonObject result = [];
        AtomicFile.Write(path, stream => result = run(record =>
        {
            JsonSerializer.Serialize(stream, record, s_line);
            stream.WriteByte((byte)'\n');
        }));
        return result;
    }

    /// <summary>The record of a query that ranks candidates.</summary>
    /// <param name="hits">What it found.</param>
    /// <param name="kind">What asked, for example <c>image</c>.</param>
    /// <param name="query">The image or text.</param>
    /// <param name="candidate">Kind and name of a candidate by its index.</param>
    /// <returns><c>query</c>, <c>rank</c> (1 for the best), <c>answer</c> and <c>best</c>, each with its score.</returns>
    public static JsonObject Of(QueryHits hits, string kind, string query, Func<int, (string Kind, string Name)> candidate) => new()
    {
        ["query"] = new JsonObject { [kind] = query },
        ["rank"] = hits.Rank + 1,
        ["answer"] = Scored(candidate(hits.Answer), hits.AnswerScore),
        ["best"] = new JsonArray([.. hits.Best.Zip(hits.BestScores, (index, score) => Scored(candidate(index), score))]),
    };

    /// <summary>The records of a paired retrieval, images first.</summary>
    /// <param name="retrieval">With its queries kept.</param>
    /// <param name="set">Names of images and captions.</param>
    public static IEnumerable<JsonObject> Of(Retrieval retrieval, RetrievalSet set)
    {
        foreach ((QueryHits hits, string image) in retrieval.ImageQueries.Zip(set.Images))
        {
            yield return Of(hits, "image", image, candidate => ("text", set.Captions[candidate]));
        }

        foreach ((QueryHits hits, string text) in retrieval.TextQueries.Zip(set.Captions))
        {
            yield return Of(hits, "text", text, candidate => ("image", set.Images[candidate]));
        }
    }

    /// <summary>The record of an image with growing captions.</summary>
    /// <param name="caption">Image and captions.</param>
    /// <param name="similarity">With each caption.</param>
    public static JsonObject Of(GrowingCaption caption, double[] similarity)
    {
        JsonObject json = new CaptionScore(caption.Image, caption.Captions, similarity, Truncated: 0).ToJson();
        _ = json.Remove("truncated_captions");
        return json;
    }

    private static JsonObject Scored((string Kind, string Name) candidate, float score) => new() { [candidate.Kind] = candidate.Name, ["score"] = score };
}
