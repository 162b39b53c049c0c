// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;

namespace HiMo.Trainer;

/// <summary>What the weights of a model do not say; a wrong guess would change its results silently.</summary>
/// <param name="Activation">Of both MLPs.</param>
/// <param name="Source">Where that was found, for people.</param>
/// <param name="VisionHeads">Attention heads of the image tower if stated.</param>
/// <param name="TextHeads">Attention heads of the text tower if stated.</param>
internal sealed record ModelSettings(ClipActivation Activation, string Source, int? VisionHeads = null, int? TextHeads = null)
{
    private const string OpenClipFile = "open_clip_config.json";
    private const string HuggingFaceFile = "config.json";

    /// <summary>Looks in the checkpoint's metadata, then in a configuration file beside it; without either the activation is OpenAI's.</summary>
    /// <param name="path">The checkpoint.</param>
    /// <param name="layout">Whose names it uses, hence whose configuration belongs to it.</param>
    /// <param name="metadata">Its metadata.</param>
    /// <exception cref="UserError">A configuration is malformed or asks for something else than CLIP.</exception>
    public static ModelSettings Find(string path, CheckpointLayout layout, IReadOnlyDictionary<string, string> metadata)
    {
        if (metadata.TryGetValue(Checkpoint.ActivationKey, out string? activation))
        {
            return new ModelSettings(Parse(path, activation), "the checkpoint's metadata");
        }

        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        string config = Path.Combine(folder, layout == CheckpointLayout.HuggingFace ? HuggingFaceFile : OpenClipFile);
        if (!File.Exists(config))
        {
            return new ModelSettings(ClipActivation.QuickGelu, "OpenAI's models, since nothing beside the weights names it");
        }

        try
        {
            using FileStream stream = File.OpenRead(config);
            using JsonDocument document = JsonDocument.Parse(stream);
            return layout == CheckpointLayout.HuggingFace ? FromHuggingFace(config, document.RootElement) : FromOpenClip(config, document.RootElement);
        }
        catch (Exception failure) when (failure is JsonException or InvalidOperationException or FormatException or KeyNotFoundException or IOException or UnauthorizedAccessException)
        {
            throw new UserError($"{config}: is no intact configuration of the model beside it ({failure.Message})", failure);
        }
    }

    /// <summary>Compares the stated heads with those of 64 each.</summary>
    /// <param name="config">The architecture that the weights describe.</param>
    /// <exception cref="UserError">They differ.</exception>
    public void CheckHeads(ClipConfig config)
    {
        Check("image", VisionHeads, config.VisionWidth);
        Check("text", TextHeads, config.TextWidth);

        void Check(string tower, int? heads, int width)
        {
            if (heads is int stated && stated != ClipConfig.Heads(width))
            {
                throw new UserError($"{Source}: gives the {tower} tower {stated} heads at width {width}; only heads of {ClipConfig.HeadWidth}, here {ClipConfig.Heads(width)}, are supported");
            }
        }
    }

    /// <summary>The name that configurations use.</summary>
    /// <param name="activation">The activation.</param>
    public static string Name(ClipActivation activation) => activation == ClipActivation.Gelu ? "gelu" : "quick_gelu";

    private static ClipActivation Parse(string path, string? name) => name switch
    {
        "quick_gelu" => ClipActivation.QuickGelu,
        "gelu" => ClipActivation.Gelu,
        _ => throw new UserError($"{path}: names the activation '{name}'; known are quick_gelu and gelu"),
    };

    private static ModelSettings FromHuggingFace(string path, JsonElement root)
    {
        (ClipActivation text, int? textHeads) = Tower("text_config");
        (ClipActivation vision, int? visionHeads) = Tower("vision_config");
        return text == vision
            ? new ModelSettings(text, path, visionHeads ?? 12, textHeads ?? 8)
            : throw new UserError($"{path}: gives the two towers different activations, {Name(text)} and {Name(vision)}; they must agree");

        (ClipActivation Activation, int? Heads) Tower(string name)
        {
            // Old files hold the true values in *_config_dict.
            JsonElement tower = root.TryGetProperty(name + "_dict", out JsonElement old) && old.ValueKind == JsonValueKind.Object ? old
                : root.TryGetProperty(name, out JsonElement own) ? own : default;
            if (tower.ValueKind != JsonValueKind.Object)
            {
                return (ClipActivation.QuickGelu, null);
            }

            ClipActivation activation = tower.TryGetProperty("hidden_act", out JsonElement act) ? Parse(path, act.GetString()) : ClipActivation.QuickGelu;
            return (activation, tower.TryGetProperty("num_attention_heads", out JsonElement heads) ? heads.GetInt32() : null);
        }
    }

    private static ModelSettings FromOpenClip(string path, JsonElement root)
    {
        JsonElement model = root.GetProperty("model_cfg");
        bool isQuick = model.TryGetProperty("quick_gelu", out JsonElement quick) && quick.GetBoolean();
        int? textHeads = model.TryGetProperty("text_cfg", out JsonElement text) && text.TryGetProperty("heads", out JsonElement heads) ? heads.GetInt32() : null;
        int? visionHeads = model.TryGetProperty("vision_cfg", out JsonElement vision) && vision.TryGetProperty("head_width", out JsonElement headWidth) && vision.TryGetProperty("width", out JsonElement width)
            ? width.GetInt32() / Math.Max(1, headWidth.GetInt32()) : null;
        return new ModelSettings(isQuick ? ClipActivation.QuickGelu : ClipActivation.Gelu, path, visionHeads, textHeads);
    }
}
