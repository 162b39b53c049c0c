// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Security;
using System.Text;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>The results of <c>bench table --json</c> as a chart: for every size the times of both plain forms in multiples of the fused one's.</summary>
internal static class LossChart
{
    private const int Width = 820;
    private const int Left = 150;
    private const int Right = 130;
    private const int Top = 86;
    private const int BarHeight = 15;
    private const int GroupGap = 18;

    private static readonly (string Key, string Label, string Color)[] s_forms =
    [
        ("fused_min_ms", "fused", "#1b6ca8"), ("plain_min_ms", "plain, authors' structure (SVD)", "#c8553d"), ("plain_eigh_min_ms", "plain, eigh of the smaller side", "#e0a458"),
    ];

    /// <summary>An SVG document.</summary>
    /// <param name="results">The array that the command wrote.</param>
    /// <exception cref="UserError">It is none.</exception>
    public static string Draw(JsonNode? results)
    {
        if (results is not JsonArray { Count: > 0 } rows || rows.Any(row => s_forms.Any(form => row?[form.Key] is null)))
        {
            throw new UserError("the results are not what 'himo bench table --json' writes");
        }

        JsonNode first = rows[0]!;
        double largest = rows.Max(row => s_forms.Max(form => Multiple(row!, form.Key)));
        double scale = (Width - Left - Right) / Math.Ceiling(largest);
        int height = Top + (rows.Count * ((s_forms.Length * BarHeight) + GroupGap)) + 34;
        StringBuilder svg = new();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{Width}\" height=\"{height}\" viewBox=\"0 0 {Width} {height}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#222\">\n");
        svg.Append(CultureInfo.InvariantCulture, $"<rect width=\"{Width}\" height=\"{height}\" fill=\"#fff\"/>\n");
        Text(svg, 16, 24, "HiMo loss, forward and backward: time in multiples of the fused operator's", "font-size=\"15\" font-weight=\"bold\"");
        Text(svg, 16, 44, Machine(first), "fill=\"#555\"");
        int x = 16;
        foreach ((string _, string label, string color) in s_forms)
        {
            svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{x}\" y=\"56\" width=\"12\" height=\"12\" fill=\"{color}\"/>\n");
            Text(svg, x + 17, 66, label, "");
            x += 45 + (int)(6.4 * label.Length);
        }

        int bottom = height - 34;
        for (int tick = 0; tick <= Math.Ceiling(largest); tick++)
        {
            double at = Left + (tick * scale);
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{at:F1}\" y1=\"{Top - 6}\" x2=\"{at:F1}\" y2=\"{bottom}\" stroke=\"{(tick == 1 ? "#888" : "#e4e4e4")}\"/>\n");
            Text(svg, at, bottom + 16, $"{tick}", "text-anchor=\"middle\" fill=\"#555\"");
        }

        int y = Top;
        foreach (JsonNode row in rows.Select(row => row!))
        {
            Text(svg, Left - 10, y + (s_forms.Length * BarHeight / 2) + 4, $"{row["n"]} x {row["dim"]} (m = {row["m"]})", "text-anchor=\"end\"");
            foreach ((string key, string _, string color) in s_forms)
            {
                double multiple = Multiple(row, key), end = multiple * scale;
                svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{Left}\" y=\"{y}\" width=\"{end:F1}\" height=\"{BarHeight - 2}\" fill=\"{color}\"/>\n");
                Text(svg, Left + end + 5, y + 11, string.Create(CultureInfo.InvariantCulture, $"{Milliseconds((double)row[key]!)} ms ({multiple:F1}x)"), "font-size=\"11\"");
                y += BarHeight;
            }

            y += GroupGap;
        }

        return svg.Append("</svg>\n").ToString();
    }

    private static double Multiple(JsonNode row, string key) => (double)row[key]! / (double)row["fused_min_ms"]!;

    private static string Milliseconds(double value) => value.ToString(value < 10.0 ? "F2" : "F0", CultureInfo.InvariantCulture);

    private static string Machine(JsonNode row) => string.Create(
        CultureInfo.InvariantCulture,
        $"{row["cpu"]}, {row["threads"]} threads, float32, minima; multiply-adds {(double?)row["fma_gflops"]:F0} GFLOP/s, libtorch's sgemm {(double?)row["mkl_gflops"]:F0}");

    private static void Text(StringBuilder svg, double x, double y, string text, string attributes) =>
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{x:F1}\" y=\"{y:F1}\" {attributes}>{SecurityElement.Escape(text)}</text>\n");
}
