// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>The evaluations during training, the base's own at step 0 and the final one at the end.</summary>
internal static class EvaluationHistory
{
    /// <summary>A measure over the steps of a run.</summary>
    /// <param name="Name">For readers, with its unit.</param>
    /// <param name="Scale">100 for shares shown as percent, else 1.</param>
    /// <param name="Format">.NET number format; the third part keeps the sign from a zero.</param>
    /// <param name="Path">Where an evaluation holds it.</param>
    internal sealed record Measure(string Name, double Scale, string Format, params string[] Path);

    /// <summary>What is followed, in the order of the table.</summary>
    internal static IReadOnlyList<Measure> Measures { get; } =
    [
        new("R@1, image to text, %", 100.0, "0.0", "retrieval", "full", "image_to_text_R@1"),
        new("R@1, text to image, %", 100.0, "0.0", "retrieval", "full", "text_to_image_R@1"),
        new("HiMo@2, %", 100.0, "0.0", "himo", "himo@2"),
        new("HiMo@3, %", 100.0, "0.0", "himo", "himo@3"),
        new("HiMo@K", 1.0, "0.00;−0.00;0.00", "himo", "himo@K"),
        new("HiMo@K less the average image", 1.0, "0.00;−0.00;0.00", "margin", "himo@K"),
    ];

    /// <summary>Whether any run was measured on its way.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    public static bool IsThere(IEnumerable<RunGroup> groups) => groups.Any(group => group.Runs.Any(run => run.Evaluations.Count > 0));

    /// <summary>A measure at every step at which all runs of a group that were measured on their way have it; mean, smallest and largest.</summary>
    /// <param name="groups">All groups, among them the base before training.</param>
    /// <param name="group">One that was trained.</param>
    /// <param name="measure">The measure.</param>
    public static (double[] Steps, double[] Mean, double[] Lowest, double[] Highest) Series(IReadOnlyList<RunGroup> groups, RunGroup group, Measure measure)
    {
        JsonObject? before = groups.FirstOrDefault(other => other.Base == group.Base && other.Loss == RunFolder.Before)?.Runs[0].Evaluation;
        RunFolder[] measured = [.. group.Runs.Where(run => run.Evaluations.Count > 0)];
        Dictionary<double, double>[] series = [.. measured.Select(run => Points(run, before, measure))];
        double[] steps = [.. series.SelectMany(points => points.Keys).Distinct().Where(step => series.All(points => points.ContainsKey(step))).Order()];
        (double[] mean, double[] lowest, double[] highest) = RunGroup.Envelope([.. series.Select(points => steps.Select(step => points[step]).ToArray())]);
        return (steps, mean, lowest, highest);
    }

    /// <summary>Every measure of every evaluation as a table; empty where there was none.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    public static string Table(IReadOnlyList<RunGroup> groups)
    {
        RunGroup[] measured = [.. groups.Where(group => group.IsTrained && IsThere([group]))];
        if (measured.Length == 0)
        {
            return "";
        }

        StringBuilder html = new("<table><thead><tr><th scope=\"col\">step</th>");
        html.AppendJoin("", Measures.Select(measure => $"<th scope=\"col\">{ResultTable.Html(measure.Name)}</th>")).Append("</tr></thead>");
        foreach (RunGroup group in measured)
        {
            html.Append(CultureInfo.InvariantCulture, $"<tbody><tr class=\"section\"><th scope=\"rowgroup\" colspan=\"{Measures.Count + 1}\"><span><i class=\"swatch {ReportFigures.Color(groups, group)}\"></i>{ResultTable.Html($"{group.Base}, {group.Label}")}</span></th></tr>");
            Dictionary<double, double>[] columns = [.. Measures.Select(measure => Series(groups, group, measure)).Select(series => series.Steps.Zip(series.Mean).ToDictionary(point => point.First, point => point.Second))];
            foreach (double step in columns.SelectMany(column => column.Keys).Distinct().Order())
            {
                html.Append(CultureInfo.InvariantCulture, $"<tr><th scope=\"row\">{step:0}</th>");
                foreach ((Dictionary<double, double> column, Measure measure) in columns.Zip(Measures))
                {
                    string shown = column.TryGetValue(step, out double value) && double.IsFinite(value) ? value.ToString(measure.Format, CultureInfo.InvariantCulture) : "–";
                    html.Append(CultureInfo.InvariantCulture, $"<td>{shown}</td>");
                }

                html.Append("</tr>");
            }

            html.Append("</tbody>");
        }

        return ResultTable.Scrolling("Evaluations during training", html.Append("</table>").ToString());
    }

    private static Dictionary<double, double> Points(RunFolder run, JsonObject? before, Measure measure)
    {
        double last = run.Steps.Count > 0 ? run.StepValues("step")[^1] : double.NaN;
        IEnumerable<(double Step, JsonObject? Measures)> all = run.Evaluations.Select(entry => (RunFolder.Number(entry["step"]) ?? double.NaN, (JsonObject?)entry));
        Dictionary<double, double> points = [];
        foreach ((double step, JsonObject? measures) in all.Prepend((0.0, before)).Append((last, run.Evaluation)))
        {
            if (double.IsFinite(step) && RunFolder.Number(RunFolder.Find(measures, measure.Path)) is { } value)
            {
                _ = points.TryAdd(step, measure.Scale * value);
            }
        }

        return points;
    }
}
