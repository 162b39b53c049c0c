// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>One numbered figure of the report: panels side by side that share a legend.</summary>
/// <param name="Id">Anchor, lower case.</param>
/// <param name="Title">What the figure shows, as a statement or a noun phrase.</param>
/// <param name="Caption">How to read it; plain text.</param>
/// <param name="Legend">Entries in order.</param>
/// <param name="Panels">At least one.</param>
internal sealed record Figure(string Id, string Title, string Caption, IReadOnlyList<LegendEntry> Legend, IReadOnlyList<Panel> Panels)
{
    /// <summary>The same as numbers, HTML; empty where there is none.</summary>
    public string Table { get; init; } = "";
}

/// <summary>One entry of a figure's legend.</summary>
/// <param name="Label">Text.</param>
/// <param name="Color">A colour of the page, for example <c>himo</c>.</param>
/// <param name="Dash"><c>solid</c>, <c>dash</c> or <c>dot</c>.</param>
internal sealed record LegendEntry(string Label, string Color, string Dash = "solid");

/// <summary>One chart. Colours in traces are names of the page's colours; the page's script resolves them, so that a chart follows the theme.</summary>
/// <param name="Title">Short; names the base model where there are several.</param>
/// <param name="XTitle">Axis title with unit.</param>
/// <param name="YTitle">Axis title with unit.</param>
internal sealed record Panel(string Title, string XTitle, string YTitle)
{
    public JsonArray Traces { get; } = [];

    /// <summary>Bars of one category stand on each other instead of side by side.</summary>
    public bool Stacked { get; init; }

    public JsonObject XAxis { get; } = [];

    public JsonObject YAxis { get; } = [];

    /// <summary>Adds a line and, where <paramref name="lowest"/> is given, the band between the seeds' extremes behind it.</summary>
    public void Line(
        string name, IReadOnlyList<double> x, IReadOnlyList<double> y, string color, string dash = "solid", bool markers = false,
        IReadOnlyList<double>? lowest = null, IReadOnlyList<double>? highest = null)
    {
        if (lowest is not null && highest is not null)
        {
            Traces.Add(new JsonObject
            {
                ["x"] = Numbers([.. x, .. x.Reverse()]),
                ["y"] = Numbers([.. highest, .. lowest.Reverse()]),
                ["fill"] = "toself",
                ["fillcolor"] = color,
                ["opacity"] = 0.16,
                ["line"] = new JsonObject { ["width"] = 0 },
                ["hoverinfo"] = "skip",
                ["mode"] = "lines",
            });
        }

        Traces.Add(new JsonObject
        {
            ["name"] = name,
            ["x"] = Numbers(x),
            ["y"] = Numbers(y),
            ["mode"] = markers ? "lines+markers" : "lines",
            ["line"] = new JsonObject { ["color"] = color, ["dash"] = dash, ["width"] = 2 },
            ["marker"] = new JsonObject { ["size"] = 6, ["color"] = color },
            ["hovertemplate"] = "%{y:.4g}<extra>" + name + "</extra>",
        });
    }

    /// <summary>Adds bars that lie, one a category, so that names and labels have room at any width; the first category is the top one.</summary>
    /// <param name="name">Name in the legend.</param>
    /// <param name="categories">Names at the left.</param>
    /// <param name="values">Lengths; the axis starts at 0.</param>
    /// <param name="color">A colour of the page.</param>
    /// <param name="labels">Text at the bars' ends: a bar too short to be seen still says its number.</param>
    public void Bars(string name, IReadOnlyList<string> categories, IReadOnlyList<double> values, string color, IReadOnlyList<string>? labels = null)
    {
        YAxis["autorange"] = "reversed";
        JsonObject trace = new()
        {
            ["type"] = "bar",
            ["orientation"] = "h",
            ["name"] = name,
            ["x"] = Numbers(values),
            ["y"] = new JsonArray([.. categories.Select(category => (JsonNode)category)]),
            ["marker"] = new JsonObject { ["color"] = color },
            ["hovertemplate"] = "%{x:.4g}<extra>" + name + "</extra>",
        };
        if (labels is not null)
        {
            trace["text"] = new JsonArray([.. labels.Select(label => (JsonNode)label)]);
            trace["textposition"] = "outside"; // of stacked bars the last one's
            trace["cliponaxis"] = false;
            trace["textangle"] = 0;
        }

        Traces.Add(trace);
    }

    /// <summary>Numbers as JSON with six digits, which is more than a screen shows; what is not finite becomes a gap.</summary>
    private static JsonArray Numbers(IEnumerable<double> values) =>
    [
        .. values.Select(value => double.IsFinite(value)
            ? JsonNode.Parse(value.ToString("G6", System.Globalization.CultureInfo.InvariantCulture))
            : null),
    ];
}
