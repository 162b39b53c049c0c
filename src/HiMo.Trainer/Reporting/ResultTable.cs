// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>The measures of all groups in one table, the rows that HiMo loses included.</summary>
internal static class ResultTable
{
    /// <summary>One row: what it is called, which number of a run it shows, how it is written.</summary>
    /// <param name="Section">Heading above it.</param>
    /// <param name="Name">Name for readers.</param>
    /// <param name="Measure">The number, or null where the run has none.</param>
    /// <param name="Scale">100 for shares shown as percent, else 1.</param>
    /// <param name="Format">.NET number format.</param>
    /// <param name="MoreIsBetter">False where neither direction is better.</param>
    internal sealed record Row(string Section, string Name, Func<RunFolder, double?> Measure, double Scale, string Format, bool MoreIsBetter = true);

    /// <summary>All rows, in the order of the page.</summary>
    internal static IReadOnlyList<Row> Rows { get; } =
    [
        new("Retrieval, R@1 in %", "image to text", run => run.Measure("image_to_text_R@1"), 100, "0.0"),
        new("Retrieval, R@1 in %", "text to image", run => run.Measure("text_to_image_R@1"), 100, "0.0"),
        .. Retrieval("full captions", "full"),
        .. Retrieval("first half", "half"),
        .. Retrieval("first sentence", "gist"),
        .. Growing("Growing captions", "himo"),
        .. Growing("Growing captions, against the average image", "margin"),
        new("Text space", "R@1 from 8 components, image to text, %", run => FromEightComponents(run, "image_to_text_R@1"), 100, "0.0"),
        new("Text space", "R@1 from 8 components, text to image, %", run => FromEightComponents(run, "text_to_image_R@1"), 100, "0.0"),
        new("Text space", "effective rank", run => run.Measure("effective_rank"), 1, "0.0", MoreIsBetter: false),
    ];

    /// <summary>The table as HTML; a column group for each base model, with the difference between HiMo and plain where both are there.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    public static string Html(IReadOnlyList<RunGroup> groups)
    {
        IGrouping<string, RunGroup>[] bases = [.. groups.Where(group => group.Runs.Any(run => run.Evaluation is not null)).GroupBy(group => group.Base)];
        Row[] rows = [.. Rows.Where(row => groups.Any(group => group.Measure(row.Measure) is not null))];
        if (rows.Length == 0)
        {
            return "";
        }

        StringBuilder html = new();
        html.Append("<table><thead><tr><td></td>");
        foreach (IGrouping<string, RunGroup> one in bases)
        {
            html.Append(CultureInfo.InvariantCulture, $"<th scope=\"colgroup\" colspan=\"{Columns(one)}\" class=\"base\">{Html(one.Key)}</th>");
        }

        html.Append("</tr><tr><td></td>");
        foreach (IGrouping<string, RunGroup> one in bases)
        {
            foreach (RunGroup group in one)
            {
                string seeds = group.IsTrained && group.Runs.Count > 1 ? $"<br><small>{group.Runs.Count} seeds</small>" : "";
                html.Append(CultureInfo.InvariantCulture, $"<th scope=\"col\">{Html(group.Label)}{seeds}</th>");
            }

            if (Pair(one) is not null)
            {
                html.Append("<th scope=\"col\">HiMo<br>−&nbsp;plain</th>");
            }
        }

        html.Append("</tr></thead>");
        foreach (IGrouping<string, Row> section in rows.GroupBy(row => row.Section))
        {
            int width = 1 + bases.Sum(Columns);
            html.Append(CultureInfo.InvariantCulture, $"<tbody><tr class=\"section\"><th scope=\"rowgroup\" colspan=\"{width}\"><span>{Html(section.Key)}</span></th></tr>");
            foreach (Row row in section)
            {
                AppendRow(html, row, bases);
            }

            html.Append("</tbody>");
        }

        return Scrolling("Results", html.Append("</table>").ToString());
    }

    /// <summary>Whether the table has a column with HiMo's difference to plain.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    internal static bool Compares(IReadOnlyList<RunGroup> groups) => groups.GroupBy(group => group.Base).Any(one => Pair(one) is not null);

    /// <summary>A table that scrolls within its place, with the hint that the page's script shows where it has to.</summary>
    /// <param name="label">What a screen reader calls it.</param>
    /// <param name="table">The table as HTML.</param>
    internal static string Scrolling(string label, string table) =>
        $"<p class=\"hint\" hidden>↔ more columns: scroll the table sideways</p><div class=\"wide\" role=\"region\" aria-label=\"{Html(label)}\" tabindex=\"0\">{table}</div>";

    /// <summary>Text made safe for HTML.</summary>
    /// <param name="text">Any text.</param>
    internal static string Html(string text) => System.Net.WebUtility.HtmlEncode(text);

    private static void AppendRow(StringBuilder html, Row row, IGrouping<string, RunGroup>[] bases)
    {
        html.Append(CultureInfo.InvariantCulture, $"<tr><th scope=\"row\">{Html(row.Name)}</th>");
        foreach (IGrouping<string, RunGroup> one in bases)
        {
            AppendCells(html, row, one);
        }

        html.Append("</tr>");
    }

    private static void AppendCells(StringBuilder html, Row row, IGrouping<string, RunGroup> sameBase)
    {
        foreach (RunGroup group in sameBase)
        {
            html.Append("<td>").Append(group.Measure(row.Measure) is { } spread ? Text(spread, row) : "–").Append("</td>");
        }

        if (Pair(sameBase) is not { } pair)
        {
            return;
        }

        if (pair.Plain.Measure(row.Measure) is { } plain && pair.HiMo.Measure(row.Measure) is { } himo)
        {
            double difference = himo.Mean - plain.Mean;
            string verdict = !row.MoreIsBetter || !himo.IsClearOf(plain) ? "even" : difference > 0 ? "win" : "loss";
            string size = Math.Abs(row.Scale * difference).ToString(row.Format, CultureInfo.InvariantCulture);
            html.Append(CultureInfo.InvariantCulture, $"<td class=\"{verdict}\">{(difference >= 0 ? "+" : "−")}{size}</td>");
        }
        else
        {
            html.Append("<td>–</td>");
        }
    }

    private static Row[] Retrieval(string captions, string part) =>
    [
        new("Retrieval, R@1 in %", $"{captions}, image to text", run => run.Measure("retrieval", part, "image_to_text_R@1"), 100, "0.0"),
        new("Retrieval, R@1 in %", $"{captions}, text to image", run => run.Measure("retrieval", part, "text_to_image_R@1"), 100, "0.0"),
    ];

    private static Row[] Growing(string section, string part) =>
    [
        new(section, "HiMo@2, %", run => Growth(run, part, "himo@2"), 100, "0.0"),
        new(section, "HiMo@3, %", run => Growth(run, part, "himo@3"), 100, "0.0"),
        new(section, "HiMo@K, Pearson", run => Growth(run, part, "himo@K"), 1, "0.00"),
    ];

    /// <summary>The protocol himo-docci has nothing but these measures, and so not in a part of their own.</summary>
    private static double? Growth(RunFolder run, string part, string measure) => run.Measure(part, measure) ?? (part == "himo" ? run.Measure(measure) : null);

    /// <summary>Recall with the texts cut to 8 principal components: one point of the figure, because it is what the component loss trains.</summary>
    private static double? FromEightComponents(RunFolder run, string field) =>
        (run.Evaluation?["components"] as JsonArray)?.Where(entry => RunFolder.Number(entry?["kept"]) == 8)
            .Select(entry => RunFolder.Number(entry?[field])).FirstOrDefault();

    private static string Text(Spread spread, Row row)
    {
        string mean = (row.Scale * spread.Mean).ToString(row.Format, CultureInfo.InvariantCulture).Replace('-', '−');
        return spread.Count > 1 ? $"{mean}<small> ± {(row.Scale * spread.Deviation).ToString(row.Format, CultureInfo.InvariantCulture)}</small>" : mean;
    }

    private static int Columns(IGrouping<string, RunGroup> sameBase) => sameBase.Count() + (Pair(sameBase) is null ? 0 : 1);

    private static (RunGroup Plain, RunGroup HiMo)? Pair(IGrouping<string, RunGroup> sameBase)
    {
        RunGroup[] plain = [.. sameBase.Where(group => group.Loss == "plain")];
        RunGroup[] himo = [.. sameBase.Where(group => group.Loss == "himo")];
        return plain.Length == 1 && himo.Length == 1 ? (plain[0], himo[0]) : null;
    }
}
