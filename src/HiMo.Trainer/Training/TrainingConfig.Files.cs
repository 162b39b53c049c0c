// SPDX-License-Identifier: Apache-2.0
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using HiMo.Kernels;

namespace HiMo.Trainer;

internal sealed partial record TrainingConfig
{
    /// <summary>Properties that may differ between a run and its continuation.</summary>
    private static readonly string[] s_notBinding = ["name", "device", "threads", "eval_every", "save_every", "save_minutes", "keep_checkpoints", "workers", "prefetch", "max_bad_images", "tensor_board", "activation_checkpointing"];

    /// <summary>Names of the properties that differ between a run and what continues it, of those that decide the result.</summary>
    /// <param name="other">The other configuration.</param>
    public IReadOnlyList<string> Differences(TrainingConfig other)
    {
        JsonObject mine = Binding(), others = other.Binding();
        return [.. mine.Select(pair => pair.Key).Where(key => !JsonNode.DeepEquals(mine[key], others[key]))];
    }

    /// <summary>The properties that decide the result.</summary>
    public JsonObject Binding()
    {
        JsonObject all = JsonSerializer.SerializeToNode(this, TrainingConfigJson.Default.TrainingConfig)!.AsObject();
        foreach (string name in s_notBinding)
        {
            _ = all.Remove(name);
        }

        return all;
    }

    /// <summary>As config.json holds it.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, TrainingConfigJson.Default.TrainingConfig);

    /// <summary>Reads the configuration of a run; null if the folder has none.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <exception cref="UserError">The file is damaged.</exception>
    public static TrainingConfig? Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(path), TrainingConfigJson.Default.TrainingConfig) ?? throw new UserError($"{path}: is empty");
        }
        catch (Exception failure) when (failure is JsonException or IOException)
        {
            throw new UserError($"{path}: is no configuration of a run ({failure.Message})", failure);
        }
    }

    /// <summary>Values of a file in the form of config.json over those of another configuration.</summary>
    /// <param name="path">A JSON object with any of the properties; a run's own config.json is one.</param>
    /// <param name="under">Where the other values come from.</param>
    /// <exception cref="UserError">The file is missing or damaged, or a property is unknown or of the wrong kind; the message names it.</exception>
    public static TrainingConfig ReadOver(string path, TrainingConfig under)
    {
        JsonObject all = JsonSerializer.SerializeToNode(under, TrainingConfigJson.Default.TrainingConfig)!.AsObject();
        try
        {
            JsonObject given = JsonNode.Parse(File.ReadAllBytes(path)) as JsonObject ?? throw new UserError($"--config {path}: holds no JSON object");
            foreach ((string name, JsonNode? value) in given)
            {
                if (!all.ContainsKey(name))
                {
                    throw new UserError($"--config {path}: there is no {name}; the nearest is {NearestName.Find(name, all.Select(pair => pair.Key))}");
                }

                all[name] = value?.DeepClone();
            }

            return JsonSerializer.Deserialize(all, TrainingConfigJson.Default.TrainingConfig)!;
        }
        catch (Exception failure) when (failure is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new UserError($"--config {path}: cannot be used ({failure.Message.ReplaceLineEndings(" ")})", failure);
        }
    }

    /// <summary>Every value on lines of readable length, as a run prints it.</summary>
    public string Describe()
    {
        const int Width = 120;
        StringBuilder text = new();
        int start = 0;
        foreach ((string name, JsonNode? value) in JsonSerializer.SerializeToNode(this, TrainingConfigJson.Default.TrainingConfig)!.AsObject())
        {
            string entry = $"{name} {(value is JsonValue given && given.GetValueKind() == JsonValueKind.String && (string?)given is { Length: > 0 } word ? word : value?.ToJsonString() ?? "null")}";
            if (text.Length > 0)
            {
                bool wrap = text.Length - start + entry.Length + 2 > Width;
                _ = text.Append(wrap ? "\n" : ", ");
                start = wrap ? text.Length : start;
            }

            _ = text.Append(entry);
        }

        return text.ToString();
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true,
    Converters = [typeof(KebabEnum<TrainingLoss>), typeof(KebabEnum<CaptionUse>), typeof(KebabEnum<ComponentSource>),
        typeof(KebabEnum<ComponentNormalization>), typeof(KebabEnum<BasisGradient>), typeof(KebabEnum<Accumulation>), typeof(KebabEnum<Precision>),
        typeof(KebabEnum<WeightDecayPolicy>), typeof(KebabEnum<RateSchedule>)])]
[JsonSerializable(typeof(TrainingConfig))]
internal sealed partial class TrainingConfigJson : JsonSerializerContext;

/// <summary>Enums as the command line spells them, for example <c>text-and-image</c>.</summary>
internal sealed class KebabEnum<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.KebabCaseLower)
    where T : struct, Enum;
