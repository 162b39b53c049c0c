// SPDX-License-Identifier: Apache-2.0
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>
/// A run's log as tables for spreadsheets: steps.csv with a row for each step, evaluations.csv with one for each evaluation. They are made from
/// log.jsonl whenever a checkpoint is written, so they never say anything else.
/// </summary>
internal static class LogTables
{
    /// <summary>Name of the steps' table in a run's folder.</summary>
    public const string Steps = "steps.csv";

    /// <summary>Name of the evaluations' table there; it exists once there is one.</summary>
    public const string Evaluations = "evaluations.csv";

    /// <summary>Writes both.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="log">Its records; gone through several times.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public static void Write(string folder, IEnumerable<JsonObject> log)
    {
        WriteOne(Path.Combine(folder, Steps), log.Where(record => JsonText.String(record["kind"]) == "step"));
        WriteOne(Path.Combine(folder, Evaluations), log.Where(record => JsonText.String(record["kind"]) is "eval" or "eval_ema"));
    }

    private static void WriteOne(string path, IEnumerable<JsonObject> records)
    {
        List<string> columns = []; // in the order in which records bring them
        HashSet<string> known = [];
        foreach (string name in records.SelectMany(record => Cells("", record)).Select(cell => cell.Name).Where(known.Add))
        {
            columns.Add(name);
        }

        if (columns.Count == 0)
        {
            return;
        }

        AtomicFile.Write(path, stream =>
        {
            using StreamWriter writer = new(stream, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\n" };
            writer.WriteLine(string.Join(',', columns));
            foreach (JsonObject record in records)
            {
                Dictionary<string, string> cells = Cells("", record).ToDictionary(cell => cell.Name, cell => cell.Text);
                writer.WriteLine(string.Join(',', columns.Select(column => cells.GetValueOrDefault(column, ""))));
            }
        });
    }

    /// <summary>Numbers and words of a record; those of a part are named part/name, as TensorBoard's are.</summary>
    private static IEnumerable<(string Name, string Text)> Cells(string path, JsonObject values)
    {
        foreach ((string name, JsonNode? value) in values)
        {
            if (value is JsonObject part)
            {
                foreach ((string Name, string Text) cell in Cells($"{path}{name}/", part))
                {
                    yield return cell;
                }
            }
            else if (value is null || value.GetValueKind() is JsonValueKind.Number or JsonValueKind.String)
            {
                yield return (path + name, value?.ToString() ?? "");
            }
        }
    }
}
