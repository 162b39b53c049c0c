// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Serialization;

namespace HiMo.Trainer;

/// <summary>The dataset.json of a data folder: where it comes from, and what a model that starts from nothing needs to know.</summary>
internal sealed record DatasetDescription
{
    /// <summary>Name of the file in the folder.</summary>
    public const string FileName = "dataset.json";

    private const int MaxFillers = 1_000_000;

    /// <summary>What made the folder.</summary>
    public required string Kind { get; init; }

    /// <summary>Version of the generator; another one means other scenes for the same seed.</summary>
    public int Generator { get; init; }

    /// <summary>Seed of the scenes.</summary>
    public long Seed { get; init; }

    /// <summary>Training pairs.</summary>
    public int Count { get; init; }

    /// <summary>Held-out pairs.</summary>
    public int EvaluationCount { get; init; }

    /// <summary>Width and height of every image in pixels.</summary>
    public int ImageSize { get; init; }

    /// <summary>Text positions that hold the longest caption.</summary>
    public int Context { get; init; }

    /// <summary>The closed vocabulary of the captions, in the order of the ids.</summary>
    public required string[] Words { get; init; }

    /// <summary>One word from each slot and a full stop make a sentence that says nothing about any image.</summary>
    public string[][] Filler { get; init; } = [];

    /// <summary>Every filler sentence; none where the data bring no slots.</summary>
    [JsonIgnore]
    public string[] FillerSentences => Filler.Length == 0
        ? []
        : [.. Filler.Aggregate<string[], IEnumerable<string>>([""], (starts, slot) => starts.SelectMany(start => slot.Select(word => start.Length == 0 ? word : $"{start} {word}"))).Select(text => text + ".")];

    private bool IsSound => Words is not null && !Words.Contains(null!) && Filler is not null && Filler.All(slot => slot is not null && !slot.Contains(null!))
        && Filler.Aggregate(1.0, (product, slot) => product * slot.Length) <= MaxFillers;

    /// <summary>Reads the description of a folder; null if it has none, as folders from elsewhere do.</summary>
    /// <param name="folder">A data folder.</param>
    /// <exception cref="UserError">The file is there and damaged.</exception>
    public static DatasetDescription? Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            DatasetDescription description = JsonSerializer.Deserialize(File.ReadAllBytes(path), DatasetDescriptionJson.Default.DatasetDescription)
                ?? throw new UserError($"{path}: is empty");
            return description.IsSound ? description : throw new UserError($"{path}: words and filler must be lists of texts, and the fillers make at most {MaxFillers} sentences");
        }
        catch (Exception failure) when (failure is JsonException or IOException)
        {
            throw new UserError($"{path}: is no data set description ({failure.Message})", failure);
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(DatasetDescription))]
internal sealed partial class DatasetDescriptionJson : JsonSerializerContext;
