// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Everything measured on images with growing captions: retrieval by whole, half and shortest captions; retrieval from few principal
/// components of the whole captions; HiMo@2, @3 and @K on similarities, and on similarities less that with the average image (margin).
/// </summary>
internal static class GrowingEvaluation
{
    /// <summary>Measures a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="set">Images with captions.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <param name="record">Receives one object per image, or null.</param>
    /// <returns>The measures as <c>eval.json</c> holds them, without the checkpoint's name; shares from 0 to 1.</returns>
    /// <exception cref="UserError">The model gives no finite features, or the captions hold unknown words.</exception>
    public static JsonObject Run(ClipModel model, ITokenizer tokenizer, EvaluationSet set, CancellationToken cancel = default, Action<JsonObject>? record = null)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor images = FeatureEncoder.Images(model, [.. set.Captions.Select(caption => caption.ImagePath)], set.RgbFirst, cancel);
        (Tensor texts, int truncated) = FeatureEncoder.Texts(model, tokenizer, [.. set.Captions.SelectMany(caption => caption.Captions)], cancel);
        int[] counts = [.. set.Captions.Select(caption => caption.Captions.Length)];
        long[] ends = Ends(counts);
        Tensor whole = Select(texts, i => ends[i] - 1);

        float[] full = Similarity(images, whole);

        JsonObject json = new()
        {
            ["protocol"] = ChoiceOption.Kebab(nameof(Protocol.Growing)),
            ["data"] = set.Source,
            ["gallery"] = counts.Length,
            ["captions"] = texts.shape[0],
            ["truncated_captions"] = truncated,
            ["retrieval"] = new JsonObject
            {
                ["full"] = Measure(full, counts.Length).ToJson(),
                ["half"] = Recall(images, Select(texts, i => ends[i] - counts[i] + Math.Max(1, counts[i] / 2) - 1)),
                ["gist"] = Recall(images, Select(texts, i => ends[i] - counts[i])),
            },
        };
        if (set.Unreadable > 0)
        {
            json["skipped_images"] = set.Unreadable;
        }

        json["histogram"] = SimilarityHistogram.From(full, counts.Length);
        json["failures"] = WorstQueries.From(full, set.Captions);
        AddComponents(json, images, whole);
        AddGrowth(json, images, texts, counts, set, record);
        return json;

        Tensor Select(Tensor all, Func<int, long> position) => all.index_select(0, tensor([.. Enumerable.Range(0, counts.Length).Select(position)]));
    }

    /// <summary>The measures that a log keeps.</summary>
    /// <param name="evaluation">From <see cref="Run"/>.</param>
    public static JsonObject Summary(JsonObject evaluation) => new(
        new[] { "retrieval", "effective_rank", "himo", "margin" }.Select(key => KeyValuePair.Create(key, evaluation[key]?.DeepClone())));

    private static long[] Ends(int[] counts)
    {
        long[] ends = new long[counts.Length];
        long end = 0;
        for (int i = 0; i < counts.Length; i++)
        {
            ends[i] = end += counts[i];
        }

        return ends;
    }

    private static JsonObject Recall(Tensor images, Tensor texts) => Measure(images, texts).ToJson();

    private static Retrieval Measure(Tensor images, Tensor texts) => Measure(Similarity(images, texts), (int)images.shape[0]);

    /// <summary>Captions of the same words are the same answer, so equal scores share their rank.</summary>
    private static Retrieval Measure(float[] similarity, int count) => Retrieval.Measure<float>(similarity, count, count, TieRule.ShareRank);

    private static float[] Similarity(Tensor images, Tensor texts)
    {
        using Tensor similarity = images.matmul(texts.t());
        return similarity.data<float>().ToArray();
    }

    private static void AddComponents(JsonObject json, Tensor images, Tensor whole)
    {
        using TextComponents components = new(whole);
        JsonArray recalls = [];
        for (int kept = 1; kept <= components.Spectrum.Length; kept *= 2)
        {
            using Tensor texts = components.Reconstruct(kept);
            Retrieval retrieval = Measure(images, texts);
            recalls.Add(new JsonObject { ["kept"] = kept, ["image_to_text_R@1"] = retrieval.ImageToText.At1, ["text_to_image_R@1"] = retrieval.TextToImage.At1 });
        }

        json["components"] = recalls;
        json["effective_rank"] = components.EffectiveRank;
        json["spectrum"] = Array(components.Spectrum);
    }

    private static void AddGrowth(JsonObject json, Tensor images, Tensor texts, int[] counts, EvaluationSet set, Action<JsonObject>? record)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor own = images.repeat_interleave(tensor(System.Array.ConvertAll(counts, count => (long)count)), 0);
        double[][] similarity = Rows((texts * own).sum(1));
        double[][] margin = Rows((texts * (own - images.mean([0L], keepdim: true))).sum(1));
        for (int i = 0; i < counts.Length; i++)
        {
            record?.Invoke(QueryRecords.Of(set.Captions[i], similarity[i]));
        }

        GrowthDetails details = GrowthDetails.From(set.Captions, similarity, margin);
        (json["himo"], json["margin"]) = (details.Growth.ToJson(), details.Margin.ToJson());
        details.AddTo(json);

        double[][] Rows(Tensor values) => GrowthDetails.Rows(values.data<float>().ToArray(), set.Captions);
    }

    private static JsonArray Array(IEnumerable<double> values) => new([.. values.Select(value => JsonValue.Create(value))]);
}
