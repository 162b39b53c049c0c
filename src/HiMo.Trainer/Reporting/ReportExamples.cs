// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>Example scenes: the picture, its growing caption, and each group's similarity after every sentence.</summary>
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
        StringBuilder html = new();
        foreach (JsonObject example in Examples(shown[0]).Take(MaxExamples))
        {
            string image = (string?)example["image"] ?? "";
            html.Append("<article class=\"example\">").Append(ReportPictures.Html(shown[0].Runs[0], image, missing)).Append("<table><thead><tr><th scope=\"col\">caption so far</th>");
            foreach (RunGroup group in shown)
            {
                html.Append(CultureInfo.InvariantCulture, $"<th scope=\"col\"><i class=\"swatch {ReportFigures.Color(groups, group)}\"></i>{ResultTable.Html(group.Label)}</th>");
            }

            html.Append("</tr></thead><tbody>");
            string[] captions = [.. ((JsonArray)example["captions"]!).Select(caption => (string)caption!)];
            for (int k = 0; k < captions.Length; k++)
            {
                html.Append(CultureInfo.InvariantCulture, $"<tr><td>{Added(captions, k)}</td>");
                foreach (RunGroup group in shown)
                {
                    AppendSimilarity(html, group, image, k, ReportFigures.Color(groups, group));
                }

                html.Append("</tr>");
            }

            html.Append("</tbody></table></article>");
        }

        return html.ToString();
    }

    private static List<JsonObject> Examples(RunGroup group) =>
        [.. (group.Runs[0].Evaluation?["examples"] as JsonArray ?? []).OfType<JsonObject>().Where(example => example["captions"] is JsonArray)];

    /// <summary>The sentence that step k adds; the whole caption where it does not continue the one before.</summary>
    private static string Added(string[] captions, int k)
    {
        bool grows = k > 0 && captions[k].StartsWith(captions[k - 1], StringComparison.Ordinal);
        return grows ? "… " + ResultTable.Html(captions[k][captions[k - 1].Length..].Trim()) : ResultTable.Html(captions[k]);
    }

    private static void AppendSimilarity(StringBuilder html, RunGroup group, string image, int k, string color)
    {
        JsonArray? values = Examples(group).FirstOrDefault(example => (string?)example["image"] == image)?["similarity"] as JsonArray;
        double? value = values is not null && k < values.Count ? RunFolder.Number(values[k]) : null;
        if (value is not { } similarity)
        {
            html.Append("<td>–</td>");
            return;
        }

        double width = 100 * Math.Clamp(similarity, 0.0, 1.0);
        html.Append(CultureInfo.InvariantCulture, $"<td class=\"bar\"><i class=\"{color}\" style=\"width:{width:0.#}%\"></i><b>{similarity:0.00}</b></td>");
    }
}
