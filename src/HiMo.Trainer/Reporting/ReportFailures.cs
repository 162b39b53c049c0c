// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>The captions that find their image last: the picture meant, the picture found, and the caption.</summary>
internal static class ReportFailures
{
    private const int ShownPerGroup = 4;

    /// <summary>Cards for each group of the first base that was trained; of all groups where none was. Empty where no evaluation has failures.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    /// <param name="missing">Receives the pictures that could not be found.</param>
    public static string Html(IReadOnlyList<RunGroup> groups, ICollection<string> missing)
    {
        RunGroup[] shown = [.. groups.Where(group => Failures(group.Runs[0]).Count > 0)];
        shown = [.. shown.Where(group => group.IsTrained || !shown.Any(other => other.IsTrained))];
        if (shown.Length == 0)
        {
            return "";
        }

        shown = [.. shown.Where(group => group.Base == shown[0].Base)];
        StringBuilder html = new("<p>Text to image, full captions. Left the picture that the caption describes, with its rank; right the one ranked first. First run of each setting.</p>");
        foreach (RunGroup group in shown)
        {
            html.Append(CultureInfo.InvariantCulture, $"<h3><i class=\"swatch {ReportFigures.Color(groups, group)}\"></i>{ResultTable.Html(group.Label)}</h3><div class=\"failures\">");
            foreach (JsonObject failure in Failures(group.Runs[0]).Take(ShownPerGroup))
            {
                Append(html, group.Runs[0], failure, missing);
            }

            html.Append("</div>");
        }

        return html.ToString();
    }

    private static void Append(StringBuilder html, RunFolder run, JsonObject failure, ICollection<string> missing)
    {
        html.Append("<article class=\"failure\"><div class=\"pair\">");
        AppendPicture(html, run, failure, $"rank {failure["rank"]}", missing);
        AppendPicture(html, run, failure["first"] as JsonObject ?? [], "rank 1", missing);
        html.Append(CultureInfo.InvariantCulture, $"</div><p>{ResultTable.Html(JsonText.String(failure["text"]) ?? "")}</p></article>");
    }

    private static void AppendPicture(StringBuilder html, RunFolder run, JsonObject shown, string rank, ICollection<string> missing)
    {
        double? similarity = RunFolder.Number(shown["similarity"]);
        html.Append("<figure>").Append(ReportPictures.Html(run, JsonText.String(shown["image"]) ?? "", missing))
            .Append(CultureInfo.InvariantCulture, $"<figcaption><b>{ResultTable.Html(rank)}</b> · {(similarity is { } value ? value.ToString("0.000", CultureInfo.InvariantCulture) : "–")}</figcaption></figure>");
    }

    private static List<JsonObject> Failures(RunFolder run) => [.. (run.Evaluation?["failures"] as JsonArray ?? []).OfType<JsonObject>()];
}
