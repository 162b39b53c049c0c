// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>One self-contained HTML page about one or more runs: no network, no file beside it.</summary>
internal static class ReportPage
{
    private static readonly string[] s_settings =
        ["loss", "steps", "batch", "learning_rate", "tau", "lambda", "global_weight", "label_smoothing", "basis_gradient", "component_normalization", "gather_with_grad"];

    private static readonly string[] s_numbers = ["No", "One", "Two", "Three", "Four", "Five", "Six"];

    /// <summary>Builds the page.</summary>
    /// <param name="runs">At least one run.</param>
    /// <param name="benchmarks">Objects as <c>himo bench loss --json</c> prints them; may be empty.</param>
    /// <param name="command">The command line that makes this page, shown at its end.</param>
    /// <param name="missing">Receives the example pictures that could not be found.</param>
    /// <exception cref="UserError">The runs hold nothing that could be shown.</exception>
    public static string Build(IReadOnlyList<RunFolder> runs, IReadOnlyList<JsonObject> benchmarks, string command, ICollection<string> missing)
    {
        IReadOnlyList<RunGroup> groups = RunGroup.From(runs);
        IReadOnlyList<Figure> figures = ReportFigures.All(groups, benchmarks);
        (string Folder, JsonObject Result)[] published = [.. runs.Where(run => run.Evaluation is { } result && ComparisonTable.Holds(result)).Select(run => (run.FolderPath, run.Evaluation!))];
        string results = ResultTable.Html(groups);
        if (figures.Count == 0 && results.Length == 0)
        {
            throw new UserError("the runs hold neither training steps nor evaluation results to draw; run 'himo train' with --eval-every, or 'himo eval'.");
        }

        StringBuilder html = new();
        html.Append("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        html.Append("<title>HiMo-CLIP fine-tuning report</title><link rel=\"icon\" href=\"data:,\"><style>").Append(Resource("report.css")).Append("</style></head><body>");
        html.Append("<header><p class=\"kicker\">HiMo.Kernels</p><h1>").Append(groups.Any(group => group.IsTrained) ? "What HiMo-CLIP’s loss did" : figures.Count > 0 ? "How models follow a growing caption" : "How models find images and captions").Append("</h1>").Append(Introduction(groups)).Append("</header><main>");
        Section(html, "results", "Results", results.Length > 0 ? $"<p>{Reading(groups)}</p>{results}" : "");
        Section(html, "paper", "Beside the paper’s numbers", published.Length == 0 ? "" : $"<p>{ResultTable.Html(PaperTables.Source)}, and what was measured by the same protocols, with 95 % intervals for the number of queries.</p>"
            + string.Concat(ComparisonTable.From(published).Select(table => table.ToHtml())));
        for (int i = 0; i < figures.Count; i++)
        {
            AppendFigure(html, figures[i], i + 1);
        }

        Section(html, "examples", "Scenes and their captions", ReportExamples.Html(groups, missing));
        Section(html, "failures", "Failures worth looking at", ReportFailures.Html(groups, missing));
        Section(html, "setting", "Setting", Settings(groups) + $"<p>Made by <code>{ResultTable.Html(command)}</code>, {typeof(ReportPage).Assembly.GetName().Name} "
            + $"{typeof(ReportPage).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0]}. Charts: plotly.js, MIT licence.</p>");
        html.Append("</main><script>").Append(Resource("plotly.js")).Append("</script><script>").Append(Resource("report.js")).Append("</script></body></html>\n");
        return html.ToString();
    }

    /// <summary>How to read the table, as far as it has seeds and differences.</summary>
    private static string Reading(IReadOnlyList<RunGroup> groups) => "Measures on the held-out images"
        + (groups.Any(group => group.Runs.Count > 1) ? ", mean over seeds with the sample standard deviation. " : ". ")
        + (!ResultTable.Compares(groups) ? ""
            : groups.Any(group => group.Runs.Count > 1) ? "A difference is coloured only where it exceeds both deviations together; rows that HiMo loses stay in."
            : "One seed each says nothing about the spread, so no difference is coloured.");

    private static string Introduction(IReadOnlyList<RunGroup> groups)
    {
        int seeds = groups.Max(group => group.Runs.Count);
        int models = groups.Select(group => group.Runs[0].Base).Distinct().Count();
        int bases = groups.Select(group => group.Base).Distinct().Count();
        string losses = string.Join(" and ", groups.Where(group => group.IsTrained).Select(group => group.Label).Distinct());
        string what = losses.Length == 0
            ? string.Create(CultureInfo.InvariantCulture, $"{Count(models, "model")} side by side, evaluated as they are.")
            : string.Create(CultureInfo.InvariantCulture, $"{Count(bases, "base model")} fine-tuned with {losses}{(groups.Sum(group => group.Runs.Count) > 1 ? $", {Count(seeds, "seed").ToLowerInvariant()} each" : "")}.");
        return "<p class=\"lead\">CLIP treats a caption as flat. HiMo-CLIP adds a second contrastive loss, between images and what the batch’s leading principal components "
            + "keep of the texts, so that fuller captions match their image more strongly. " + what + "</p>";

        static string Count(int number, string noun) => number == 1
            ? $"One {noun}"
            : string.Create(CultureInfo.InvariantCulture, $"{(number < s_numbers.Length ? s_numbers[number] : number)} {noun}s");
    }

    private static void AppendFigure(StringBuilder html, Figure figure, int number)
    {
        html.Append(CultureInfo.InvariantCulture, $"<section id=\"{figure.Id}\"><h2>{ResultTable.Html(figure.Title)}</h2><figure><ul class=\"legend\">");
        foreach (LegendEntry entry in figure.Legend)
        {
            html.Append(CultureInfo.InvariantCulture, $"<li><i class=\"swatch {entry.Color}\"></i>{ResultTable.Html(entry.Label)}</li>");
        }

        html.Append("</ul><div class=\"panels\">");
        foreach (Panel panel in figure.Panels)
        {
            JsonObject content = new()
            {
                ["title"] = panel.Title,
                ["xTitle"] = panel.XTitle,
                ["yTitle"] = panel.YTitle,
                ["stacked"] = panel.Stacked,
                ["xaxis"] = panel.XAxis.DeepClone(),
                ["yaxis"] = panel.YAxis.DeepClone(),
                ["traces"] = panel.Traces.DeepClone(),
            };
            // The default encoder escapes '<', so a name can not end the script element.
            html.Append(CultureInfo.InvariantCulture, $"<div class=\"panel\" role=\"img\" aria-label=\"{ResultTable.Html($"{figure.Title}. {panel.Title}")}\"><script type=\"application/json\">");
            html.Append(content.ToJsonString(JsonSerializerOptions.Default)).Append("</script></div>");
        }

        html.Append(CultureInfo.InvariantCulture, $"</div><figcaption><b>Figure {number}.</b> {ResultTable.Html(figure.Caption)}</figcaption></figure>");
        if (figure.Table.Length > 0)
        {
            html.Append("<details><summary>The same as a table</summary>").Append(figure.Table).Append("</details>");
        }

        html.Append("</section>");
    }

    private static void Section(StringBuilder html, string id, string title, string body)
    {
        if (body.Length > 0)
        {
            html.Append(CultureInfo.InvariantCulture, $"<section id=\"{id}\"><h2>{title}</h2>{body}</section>");
        }
    }

    private static string Settings(IReadOnlyList<RunGroup> groups)
    {
        RunGroup[] trained = [.. groups.Where(group => group.IsTrained)];
        if (trained.Length == 0)
        {
            return "";
        }

        StringBuilder html = new("<table><thead><tr><td></td>");
        foreach (RunGroup group in trained)
        {
            html.Append(CultureInfo.InvariantCulture, $"<th scope=\"col\">{ResultTable.Html(group.Base)}<br>{ResultTable.Html(group.Label)}</th>");
        }

        html.Append("</tr></thead><tbody>");
        foreach (string key in s_settings.Where(key => trained.Any(group => group.Runs[0].Config[key] is not null)))
        {
            html.Append(CultureInfo.InvariantCulture, $"<tr><th scope=\"row\">{ResultTable.Html(key.Replace('_', ' '))}</th>");
            foreach (RunGroup group in trained)
            {
                html.Append(CultureInfo.InvariantCulture, $"<td>{ResultTable.Html(group.Runs[0].Config[key]?.ToString() ?? "–")}</td>");
            }

            html.Append("</tr>");
        }

        html.Append("<tr><th scope=\"row\">seeds</th>");
        foreach (RunGroup group in trained)
        {
            html.Append(CultureInfo.InvariantCulture, $"<td>{ResultTable.Html(string.Join(", ", group.Runs.Select(run => run.Config["seed"]?.ToString() ?? "–")))}</td>");
        }

        return ResultTable.Scrolling("Setting", html.Append("</tr></tbody></table>").ToString());
    }

    private static string Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"the resource {name} is not in the assembly");
        using StreamReader reader = new(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
