// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>What a benchmark measured, for people as a Markdown table and for programs as JSON with the machine's name.</summary>
/// <param name="name">The benchmark, as in the command that runs it.</param>
/// <param name="columns">Key in JSON, title in Markdown, and number format, one for each cell of a row.</param>
internal sealed class BenchmarkTable(string name, params (string Key, string Title, string Format)[] columns)
{
    private const int JsonDigits = 6;

    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    private readonly List<object?[]> _rows = [];

    /// <summary>Lines below the table, fields beside it in JSON.</summary>
    public List<(string Key, string Text, double Value)> Notes { get; } = [];

    /// <summary>The rows so far.</summary>
    public IReadOnlyList<object?[]> Rows => _rows;

    /// <summary>Adds a row of strings, whole numbers, floating-point numbers (NaN: not finite) or null (not measured).</summary>
    public void Add(params object?[] cells)
    {
        if (cells.Length != columns.Length)
        {
            throw new ArgumentException($"{name}: a row has {cells.Length} cells, the table {columns.Length} columns");
        }

        _rows.Add(cells);
    }

    /// <summary>The cell of a row by its key.</summary>
    public object? Cell(object?[] row, string key) => row[Array.FindIndex(columns, column => column.Key == key)];

    /// <summary>Writes it all.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="json">JSON instead of Markdown.</param>
    public void Write(TextWriter output, bool json) => output.WriteLine(json ? ToJson().ToJsonString(s_indented) : ToMarkdown());

    /// <summary>Machine, rows and notes.</summary>
    public JsonObject ToJson()
    {
        JsonArray rows = [];
        foreach (object?[] row in _rows)
        {
            JsonObject entry = [];
            for (int i = 0; i < columns.Length; i++)
            {
                entry[columns[i].Key] = ToNode(row[i]);
            }

            rows.Add(entry);
        }

        JsonObject all = new()
        {
            ["benchmark"] = name, ["cpu"] = LossBenchmarkResult.Processor, ["processors"] = Environment.ProcessorCount, ["rows"] = rows,
        };
        foreach ((string key, _, double value) in Notes)
        {
            all[key] = ToNode(value);
        }

        return all;
    }

    private string ToMarkdown()
    {
        List<string> lines =
        [
            $"| {string.Join(" | ", columns.Select(column => column.Title))} |",
            $"|{string.Concat(columns.Select(_ => "---|"))}",
            .. _rows.Select(row => $"| {string.Join(" | ", row.Select((cell, i) => Text(cell, columns[i].Format)))} |"),
        ];
        return string.Join('\n', lines.Concat(Notes.Count > 0 ? ["", .. Notes.Select(note => note.Text)] : []));
    }

    private static string Text(object? cell, string format) => cell switch
    {
        null => "-",
        double number when !double.IsFinite(number) => "not finite",
        IFormattable number => number.ToString(format, CultureInfo.InvariantCulture),
        _ => $"{cell}",
    };

    private static JsonNode? ToNode(object? cell) => cell switch
    {
        null => null,
        double number => double.IsFinite(number) ? JsonValue.Create(Round(number)) : null,
        int number => JsonValue.Create(number),
        long number => JsonValue.Create(number),
        _ => JsonValue.Create($"{cell}"),
    };

    private static double Round(double value) => double.Parse(value.ToString($"G{JsonDigits}", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
}
