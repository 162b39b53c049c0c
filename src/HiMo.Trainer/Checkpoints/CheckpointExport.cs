// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>What other programs read.</summary>
internal enum ExportFormat
{
    /// <summary>One file in OpenAI's names, ours.</summary>
    Safetensors,

    /// <summary>One .pt with two positional tables: Long-CLIP and HiMo-CLIP.</summary>
    LongClip,

    /// <summary>A folder for transformers' CLIPModel.</summary>
    HuggingFace,

    /// <summary>A folder for open_clip, local-dir schema.</summary>
    OpenClip,
}

/// <summary>Writes a model for other programs, with a card for people beside it; every file is complete or not there, the weights come last.</summary>
internal static class CheckpointExport
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    /// <summary>Mean and deviation of the pixels that OpenAI's models were trained on.</summary>
    private static readonly double[] s_mean = [0.48145466, 0.4578275, 0.40821073], s_deviation = [0.26862954, 0.26130258, 0.27577711];

    /// <summary>Writes the model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="format">For whom.</param>
    /// <param name="path">A file, for Hugging Face and open_clip a folder.</param>
    /// <param name="type">Type of the weights in the file.</param>
    /// <exception cref="UserError">The format cannot hold this model, or the file system refuses.</exception>
    public static void Write(ClipModel model, ExportFormat format, string path, ScalarType type)
    {
        using DisposeScope scope = NewDisposeScope();
        IEnumerable<(string Name, Tensor Value)> longClip = format == ExportFormat.LongClip ? LongClipTensors(model) : []; // refuses before anything is written
        AtomicFile.WriteText(format is ExportFormat.HuggingFace or ExportFormat.OpenClip ? Path.Combine(path, "README.md") : path + ".md", ModelCard.Text(model, format));
        switch (format)
        {
            case ExportFormat.Safetensors:
                model.Save(path, model.Metadata, type);
                break;
            case ExportFormat.LongClip:
                TorchArchiveWriter.Write(path, longClip, type);
                break;
            case ExportFormat.HuggingFace:
                AtomicFile.WriteText(Path.Combine(path, "config.json"), HuggingFaceConfig(model.Config, type).ToJsonString(s_indented));
                AtomicFile.WriteText(Path.Combine(path, "preprocessor_config.json"), Preprocessor(model.Config.ImageResolution).ToJsonString(s_indented));
                SafetensorsFile.Write(Path.Combine(path, "model.safetensors"), Merged(model).SelectMany(HuggingFaceTensors), Format, type);
                break;
            case ExportFormat.OpenClip:
                AtomicFile.WriteText(Path.Combine(path, "open_clip_config.json"), OpenClipConfig(model.Config).ToJsonString(s_indented));
                SafetensorsFile.Write(Path.Combine(path, "open_clip_model.safetensors"), Merged(model), Format, type);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(format), format, "is no export format.");
        }
    }

    private static Dictionary<string, string> Format => [];

    private static IEnumerable<(string Name, Tensor Value)> All(ClipModel model) => model.named_parameters().Select(pair => (pair.name, (Tensor)pair.parameter));

    /// <summary>All tensors, the two positional tables made one.</summary>
    private static IEnumerable<(string Name, Tensor Value)> Merged(ClipModel model)
    {
        Dictionary<string, Tensor> all = All(model).ToDictionary();
        using IDisposable constant = no_grad();
        all[ClipShapes.Positions] = PositionalTable.Merge(all[ClipShapes.Positions], all.GetValueOrDefault(ClipShapes.TrainedPositions), model.Config.ContextLength);
        return all.Where(pair => pair.Key != ClipShapes.TrainedPositions).Select(pair => (pair.Key, pair.Value));
    }

    private static IEnumerable<(string Name, Tensor Value)> LongClipTensors(ClipModel model)
    {
        if (model.Config.ContextLength <= PositionalTable.Frozen || model.Config.Activation != ClipActivation.QuickGelu)
        {
            throw new UserError($"Long-CLIP's format holds models with QuickGELU and more than {PositionalTable.Frozen} positions; this one has {ModelSettings.Name(model.Config.Activation)} and {model.Config.ContextLength}");
        }

        Dictionary<string, Tensor> all = All(model).ToDictionary();
        return all.ContainsKey(ClipShapes.TrainedPositions)
            ? all.Select(pair => (pair.Key, pair.Value))
            : all.Select(pair => (pair.Key, pair.Value)).Append((ClipShapes.TrainedPositions, all[ClipShapes.Positions]));
    }

    private static IEnumerable<(string Name, Tensor Value)> HuggingFaceTensors((string Name, Tensor Value) tensor)
    {
        (IReadOnlyList<string> names, bool transposed) = CheckpointLayouts.ToHuggingFace(tensor.Name);
        Tensor value = transposed ? tensor.Value.t() : tensor.Value;
        long rows = names.Count == 1 ? 0 : value.shape[0] / names.Count;
        return names.Select((name, i) => (name, names.Count == 1 ? value : value.narrow(0, i * rows, rows)));
    }

    private static JsonObject HuggingFaceConfig(ClipConfig config, ScalarType type) => new()
    {
        ["architectures"] = new JsonArray("CLIPModel"),
        ["model_type"] = "clip",
        ["projection_dim"] = config.EmbedDim,
        ["logit_scale_init_value"] = 2.6592,
        ["torch_dtype"] = type switch { ScalarType.Float16 => "float16", ScalarType.BFloat16 => "bfloat16", _ => "float32" },
        ["text_config"] = new JsonObject
        {
            ["model_type"] = "clip_text_model",
            ["vocab_size"] = config.VocabSize,
            ["hidden_size"] = config.TextWidth,
            ["intermediate_size"] = config.TextMlpWidth,
            ["num_hidden_layers"] = config.TextLayers,
            ["num_attention_heads"] = ClipConfig.Heads(config.TextWidth),
            ["max_position_embeddings"] = config.ContextLength,
            ["projection_dim"] = config.EmbedDim,
            ["hidden_act"] = ModelSettings.Name(config.Activation),
            ["layer_norm_eps"] = 1e-5,

            // The last two ids start and end a text, in CLIP's vocabulary and in our word lists; the end token is where features are taken.
            ["bos_token_id"] = config.VocabSize - 2,
            ["eos_token_id"] = config.VocabSize - 1,
            ["pad_token_id"] = 0,
        },
        ["vision_config"] = new JsonObject
        {
            ["model_type"] = "clip_vision_model",
            ["hidden_size"] = config.VisionWidth,
            ["intermediate_size"] = config.VisionMlpWidth,
            ["num_hidden_layers"] = config.VisionLayers,
            ["num_attention_heads"] = ClipConfig.Heads(config.VisionWidth),
            ["image_size"] = config.ImageResolution,
            ["patch_size"] = config.PatchSize,
            ["num_channels"] = 3,
            ["projection_dim"] = config.EmbedDim,
            ["hidden_act"] = ModelSettings.Name(config.Activation),
            ["layer_norm_eps"] = 1e-5,
        },
    };

    private static JsonObject Preprocessor(int size) => new()
    {
        ["image_processor_type"] = "CLIPImageProcessor",
        ["do_resize"] = true,
        ["size"] = new JsonObject { ["shortest_edge"] = size },
        ["resample"] = 3,
        ["do_center_crop"] = true,
        ["crop_size"] = new JsonObject { ["height"] = size, ["width"] = size },
        ["do_rescale"] = true,
        ["rescale_factor"] = 1.0 / 255.0,
        ["do_normalize"] = true,
        ["image_mean"] = Numbers(s_mean),
        ["image_std"] = Numbers(s_deviation),
        ["do_convert_rgb"] = true,
    };

    private static JsonObject OpenClipConfig(ClipConfig config) => new()
    {
        ["model_cfg"] = new JsonObject
        {
            ["embed_dim"] = config.EmbedDim,
            ["quick_gelu"] = config.Activation == ClipActivation.QuickGelu,
            ["vision_cfg"] = new JsonObject
            {
                ["image_size"] = config.ImageResolution,
                ["layers"] = config.VisionLayers,
                ["width"] = config.VisionWidth,
                ["head_width"] = config.VisionWidth / ClipConfig.Heads(config.VisionWidth),
                ["mlp_ratio"] = Ratio(config.VisionMlpWidth, config.VisionWidth),
                ["patch_size"] = config.PatchSize,
            },
            ["text_cfg"] = new JsonObject
            {
                ["context_length"] = config.ContextLength,
                ["vocab_size"] = config.VocabSize,
                ["width"] = config.TextWidth,
                ["heads"] = ClipConfig.Heads(config.TextWidth),
                ["layers"] = config.TextLayers,
                ["mlp_ratio"] = Ratio(config.TextMlpWidth, config.TextWidth),
            },
        },
        ["preprocess_cfg"] = new JsonObject { ["mean"] = Numbers(s_mean), ["std"] = Numbers(s_deviation), ["interpolation"] = "bicubic", ["resize_mode"] = "shortest" },
    };

    /// <summary>open_clip takes the integer part of width times ratio, which a quotient rounded down would miss by one.</summary>
    private static double Ratio(int hidden, int width) => (int)(width * ((double)hidden / width)) == hidden ? (double)hidden / width : (hidden + 0.5) / width;

    private static JsonArray Numbers(double[] values) => [.. values.Select(value => JsonValue.Create(value))];
}
