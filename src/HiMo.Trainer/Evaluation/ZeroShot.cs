// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Zero-shot classification: a class is the mean of the unit features of its name in every template, made a unit vector again; an image
/// belongs to the most similar class. Source: openai/CLIP, notebooks/Prompt_Engineering_for_ImageNet.ipynb.
/// </summary>
internal static class ZeroShot
{
    /// <summary>Used where no templates are given.</summary>
    public const string DefaultTemplate = "a photo of a {}.";

    private const string Place = "{}";
    private const int MaxLine = 1 << 16;

    /// <summary>The prompts' templates: one a line, each with <c>{}</c> where the name belongs.</summary>
    /// <param name="file">The file, or null for <see cref="DefaultTemplate"/> alone.</param>
    /// <exception cref="UserError">The file holds no template, or a line without <c>{}</c>.</exception>
    public static IReadOnlyList<string> Templates(string? file)
    {
        if (file is null)
        {
            return [DefaultTemplate];
        }

        string[] lines = [.. TextFile.Lines(file, MaxLine).Where(line => !string.IsNullOrWhiteSpace(line))];
        return lines.Length > 0 && lines.FirstOrDefault(line => !line.Contains(Place, StringComparison.Ordinal)) is null
            ? lines
            : throw new UserError($"{file}: {(lines.Length == 0 ? "holds no template" : $"the line '{lines.First(line => !line.Contains(Place, StringComparison.Ordinal))}' has no {Place}")}; a template is a line such as '{DefaultTemplate}'");
    }

    /// <summary>Classifies every image.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="set">Images and classes.</param>
    /// <param name="templates">At least one, each with <c>{}</c>.</param>
    /// <param name="record">Receives one object per image, or null.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <param name="messages">Shows how far a large set is; may be null.</param>
    /// <returns>Shares <c>top-1</c> and <c>top-5</c> of all images, <c>mean_class_top-1</c> with every class of equal weight, counts, and the classes.</returns>
    /// <exception cref="UserError">An image cannot be read.</exception>
    public static JsonObject Run(
        ClipModel model, ITokenizer tokenizer, ImageFolder set, IReadOnlyList<string> templates, Action<JsonObject>? record, CancellationToken cancel, TextWriter? messages = null)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        (Tensor classes, int truncated) = Classes(model, tokenizer, set.Names, templates, cancel);
        Tensor images = FeatureEncoder.Images(model, set.Images, rgbFirst: false, cancel, messages);
        float[] scores = images.matmul(classes.t()).data<float>().ToArray();
        QueryHits[] hits = new QueryHits[set.Images.Count];
        int tied = 0;
        for (int i = 0; i < hits.Length; i++)
        {
            ReadOnlySpan<float> row = scores.AsSpan(i * set.Names.Count, set.Names.Count);
            hits[i] = QueryHits.From(row, set.Labels[i], Ranks.Of(row, set.Labels[i]), QueryRecords.Kept);
            tied += Ranks.Ties(row, set.Labels[i]) > 0 ? 1 : 0;
            record?.Invoke(QueryRecords.Of(hits[i], "image", set.Images[i], candidate => ("class", set.Names[candidate])));
        }

        IGrouping<int, QueryHits>[] perClass = [.. hits.GroupBy(hit => hit.Answer).OrderBy(group => group.Key)];
        return new JsonObject
        {
            ["top-1"] = Share(hits, 1),
            ["top-5"] = Share(hits, 5),
            ["mean_class_top-1"] = perClass.Average(group => Share(group, 1)),
            ["images"] = hits.Length,
            ["classes"] = set.Names.Count,
            ["templates"] = templates.Count,
            ["tied_queries"] = tied,
            ["truncated_captions"] = truncated,
            ["per_class"] = new JsonArray([.. perClass.Select(group => new JsonObject
            {
                ["folder"] = set.Folders[group.Key], ["class"] = set.Names[group.Key], ["images"] = group.Count(), ["top-1"] = Share(group, 1),
            })]),
        };

        static double Share(IEnumerable<QueryHits> hits, int limit) => hits.Average(hit => hit.Rank < limit ? 1.0 : 0.0);
    }

    private static (Tensor Classes, int Truncated) Classes(ClipModel model, ITokenizer tokenizer, IReadOnlyList<string> names, IReadOnlyList<string> templates, CancellationToken cancel)
    {
        using DisposeScope scope = NewDisposeScope();
        string[] prompts = [.. names.SelectMany(name => templates.Select(template => template.Replace(Place, name, StringComparison.Ordinal)))];
        (Tensor features, int truncated) = FeatureEncoder.Texts(model, tokenizer, prompts, cancel);
        Tensor mean = features.view(names.Count, templates.Count, -1).mean([1L]);
        return (nn.functional.normalize(mean, p: 2, dim: 1, eps: 1e-12).MoveToOuterDisposeScope(), truncated);
    }
}
