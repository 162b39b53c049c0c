// SPDX-License-Identifier: Apache-2.0
// What the bundle's run.sh leaves in its folder, read:
//   commit        what was packed
//   stages.tsv    name, status, exit code, seconds, limit; one line for each time a stage ran, the last one counts
//   NAME.log      what a stage printed
//   machine.json, bench.json, baselines.json, training-SIZE.json    of doctor --gpu, bench gpu, plain_torch.py, and bench train-step; each may be missing
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>The results of one folder.</summary>
internal sealed partial class GpuReport
{
    private const int TailLines = 12;
    private const int MostNames = 30;
    private const string Training = "training-";

    private readonly string _commit;
    private readonly List<Stage> _stages;
    private readonly JsonNode? _machine;
    private readonly JsonNode? _bench;
    private readonly JsonNode? _baselines;
    private readonly JsonObject _training;

    private GpuReport(string commit, List<Stage> stages, JsonNode? machine, JsonNode? bench, JsonNode? baselines, JsonObject training) =>
        (_commit, _stages, _machine, _bench, _baselines, _training) = (commit, stages, machine, bench, baselines, training);

    /// <summary>Reads what is there.</summary>
    /// <param name="folder">The folder that run.sh wrote to.</param>
    /// <exception cref="UserError">It is no such folder, or a file is damaged.</exception>
    public static GpuReport Read(string folder)
    {
        string list = Path.Combine(folder, "stages.tsv");
        if (!File.Exists(list))
        {
            throw new UserError($"{list} is not there: {folder} must be a folder that run.sh of the bundle wrote to");
        }

        Dictionary<string, Stage> stages = [];
        foreach (string line in File.ReadLines(list))
        {
            string[] fields = line.Split('\t');
            if (fields.Length != 5 || !fields[2..].All(field => int.TryParse(field, NumberStyles.None, CultureInfo.InvariantCulture, out _)))
            {
                throw new UserError($"{list}: '{line}' is not name, status, exit code, seconds and limit, separated by tabs");
            }

            int[] numbers = [.. fields[2..].Select(field => int.Parse(field, CultureInfo.InvariantCulture))];
            string log = Path.Combine(folder, fields[0] + ".log");
            stages[fields[0]] = new Stage(fields[0], fields[1], numbers[0], numbers[1], numbers[2], File.Exists(log) ? File.ReadAllText(log) : "");
        }

        string commit = Path.Combine(folder, "commit");
        return new GpuReport(
            File.Exists(commit) ? File.ReadAllText(commit).Trim().ReplaceLineEndings(", ") : "unknown", [.. stages.Values],
            Json(folder, "machine.json"), Json(folder, "bench.json"), Json(folder, "baselines.json"),
            new JsonObject(Directory.GetFiles(folder, Training + "*.json").Order(StringComparer.Ordinal).Select(Path.GetFileName)
                .Select(name => KeyValuePair.Create(Path.GetFileNameWithoutExtension(name![Training.Length..]), Json(folder, name)))));
    }

    /// <summary>Everything.</summary>
    public JsonObject ToJson() => new()
    {
        ["commit"] = _commit,
        ["machine"] = _machine?.DeepClone(),
        ["stages"] = new JsonArray([.. _stages.Select(stage => stage.ToJson())]),
        ["comparison"] = new JsonArray([.. Comparison().Select(row => row.ToJson())]),
        ["bench"] = _bench?.DeepClone(),
        ["baselines"] = _baselines?.DeepClone(),
        ["training"] = _training.DeepClone(),
    };

    /// <summary>The same for readers: stages, times beside the plain forms and the floors, and the ends of the logs of what failed.</summary>
    public string ToMarkdown()
    {
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"# HiMo.Kernels on a GPU\n\nCommit {_commit}.\n\n");
        foreach (JsonNode? finding in _machine as JsonArray ?? [])
        {
            text.Append(CultureInfo.InvariantCulture, $"- {JsonText.String(finding?["name"])}: {JsonText.String(finding?["text"])}\n");
        }

        text.Append("\n| stage | result | seconds | tests: passed, failed, skipped |\n|---|---|---|---|\n");
        foreach (Stage stage in _stages)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {stage.Name} | {stage.Status} | {stage.Seconds} of {stage.Limit} | {(stage.Tests is (int passed, int failed, int skipped) ? $"{passed}, {failed}, {skipped}" : "")} |\n");
        }

        GpuComparison[] comparison = [.. Comparison()];
        if (comparison.Length > 0)
        {
            text.Append(GpuComparison.Heading);
            Array.ForEach(comparison, row => text.Append(row.ToMarkdown()));
        }

        if (_training.Count > 0)
        {
            text.Append("\nA training step, 128 pairs.\n\n| model | loss | step, ms | the loss alone, ms | its share, % | pairs a second |\n|---|---|---|---|---|---|\n");
        }

        foreach ((string model, string loss, JsonObject row) in from each in _training from row in each.Value as JsonObject ?? [] where row.Value is JsonObject select (each.Key, row.Key, (JsonObject)row.Value!))
        {
            double?[] numbers = [.. new[] { "step_ms", "loss_ms", "loss_share", "pairs_per_second" }.Select(name => GpuComparison.Number(row[name]))];
            text.Append(CultureInfo.InvariantCulture, $"| {model} | {loss} | {numbers[0]:0.0} | {numbers[1]:0.00} | {100 * numbers[2]:0.0} | {numbers[3]:0} |\n");
        }

        foreach (Stage stage in _stages.Where(stage => stage.Status != "passed"))
        {
            text.Append(CultureInfo.InvariantCulture, $"\n## {stage.Name}: {stage.Status}, exit code {stage.ExitCode}\n\n```\n{string.Join('\n', stage.Important())}\n```\n");
        }

        return text.ToString();
    }

    private IEnumerable<GpuComparison> Comparison() =>
        from one in _bench?["cases"] as JsonArray ?? []
        let name = JsonText.String(one?["case"])
        where name is not null
        select GpuComparison.Of(name, one!, _baselines?["rows"] as JsonArray ?? []);

    private static JsonNode? Json(string folder, string name)
    {
        string path = Path.Combine(folder, name);
        try
        {
            return File.Exists(path) ? JsonText.Node(File.ReadAllText(path)) : null;
        }
        catch (JsonException failure)
        {
            throw new UserError($"{path} is not JSON: {failure.Message} Run its stage again, or delete it", failure);
        }
    }

    [GeneratedRegex(@"^  failed: (\d+)\s+succeeded: (\d+)\s+skipped: (\d+)", RegexOptions.Multiline)]
    private static partial Regex TestCounts();

    /// <summary>One stage's last run.</summary>
    private sealed record Stage(string Name, string Status, int ExitCode, int Seconds, int Limit, string Log)
    {
        public (int Passed, int Failed, int Skipped)? Tests { get; } = TestCounts().Match(Log) is { Success: true } match
            ? (Number(match, 2), Number(match, 1), Number(match, 3))
            : null;

        public JsonObject ToJson()
        {
            JsonObject stage = new() { ["name"] = Name, ["status"] = Status, ["exit_code"] = ExitCode, ["seconds"] = Seconds, ["limit_seconds"] = Limit };
            if (Tests is (int passed, int failed, int skipped))
            {
                stage["tests"] = new JsonObject { ["passed"] = passed, ["failed"] = failed, ["skipped"] = skipped };
            }

            stage["log"] = new JsonArray([.. Important().Select(line => (JsonNode)line)]);
            return stage;
        }

        /// <summary>Names of failed tests, and how the log ends.</summary>
        public string[] Important()
        {
            string[] lines = Log.ReplaceLineEndings("\n").Split('\n', StringSplitOptions.RemoveEmptyEntries);
            string[] tail = lines[^Math.Min(TailLines, lines.Length)..];
            string[] failed = [.. lines[..^tail.Length].Where(line => line.StartsWith("failed ", StringComparison.Ordinal))];
            string[] more = failed.Length > MostNames ? [$"and {failed.Length - MostNames} more"] : [];
            return [.. failed.Take(MostNames), .. more, .. tail];
        }

        private static int Number(Match match, int group) => int.Parse(match.Groups[group].ValueSpan, CultureInfo.InvariantCulture);
    }
}
