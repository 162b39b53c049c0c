// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary><c>search</c>: what of an encoded folder is most similar to a text or an image.</summary>
internal static class SearchCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Argument<string?> text = new("query") { Description = "The text to search with; left out where --image is given.", HelpName = "TEXT", Arity = ArgumentArity.ZeroOrOne };
        Option<string?> image = new("--image") { Description = "Searches with an image instead.", HelpName = "FILE" };
        Option<string> features = new("--features") { Description = "Folder that 'himo encode' made in bulk.", HelpName = "DIR", Required = true };
        Option<int> top = new("--top") { Description = "How many are shown. [10]", HelpName = "K", DefaultValueFactory = _ => 10 };
        Option<bool> json = new("--json") { Description = "Prints JSON." };
        ModelOptions options = new();
        Command command = new("search", "The images (or texts) of an encoded folder that are most similar to a text or an image.") { text, image, features, top, json };
        options.AddTo(command);
        command.Set((parse, cancel) =>
        {
            (string? words, string? picture) = (parse.GetValue(text), parse.GetValue(image));
            if (words is null == picture is null || words is not null && string.IsNullOrWhiteSpace(words))
            {
                throw new UserError("search with either a text or --image FILE");
            }

            if (parse.GetValue(top) < 1)
            {
                throw new UserError($"--top {parse.GetValue(top)}: must be at least 1");
            }

            string path = parse.GetRequiredValue(features);
            FeatureFolder folder = FeatureFolder.Open(path);
            IReadOnlyList<(int Row, float Similarity)> found = folder.Search(Query(parse, options, folder, path, words, picture), parse.GetValue(top), cancel);
            TextWriter output = parse.InvocationConfiguration.Output;
            if (parse.GetValue(json))
            {
                output.WriteLine(new JsonObject
                {
                    ["query"] = new JsonObject { [words is null ? EncodingSource.Image : EncodingSource.Text] = words ?? picture },
                    ["features"] = path,
                    ["results"] = new JsonArray([.. found.Select(hit => new JsonObject { [folder.Kind] = folder.NameOf(hit.Row), ["similarity"] = hit.Similarity })]),
                }.ToJsonString(JsonText.Readable));
                return;
            }

            foreach ((int row, float similarity) in found)
            {
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{similarity,7:F4}  {folder.NameOf(row)}"));
            }
        });
        return command;
    }

    private static float[] Query(ParseResult parse, ModelOptions options, FeatureFolder folder, string path, string? words, string? picture)
    {
        using ClipModel model = options.LoadModel(parse);
        if (model.Fingerprint() != folder.Model)
        {
            throw new UserError($"{path}: was encoded by another model than {options.Checkpoint(parse)} (or with another --context or --activation); similarities between two models mean nothing");
        }

        using DisposeScope scope = NewDisposeScope();
        Tensor feature = picture is not null
            ? FeatureEncoder.Images(model, [picture], rgbFirst: false)
            : FeatureEncoder.Texts(model, options.TokenizerOf(parse, model), [words!]).Features;
        return feature.data<float>().ToArray();
    }
}
