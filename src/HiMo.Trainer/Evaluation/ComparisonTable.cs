// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>Results of <c>eval</c> in the layout of the paper's tables, under the paper's own rows.</summary>
internal sealed class ComparisonTable
{
    private readonly PaperTable _layout;
    private readonly List<(string Model, Cell?[] Cells)> _rows;

    private ComparisonTable(PaperTable layout, List<(string Model, Cell?[] Cells)> rows) => (_layout, _rows) = (layout, rows);

    /// <summary>Number with, for a share, its 95 % interval; in the table's unit.</summary>
    private readonly record struct Cell(double Value, double? Low, double? High);

    /// <summary>The tables that the results fill at least partly, one row a checkpoint.</summary>
    /// <param name="results">Objects as <c>eval --out</c> writes them, with their files' names for messages.</param>
    /// <exception cref="UserError">A file holds no such object, a model was measured twice on a set, or nothing belongs into any table.</exception>
    public static IReadOnlyList<ComparisonTable> From(IReadOnlyList<(string File, JsonObject Result)> results)
    {
        Dictionary<(string Model, string Protocol), JsonObject> found = [];
        foreach ((string file, JsonObject result) in results)
        {
            if (Text(result, "checkpoint") is not { } checkpoint || Text(result, "protocol") is not { } protocol)
            {
                throw new UserError($"{file}: names no checkpoint or no protocol; './himo eval --out {file}' writes such a file");
            }

            if (!found.TryAdd((checkpoint, protocol), result))
            {
                throw new UserError($"{file}: {checkpoint} was measured by the protocol {protocol} in another of the files; give one of them");
            }
        }

        string[] models = [.. found.Keys.Select(key => key.Model).Distinct()];
        ComparisonTable[] tables = [.. PaperTables.All.Select(layout => new ComparisonTable(layout, [.. models.Select(model => (model, Row(layout, model))).Where(row => row.Item2.Any(cell => cell is not null))]))];
        tables = [.. tables.Where(table => table._rows.Count > 0)];
        return tables.Length > 0 ? tables : throw new UserError($"none of the {results.Count} results is by a protocol of the paper's tables: {string.Join(", ", PaperTables.All.SelectMany(table => table.Columns).Select(column => Name(column)).Distinct())}");

        Cell?[] Row(PaperTable layout, string model) =>
            [.. layout.Columns.Select(column => found.TryGetValue((model, Name(column)), out JsonObject? result) ? ToCell(result, column) : null)];
    }

    /// <summary>Reads results.</summary>
    /// <param name="file">A file that <c>eval --out</c> wrote.</param>
    /// <exception cref="UserError">It is missing or no JSON object.</exception>
    public static JsonObject Read(string file)
    {
        try
        {
            return JsonText.Node(TextFile.ReadAll(file)) as JsonObject ?? throw new UserError($"{file}: is no JSON object");
        }
        catch (JsonException failure)
        {
            throw new UserError($"{file}: is no JSON ({failure.Message})", failure);
        }
    }

    /// <summary>The table in GitHub's Markdown.</summary>
    public string ToMarkdown()
    {
        StringBuilder text = new($"{_layout.Title}\n\n| |");
        text.AppendJoin("", _layout.Columns.Select(column => $" {column.Set} {column.Label} |")).Append("\n|---|").AppendJoin("", _layout.Columns.Select(_ => "---:|")).Append('\n');
        foreach (PaperRow row in _layout.Published)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {row.Method} (paper) |").AppendJoin("", row.Values.Zip(_layout.Columns, (value, column) => $" {(value is { } number ? Number(number, column) : "–")} |")).Append('\n');
        }

        foreach ((string model, Cell?[] cells) in _rows)
        {
            text.Append(CultureInfo.InvariantCulture, $"| **{model}** |").AppendJoin("", cells.Zip(_layout.Columns, (cell, column) => $" {Shown(cell, column)} |")).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>The same in HTML.</summary>
    public string ToHtml()
    {
        StringBuilder html = new($"<h3>{ResultTable.Html(_layout.Title)}</h3>");
        StringBuilder table = new("<table><thead><tr><td></td>");
        table.AppendJoin("", _layout.Columns.Select(column => $"<th scope=\"col\">{ResultTable.Html(column.Set)}<br>{ResultTable.Html(column.Label)}</th>")).Append("</tr></thead><tbody>");
        foreach (PaperRow row in _layout.Published)
        {
            table.Append(CultureInfo.InvariantCulture, $"<tr><th scope=\"row\">{ResultTable.Html(row.Method)} <small>paper</small></th>")
                .AppendJoin("", row.Values.Zip(_layout.Columns, (value, column) => $"<td>{(value is { } number ? Number(number, column) : "–")}</td>")).Append("</tr>");
        }

        foreach ((string model, Cell?[] cells) in _rows)
        {
            table.Append(CultureInfo.InvariantCulture, $"<tr><th scope=\"row\"><b>{ResultTable.Html(model)}</b></th>")
                .AppendJoin("", cells.Zip(_layout.Columns, (cell, column) => $"<td>{Spread(cell, column).Replace('-', '−')}</td>")).Append("</tr>");
        }

        return html.Append(ResultTable.Scrolling(_layout.Title, table.Append("</tbody></table>").ToString())).ToString();

        static string Spread(Cell? cell, PaperColumn column) => cell is not { } shown ? "–"
            : Number(shown.Value, column) + (shown is { Low: { } low, High: { } high } ? $"<small> {Number(low, column)}–{Number(high, column)}</small>" : "");
    }

    /// <summary>The same as an object: title, columns, rows with values and, for the user's shares, intervals.</summary>
    public JsonObject ToJson() => new()
    {
        ["title"] = _layout.Title,
        ["columns"] = new JsonArray([.. _layout.Columns.Select(column => new JsonObject { ["set"] = column.Set, ["measure"] = column.Label })]),
        ["rows"] = new JsonArray(
        [
            .. _layout.Published.Select(row => new JsonObject
            {
                ["model"] = row.Method, ["source"] = PaperTables.Source, ["values"] = new JsonArray([.. row.Values.Select(value => (JsonNode?)value)]),
            }),
            .. _rows.Select(row => new JsonObject
            {
                ["model"] = row.Model,
                ["source"] = "himo eval",
                ["values"] = new JsonArray([.. row.Cells.Select(cell => (JsonNode?)cell?.Value)]),
                ["intervals"] = new JsonArray([.. row.Cells.Select(cell => cell?.Low is { } low ? new JsonArray(low, cell.Value.High) : (JsonNode?)null)]),
            }),
        ]),
    };

    /// <summary>Whether a result is by a protocol of the paper's tables.</summary>
    /// <param name="result">As <c>eval --out</c> writes it.</param>
    public static bool Holds(JsonObject result) => PaperTables.All.SelectMany(table => table.Columns).Any(column => Name(column) == Text(result, "protocol"));

    private static Cell? ToCell(JsonObject result, PaperColumn column)
    {
        if (RunFolder.Number(result[column.Key]) is not { } value)
        {
            return null;
        }

        if (column.Queries is null || RunFolder.Number(result[column.Queries]) is not { } count || !(count >= 1 && value is >= 0 and <= 1))
        {
            return new Cell(value * column.Scale, null, null);
        }

        (double low, double high) = Wilson.Interval(value, (long)count);
        return new Cell(value * column.Scale, low * column.Scale, high * column.Scale);
    }

    private static string Shown(Cell? cell, PaperColumn column) => cell switch
    {
        null => "–",
        { Low: { } low, High: { } high } => $"{Number(cell.Value.Value, column)} ({Number(low, column)} to {Number(high, column)})",
        _ => Number(cell.Value.Value, column),
    };

    private static string Number(double value, PaperColumn column) => value.ToString(column.Scale == 1 ? "0.00" : "0.0", CultureInfo.InvariantCulture);

    private static string Name(PaperColumn column) => ChoiceOption.Kebab(column.Protocol.ToString());

    private static string? Text(JsonObject result, string name) => result[name] is JsonValue value && value.TryGetValue(out string? text) ? text : null;
}
