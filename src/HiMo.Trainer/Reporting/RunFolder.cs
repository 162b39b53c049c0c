// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>What one run left on disk, as the report reads it: <c>config.json</c>, <c>log.jsonl</c> and <c>eval.json</c>.</summary>
internal sealed class RunFolder
{
    /// <summary>What <see cref="Loss"/> is without training.</summary>
    public const string Before = "before";

    private RunFolder(string path, JsonObject config, IReadOnlyList<JsonObject> log, JsonObject? evaluation)
    {
        FolderPath = path;
        Name = Path.GetFileName(Path.TrimEndingDirectorySeparator(path));
        Config = config;
        Steps = [.. log.Where(entry => JsonText.String(entry["kind"]) == "step")];
        Evaluations = [.. log.Where(entry => JsonText.String(entry["kind"]) == "eval")];
        Spectra = [.. log.Where(entry => JsonText.String(entry["kind"]) == "spectrum" && entry["values"] is JsonArray)];
        Evaluation = evaluation;
    }

    public string FolderPath { get; }

    public string Name { get; }

    public JsonObject Config { get; }

    /// <summary>The log's step records in order; empty for a model that was only evaluated.</summary>
    public IReadOnlyList<JsonObject> Steps { get; }

    /// <summary>The log's evaluations during training in order, each with its step.</summary>
    public IReadOnlyList<JsonObject> Evaluations { get; }

    /// <summary>The log's spectra of batches in order, each with its step.</summary>
    public IReadOnlyList<JsonObject> Spectra { get; }

    /// <summary>By which protocol it was evaluated.</summary>
    public string Protocol => JsonText.String(Evaluation?["protocol"]) ?? ChoiceOption.Kebab(nameof(HiMo.Trainer.Protocol.Growing));

    /// <summary>Contents of <c>eval.json</c>, or null where the run was not evaluated.</summary>
    public JsonObject? Evaluation { get; }

    /// <summary><c>plain</c>, <c>himo</c>, or <c>before</c> for a model that was evaluated without being trained here.</summary>
    public string Loss => Steps.Count == 0 ? Before : JsonText.String(Config["loss"]) ?? "unknown";

    /// <summary>Name of the model that the run started from; for a model that was only evaluated its own. A run's model has the name of its run.</summary>
    public string Base
    {
        get
        {
            string? source = JsonText.String(Steps.Count == 0 ? Evaluation?["checkpoint"] : Config["base"]);
            return string.IsNullOrEmpty(source) ? "from scratch"
                : Path.GetFileName(source) == TrainingRun.ModelFile && Path.GetFileName(Path.GetDirectoryName(source)) is { Length: > 0 } run ? run
                : Path.GetFileNameWithoutExtension(source);
        }
    }

    /// <summary>Reads a run; at least one of the log and the evaluation must be there.</summary>
    /// <param name="path">The run's folder.</param>
    /// <exception cref="UserError">No run is there, or a file is not what it should be.</exception>
    public static RunFolder Read(string path)
    {
        if (!Directory.Exists(path))
        {
            throw new UserError($"{path}: no such folder; give run folders as 'himo train --out' makes them.");
        }

        JsonObject? evaluation = ReadObject(Path.Combine(path, "eval.json"));
        IReadOnlyList<JsonObject> log = ReadLines(Path.Combine(path, "log.jsonl"));
        return evaluation is null && log.Count == 0
            ? throw new UserError($"{path}: holds neither log.jsonl nor eval.json, so there is nothing to report; run 'himo train' or 'himo eval' first.")
            : new RunFolder(path, ReadObject(Path.Combine(path, "config.json")) ?? [], log, evaluation);
    }

    /// <summary>A number of the evaluation by its path, or null where it was not measured.</summary>
    /// <param name="keys">Property names from the outside in.</param>
    public double? Measure(params string[] keys) => Number(Find(Evaluation, keys));

    /// <summary>A part of a result by its path, or null where it is not there.</summary>
    /// <param name="result">An evaluation, or null.</param>
    /// <param name="keys">Property names from the outside in.</param>
    public static JsonNode? Find(JsonNode? result, params string[] keys)
    {
        foreach (string key in keys)
        {
            result = (result as JsonObject)?[key];
        }

        return result;
    }

    /// <summary>One value per step; NaN where the log has none.</summary>
    /// <param name="field">Name in the log, for example <c>component</c>.</param>
    public double[] StepValues(string field) => [.. Steps.Select(step => Number(step[field]) ?? double.NaN)];

    /// <summary>A JSON number or one of the strings "NaN", "Infinity", "-Infinity"; null for anything else.</summary>
    /// <param name="node">The node, or null.</param>
    public static double? Number(JsonNode? node) => node switch
    {
        JsonValue value when value.TryGetValue(out double number) => number,
        JsonValue value when value.TryGetValue(out string? text) && text is "NaN" or "Infinity" or "-Infinity" => double.NaN,
        _ => null,
    };

    private static JsonObject? ReadObject(string path)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        return Parse(File.ReadAllText(path), path);
    }

    private static List<JsonObject> ReadLines(string path)
    {
        List<JsonObject> entries = [];
        if (File.Exists(path))
        {
            int number = 0;
            foreach (string line in File.ReadLines(path))
            {
                number++;
                if (line.Length > 0)
                {
                    entries.Add(Parse(line, $"{path}, line {number}"));
                }
            }
        }

        return entries;
    }

    private static JsonObject Parse(string text, string where)
    {
        try
        {
            return JsonText.Node(text) as JsonObject ?? throw new UserError($"{where}: a JSON object is expected here.");
        }
        catch (JsonException error)
        {
            throw new UserError($"{where}: not valid JSON ({error.Message}).", error);
        }
    }
}
