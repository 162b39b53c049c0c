// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>What stands beside an exported model for people: architecture, preprocessing, how it was trained, licence. Markdown with Hugging Face's header.</summary>
internal static class ModelCard
{
    /// <summary>Key of the training configuration in a checkpoint's metadata.</summary>
    public const string TrainingKey = "himo.training";

    private static readonly string[] s_shown =
    [
        "loss", "base", "base_hash", "data", "steps", "batch", "ranks", "accumulation", "precision", "learning_rate", "warmup_steps", "schedule", "weight_decay", "weight_decay_policy",
        "tau", "lambda", "global_weight", "label_smoothing", "basis_gradient", "gather_with_grad", "seed",
    ];

    private static readonly string[] s_paths = ["base", "data"]; // of which the name is enough, and the rest concerns nobody

    /// <summary>The card's text.</summary>
    /// <param name="model">The model.</param>
    /// <param name="format">For whom it is written.</param>
    public static string Text(ClipModel model, ExportFormat format)
    {
        ClipConfig config = model.Config;
        string name = PublishedModels.NameOf(config) is { } published ? $"CLIP, {published}" : $"CLIP, patches of {config.PatchSize} at {config.ImageResolution} pixels";
        JsonObject? training = Training(model);
        StringBuilder text = new();
        text.Append("---\nlicense: other\nlicense_name: see-licence-below\npipeline_tag: zero-shot-image-classification\n");
        text.Append(format switch { ExportFormat.HuggingFace => "library_name: transformers\n", ExportFormat.OpenClip => "library_name: open_clip\n", _ => "" });
        text.Append("tags:\n- clip\n").Append(JsonText.String(training?["loss"]) == "himo" ? "- himo-clip\n" : "").Append("---\n\n");
        text.Append(CultureInfo.InvariantCulture, $"# {name}\n\nAn image encoder and a text encoder whose features are compared by their cosine.\n\n");
        text.Append("| | |\n|---|---|\n");
        Row("image encoder", $"{config.VisionLayers} blocks of width {config.VisionWidth}, patches of {config.PatchSize} x {config.PatchSize}");
        Row("text encoder", $"{config.TextLayers} blocks of width {config.TextWidth}, {config.VocabSize} tokens, texts of up to {config.ContextLength} tokens");
        Row("embedding", $"{config.EmbedDim} dimensions");
        Row("activation", ModelSettings.Name(config.Activation));
        text.Append(CultureInfo.InvariantCulture, $"""

            ## Input

            Images: shorter side to {config.ImageResolution} pixels (bicubic, antialiased), centre crop, RGB, (x / 255 - mean) / deviation with mean 0.48145466, 0.4578275, 0.40821073 and
            deviation 0.26862954, 0.26130258, 0.27577711. Texts: {(model.Metadata.ContainsKey(WordTokenizer.MetadataKey) ? "words of the list in the checkpoint's metadata" : "CLIP's byte pairs")}, start and end token included.

            ## Training


            """);
        if (training is null)
        {
            text.Append("The file that this was made from says nothing about its training.\n");
        }
        else
        {
            text.Append("| | |\n|---|---|\n");
            foreach (string key in s_shown.Where(key => training[key] is not null))
            {
                Row(key.Replace('_', ' '), s_paths.Contains(key) ? Path.GetFileName(training[key]!.ToString()) : training[key]!.ToString());
            }
        }

        text.Append(CultureInfo.InvariantCulture, $"""

            ## Limits

            What a CLIP has learned from its data, their language, their gaps and their prejudices, is in its scores. Measure it on your own images and texts before relying on it
            (`himo eval`), and do not use it to judge or identify people.

            ## Licence

            {Licence(training)} HiMo.Trainer {Version}, which wrote this file, is under the Apache License 2.0; that licence is the program's, not the weights'.

            """);
        return text.ToString();

        void Row(string label, string value) => text.Append(CultureInfo.InvariantCulture, $"| {label} | {value} |\n");
    }

    private static string? Version => typeof(ModelCard).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0];

    private static string Licence(JsonObject? training) => JsonText.String(training?["base_hash"]) is { } hash && CheckpointInspector.Published(hash) is { } published
        ? $"The weights were trained from OpenAI's {published}, which was published under the MIT licence; the terms of the training data apply as well."
        : "The weights are under the terms of the model that they were trained from and of the training data.";

    /// <summary>How it was trained, or null where nothing readable says so.</summary>
    private static JsonObject? Training(ClipModel model)
    {
        try
        {
            return model.Metadata.TryGetValue(TrainingKey, out string? json) ? JsonText.Node(json) as JsonObject : null;
        }
        catch (JsonException)
        {
            return null; // foreign metadata under our key describe nothing
        }
    }
}
