// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>One case of <c>bench gpu</c> beside the plain forms of plain_torch.py; null is what was not measured. Times in ms, forward and backward.</summary>
/// <param name="Case">N,D[,precision[,groups]], or N,D,hide[,groups] for HiDe alone.</param>
/// <param name="Kept">m.</param>
/// <param name="Graph">Ours as a replayed graph.</param>
/// <param name="Stream">Ours launch by launch.</param>
/// <param name="Svd">The authors' structure in float32; over a loop where there are several groups.</param>
/// <param name="Eigh">The form by eigenvectors, products of our precision; batched where there are several groups.</param>
internal sealed record GpuComparison(string Case, double? Kept, double? Graph, double? Stream, double? Svd, double? Eigh)
{
    /// <summary>Above the rows of <see cref="ToMarkdown"/>.</summary>
    public const string Heading = "\nForward and backward, ms of the device, medians; plain forms by torch's eager mode.\n\n"
        + "| N, d, precision, groups | m | graph | launches | plain, SVD | plain, eigh | SVD / graph | eigh / graph |\n|---|---|---|---|---|---|---|---|\n";

    /// <summary>Reads one case.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="measured">What bench gpu says of it.</param>
    /// <param name="baselines">Rows of plain_torch.py.</param>
    public static GpuComparison Of(string name, JsonNode measured, JsonArray baselines)
    {
        string[] parts = name.Split(',');
        string precision = parts.Length > 2 ? parts[2] : "strict";
        bool grouped = parts.Length > 3 && parts[3] != "1";
        string shape = grouped ? $"[{parts[3]},{parts[0]},{parts[1]}]" : parts.Length > 1 ? $"[{parts[0]},{parts[1]}]" : "";
        string eigh = grouped ? "eigh, batched" : precision switch { "bf16" => "eigh, bf16 logits", "tf32" => "eigh, tf32", _ => "eigh" };
        string part = precision == "hide" ? "hide, " : "";
        return new GpuComparison(
            name, Number(measured["m"]), Number(measured["graph_ms"]), Number(measured["stream_ms"]), Plain(part + (grouped ? "svd, loop" : "svd")), Plain(part + eigh));

        double? Plain(string form) => Number(baselines.FirstOrDefault(row => JsonText.String(row?["form"]) == form && row!["shape"]?.ToJsonString() == shape)?["ms"]);
    }

    /// <summary>As an object, ratios included.</summary>
    public JsonObject ToJson() => new()
    {
        ["case"] = Case, ["m"] = Kept, ["graph_ms"] = Graph, ["stream_ms"] = Stream, ["svd_ms"] = Svd, ["eigh_ms"] = Eigh, ["svd_over_graph"] = Svd / Graph, ["eigh_over_graph"] = Eigh / Graph,
    };

    /// <summary>As a row below <see cref="Heading"/>.</summary>
    public string ToMarkdown() =>
        $"| {Case} | {Text(Kept, "0")} | {Text(Graph, "0.000")} | {Text(Stream, "0.000")} | {Text(Svd, "0.00")} | {Text(Eigh, "0.00")} | {Text(Svd / Graph, "0.0")} | {Text(Eigh / Graph, "0.0")} |\n";

    private static string Text(double? value, string format) => value?.ToString(format, CultureInfo.InvariantCulture) ?? "-";

    /// <summary>A number, or null for anything else.</summary>
    internal static double? Number(JsonNode? node) => node is JsonValue value && value.TryGetValue(out double number) ? number : null;
}
