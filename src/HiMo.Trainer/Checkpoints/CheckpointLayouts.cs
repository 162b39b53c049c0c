// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>Whose names a checkpoint uses.</summary>
internal enum CheckpointLayout
{
    /// <summary>OpenAI's, which Long-CLIP, HiMo-CLIP and open_clip share.</summary>
    OpenAi,

    /// <summary>Those of CLIPModel in Hugging Face's transformers.</summary>
    HuggingFace,
}

/// <summary>Brings the tensors of every layout under OpenAI's names.</summary>
internal static partial class CheckpointLayouts
{
    private const string ParallelPrefix = "module.";
    private const string TextPrefix = "text.";

    private static readonly (string HuggingFace, string OpenAi)[] s_whole =
    [
        ("logit_scale", "logit_scale"),
        ("visual_projection.weight", "visual.proj"),
        ("text_projection.weight", "text_projection"),
        ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
        ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"),
        ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
        ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
        ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ];

    private static readonly (string HuggingFace, string OpenAi)[] s_norms =
    [
        ("vision_model.pre_layrnorm", "visual.ln_pre"),
        ("vision_model.post_layernorm", "visual.ln_post"),
        ("text_model.final_layer_norm", "ln_final"),
    ];

    private static readonly (string HuggingFace, string OpenAi)[] s_inBlock =
    [
        ("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
    ];

    /// <summary>Tells the layout from the names.</summary>
    /// <param name="names">All names in the file.</param>
    public static CheckpointLayout Detect(IEnumerable<string> names) =>
        names.Any(name => name.StartsWith("vision_model.", StringComparison.Ordinal) || name.StartsWith("text_model.", StringComparison.Ordinal)) ? CheckpointLayout.HuggingFace : CheckpointLayout.OpenAi;

    /// <summary>The tensors by OpenAI's names; those that are no weights are left out, unknown ones keep their name.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="layout">The file's layout.</param>
    /// <param name="stored">The tensors by their names in the file.</param>
    /// <exception cref="UserError">Two tensors stand for the same one.</exception>
    public static IReadOnlyDictionary<string, CheckpointTensor> Map(string path, CheckpointLayout layout, IReadOnlyDictionary<string, StoredTensor> stored)
    {
        Dictionary<string, CheckpointTensor> tensors = [];
        foreach (CheckpointTensor tensor in layout == CheckpointLayout.HuggingFace ? FromHuggingFace(stored) : FromOpenAi(stored))
        {
            if (!tensors.TryAdd(tensor.Name, tensor))
            {
                throw new UserError($"{path}: several of its tensors stand for {tensor.Name}");
            }
        }

        return tensors;
    }

    /// <summary>Name, parts in order, and whether each is transposed, of an OpenAI tensor in Hugging Face's layout.</summary>
    /// <param name="name">OpenAI's name.</param>
    public static (IReadOnlyList<string> Names, bool Transposed) ToHuggingFace(string name)
    {
        if (s_whole.FirstOrDefault(pair => pair.OpenAi == name) is { HuggingFace: string whole })
        {
            return ([whole], name is "visual.proj" or "text_projection");
        }

        if (Block().Match(name) is { Success: true } block)
        {
            string prefix = $"{(block.Groups[1].Length > 0 ? "vision" : "text")}_model.encoder.layers.{block.Groups[2].Value}.", rest = block.Groups[3].Value;
            if (rest.StartsWith("attn.in_proj_", StringComparison.Ordinal))
            {
                string kind = rest["attn.in_proj_".Length..];
                return ([.. "qkv".Select(part => $"{prefix}self_attn.{part}_proj.{kind}")], false);
            }

            (string huggingFace, string openAi) = s_inBlock.First(pair => rest.StartsWith(pair.OpenAi + ".", StringComparison.Ordinal));
            return ([prefix + huggingFace + rest[openAi.Length..]], false);
        }

        (string norm, string own) = s_norms.First(pair => name.StartsWith(pair.OpenAi + ".", StringComparison.Ordinal));
        return ([norm + name[own.Length..]], false);
    }

    private static IEnumerable<CheckpointTensor> FromOpenAi(IReadOnlyDictionary<string, StoredTensor> stored)
    {
        bool isParallel = stored.Count > 0 && stored.Keys.All(name => name.StartsWith(ParallelPrefix, StringComparison.Ordinal));
        bool hasTextTower = stored.Keys.Any(name => name.EndsWith(TextPrefix + "token_embedding.weight", StringComparison.Ordinal));
        foreach ((string given, StoredTensor tensor) in stored)
        {
            string name = isParallel ? given[ParallelPrefix.Length..] : given;
            name = hasTextTower && name.StartsWith(TextPrefix, StringComparison.Ordinal) ? name[TextPrefix.Length..] : name;
            bool isBuffer = name is "input_resolution" or "context_length" or "vocab_size" or "attn_mask";
            if (!isBuffer)
            {
                yield return Single(name, tensor);
            }
        }
    }

    private static IEnumerable<CheckpointTensor> FromHuggingFace(IReadOnlyDictionary<string, StoredTensor> stored)
    {
        HashSet<string> used = [];
        foreach (string given in stored.Keys)
        {
            string? name = OpenAiName(given);
            if (name is null)
            {
                if (!given.EndsWith(".position_ids", StringComparison.Ordinal))
                {
                    yield return Single(given, stored[given]);
                }

                continue;
            }

            (IReadOnlyList<string> names, bool transposed) = ToHuggingFace(name);
            if (names.All(stored.ContainsKey))
            {
                if (used.Add(name))
                {
                    StoredTensor[] parts = [.. names.Select(part => stored[part])];
                    yield return AreStackable(parts) ? new CheckpointTensor(name, parts, transposed && parts[0].Shape.Length == 2) : new CheckpointTensor(given, [stored[given]]);
                }
            }
            else
            {
                yield return Single(given, stored[given]);
            }
        }
    }

    private static bool AreStackable(StoredTensor[] parts) =>
        parts.Length == 1 || parts.All(part => part.Shape.Length > 0 && part.Shape.AsSpan(1).SequenceEqual(parts[0].Shape.AsSpan(1)));

    private static string? OpenAiName(string name)
    {
        if (s_whole.FirstOrDefault(pair => pair.HuggingFace == name) is { OpenAi: string whole })
        {
            return whole;
        }

        if (Layer().Match(name) is { Success: true } layer)
        {
            string prefix = $"{(layer.Groups[1].Value == "vision" ? "visual." : "")}transformer.resblocks.{layer.Groups[2].Value}.", rest = layer.Groups[3].Value;
            if (Projection().Match(rest) is { Success: true } projection)
            {
                return $"{prefix}attn.in_proj_{projection.Groups[1].Value}";
            }

            return s_inBlock.FirstOrDefault(pair => rest.StartsWith(pair.HuggingFace + ".", StringComparison.Ordinal)) is { HuggingFace: string part } known ? prefix + known.OpenAi + rest[part.Length..] : null;
        }

        return s_norms.FirstOrDefault(pair => name.StartsWith(pair.HuggingFace + ".", StringComparison.Ordinal)) is { HuggingFace: string norm } own ? own.OpenAi + name[norm.Length..] : null;
    }

    /// <summary>The logit scale may be stored as a vector of one.</summary>
    private static CheckpointTensor Single(string name, StoredTensor tensor) =>
        new(name, [name == ClipShapes.LogitScale && tensor.Shape is [1] ? tensor with { Shape = [], Strides = [] } : tensor]);

    [GeneratedRegex(@"^(visual\.)?transformer\.resblocks\.(\d+)\.(.+)$")]
    private static partial Regex Block();

    [GeneratedRegex(@"^(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)$")]
    private static partial Regex Layer();

    [GeneratedRegex(@"^self_attn\.[qkv]_proj\.(weight|bias)$")]
    private static partial Regex Projection();
}
