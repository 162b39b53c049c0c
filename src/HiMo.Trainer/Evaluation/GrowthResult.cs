// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>HiMo's measures over many images.</summary>
/// <param name="At2">Share of the images whose score rises strictly over two segments of the caption, from 0 to 1.</param>
/// <param name="At3">The same over three.</param>
/// <param name="At5">Mean Pearson correlation over five segments.</param>
/// <param name="AtK">Mean Pearson correlation over every caption an image has: the authors' HiMo@K.</param>
/// <param name="Curve">Mean score after each of five segments.</param>
internal sealed record GrowthResult(double At2, double At3, double At5, double AtK, double[] Curve)
{
    /// <summary>Segments of the curve.</summary>
    public const int Points = 5;

    /// <summary>Measures scores. Images with fewer captions than a measure has segments do not count there; NaN where none is left.</summary>
    /// <param name="scores">For each image one score per growing caption.</param>
    public static GrowthResult From(IReadOnlyList<double[]> scores)
    {
        double[][] five = Cut(scores, Points);
        return new GrowthResult(
            Mean(Cut(scores, 2), row => Growth.IsStrictlyRising(row) ? 1 : 0),
            Mean(Cut(scores, 3), row => Growth.IsStrictlyRising(row) ? 1 : 0),
            Mean(five, row => Growth.Pearson(row)),
            Mean(scores, row => Growth.Pearson(row)),
            [.. Enumerable.Range(0, Points).Select(point => Mean(five, row => row[point]))]);
    }

    /// <summary>The measures by name; those that no image allows are left out.</summary>
    public JsonObject ToJson()
    {
        JsonObject json = [];
        foreach ((string name, double value) in new[] { ("himo@2", At2), ("himo@3", At3), ("himo@5", At5), ("himo@K", AtK) })
        {
            if (!double.IsNaN(value))
            {
                json[name] = value;
            }
        }

        return json;
    }

    private static double[][] Cut(IReadOnlyList<double[]> scores, int segments) =>
    [
        .. scores.Where(row => row.Length >= segments)
            .Select(row => Enumerable.Range(1, segments).Select(first => row[Segments.Kept(row.Length, segments, first) - 1]).ToArray()),
    ];

    private static double Mean(IReadOnlyList<double[]> rows, Func<double[], double> measure) => rows.Count == 0 ? double.NaN : rows.Average(measure);
}
