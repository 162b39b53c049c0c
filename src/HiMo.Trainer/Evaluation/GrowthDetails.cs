// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>What a page shows of growing captions besides the measures: the curve over a caption's completeness, and examples (the paper's figures 1, 3, 4 and 5).</summary>
/// <param name="Captions">Images with their captions.</param>
/// <param name="Similarity">For each image one cosine per caption.</param>
/// <param name="Less">The same less the cosine with the average image.</param>
/// <param name="Growth">Measures of the cosines.</param>
/// <param name="Margin">Measures of the differences.</param>
internal sealed record GrowthDetails(IReadOnlyList<GrowingCaption> Captions, double[][] Similarity, double[][] Less, GrowthResult Growth, GrowthResult Margin)
{
    private const int Examples = 6;

    /// <summary>Measures both.</summary>
    /// <param name="captions">Images with their captions.</param>
    /// <param name="similarity">For each image one cosine per caption.</param>
    /// <param name="less">The same less the cosine with the average image.</param>
    public static GrowthDetails From(IReadOnlyList<GrowingCaption> captions, double[][] similarity, double[][] less) =>
        new(captions, similarity, less, GrowthResult.From(similarity), GrowthResult.From(less));

    /// <summary>Values of all captions as one row an image.</summary>
    /// <param name="values">One per caption, image by image.</param>
    /// <param name="captions">Images with their captions.</param>
    public static double[][] Rows(float[] values, IReadOnlyList<GrowingCaption> captions)
    {
        double[][] rows = new double[captions.Count][];
        int start = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            int end = start + captions[i].Captions.Length;
            rows[i] = System.Array.ConvertAll(values[start..end], value => (double)value);
            start = end;
        }

        return rows;
    }

    /// <summary>Adds <c>completeness</c>, where any caption has enough sentences, and <c>examples</c>.</summary>
    /// <param name="json">The evaluation.</param>
    public void AddTo(JsonObject json)
    {
        if (!double.IsNaN(Growth.Curve[0]))
        {
            json["completeness"] = new JsonObject
            {
                ["sentences"] = Array(Enumerable.Range(1, GrowthResult.Points).Select(point => (double)point)),
                ["similarity"] = Array(Growth.Curve),
                ["margin"] = Array(Margin.Curve),
            };
        }

        json["examples"] = new JsonArray([.. Enumerable.Range(0, Math.Min(Examples, Captions.Count)).Select(i => new JsonObject
        {
            ["image"] = Captions[i].Image,
            ["captions"] = new JsonArray([.. Captions[i].Captions.Select(caption => JsonValue.Create(caption))]),
            ["similarity"] = Array(Similarity[i]),
            ["margin"] = Array(Less[i]),
        })]);
    }

    private static JsonArray Array(IEnumerable<double> values) => new([.. values.Select(value => JsonValue.Create(value))]);
}
