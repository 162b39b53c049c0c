// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>
/// Example scenes as in the paper's figures 4 and 5: the picture, its growing caption, each group's similarity after every sentence with a mark
/// where a fuller caption is not more similar, and HiMo@K of this picture alone.
/// </summary>
internal static class ReportExamples
{
    private const int MaxExamples = 6;

    /// <summary>Cards for the examples that the first base's groups have in common; empty where no run recorded any.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    /// <param name="missing">Receives the pictures that could not be found.</param>
    public static string Html(IReadOnlyList<RunGroup> groups, ICollection<string> missing)
    {
        RunGroup[] shown = [.. groups.Where(group => Examples(group).Count > 0)];
        if (shown.Length == 0)
        {
            return "";
        }

        shown = [.. shown.Where(group => group.Base == shown[0].Base)];
        StringBuilder html = new(
            "<p>Cosine of the picture with its caption as it grows sentence by sentence, first run of each setting (the paper’s figures 4 and 5). The bar under a number is its length on a scale from 0 to 1; "
            + "<b class=\"fall\">▾</b> marks a fuller caption that is not more similar than the one before. HiMo@K is the correlation of similarity and number of sentences for this picture: 1 is a steady rise, "
            + "−1 a steady fall.</p>");
        foreach (JsonObject example in Examples(shown[0]).Take(MaxExamples))
        {
            string image = JsonText.String(example["image"]) ?? "";
            html.Append("<article class=\"example\">").Append(ReportPictures.Html(shown[0].Runs[0], image, missing)).Append(ResultTable.Scrolling("Similarities", Table(groups, shown, example, image))).Append("</article>");
        }

        return html.ToString();
    }

    private static string Table(IReadOnlyList<RunGroup> groups, RunGroup[] shown, JsonObject example, string image)
    {
        StringBuilder html = new("<table><thead><tr><th scope=\"col\">caption so far</th>");
        double[][] similarity = [.. shown.Select(group => Similarity(group, image))];
        foreach (RunGroup group in shown)
        {
            html.Append(CultureInfo.InvariantCulture, $"<th scope=\"col\"><i class=\"swatch {ReportFigures.Color(groups, group)}\"></i>{ResultTable.Html(group.Label)}</th>");
        }

        html.Append("</tr></thead><tbody>");
        string[] captions = [.. ((JsonArray)example["captions"]!).Select(caption => (string)caption!)];
        for (int k = 0; k < captions.Length; k++)
        {
            html.Append(CultureInfo.InvariantCulture, $"<tr><td>{Added(captions, k)}</td>");
            foreach ((RunGroup group, double[] values) in shown.Zip(similarity))
            {
                html.Append(Cell(values, k, ReportFigures.Color(groups, group)));
            }

            html.Append("</tr>");
        }

        html.Append(CultureInfo.InvariantCulture, $"</tbody><tfoot><tr><td>HiMo@{captions.Length}</td>");
        foreach (double[] values in similarity)
        {
            html.Append(CultureInfo.InvariantCulture, $"<td>{(values.Length == captions.Length && captions.Length > 1 ? Growth.Pearson(values).ToString("0.00", CultureInfo.InvariantCulture).Replace('-', '−') : "–")}</td>");
        }

        return html.Append("</tr></tfoot></table>").ToString();
    }

    private static List<JsonObject> Examples(RunGroup group) =>
        [.. (group.Runs[0].Evaluation?["examples"] as JsonArray ?? []).OfType<JsonObject>().Where(example => example["captions"] is JsonArray)];

    /// <summary>The sentence that step k adds; the whole caption where it does not continue the one before.</summary>
    private static string Added(string[] captions, int k)
    {
        bool grows = k > 0 && captions[k].StartsWith(captions[k - 1], StringComparison.Ordinal);
        return grows ? "… " + ResultTable.Html(captions[k][captions[k - 1].Length..].Trim()) : ResultTable.Html(captions[k]);
    }

    /// <summary>The similarities of the group's first run; empty where it has none of this picture.</summary>
    private static double[] Similarity(RunGroup group, string image) =>
        Examples(group).FirstOrDefault(example => JsonText.String(example["image"]) == image)?["similarity"] is JsonArray values
            ? [.. values.Select(value => RunFolder.Number(value) ?? double.NaN)]
            : [];

    private static string Cell(double[] values, int k, string color)
    {
        if (k >= values.Length || double.IsNaN(values[k]))
        {
            return "<td>–</td>";
        }

        double width = 100 * Math.Clamp(values[k], 0.0, 1.0);
        string fall = k > 0 && values[k] <= values[k - 1] ? "<b class=\"fall\" title=\"not more similar than the caption before\">▾</b>" : "";
        return string.Create(CultureInfo.InvariantCulture, $"<td class=\"bar\"><i class=\"{color}\" style=\"width:{width:0.#}%\"></i>{fall}<b>{values[k]:0.000}</b></td>");
    }
}
