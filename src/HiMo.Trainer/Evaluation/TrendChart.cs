// SPDX-License-Identifier: Apache-2.0
using System.Globalization;

namespace HiMo.Trainer;

/// <summary>The similarities of a growing caption as bars for a terminal, one line a caption.</summary>
internal static class TrendChart
{
    private const int Width = 24;
    private const int MaxText = 90;
    private const string Eighths = " ▏▎▍▌▋▊▉";

    /// <summary>Lines of similarity, bar, and what the caption adds to the one before; the last lines say how to read them.</summary>
    /// <param name="score">What was measured.</param>
    public static IEnumerable<string> Lines(CaptionScore score)
    {
        (double low, double high) = (score.Similarity.Min(), score.Similarity.Max());
        for (int k = 0; k < score.Captions.Count; k++)
        {
            // The lowest gets one eighth of a character, so that every line has a bar.
            double share = high > low ? (score.Similarity[k] - low) / (high - low) : 1;
            string mark = k == 0 || score.Similarity[k] > score.Similarity[k - 1] ? " " : "↓";
            yield return $"{Number(score.Similarity[k])} {mark} {Bar(share)}  {Shorten(Added(score.Captions, k))}";
        }

        if (score.Captions.Count > 1)
        {
            yield return "";
            yield return $"Bars run from {Number(low).Trim()} to {Number(high).Trim()}; ↓ marks a fuller caption that is not more similar.";
            yield return $"HiMo@K (Pearson) {score.Pearson.ToString("0.000", CultureInfo.InvariantCulture)}, {(score.Rises ? "rises with every step" : "does not rise with every step")}";
        }

        if (score.Truncated > 0)
        {
            yield return $"{score.Truncated} of {score.Captions.Count} captions are longer than the model's context and were cut.";
        }
    }

    /// <summary>A bar of <see cref="Width"/> characters.</summary>
    /// <param name="share">Its length, from 0 to 1.</param>
    internal static string Bar(double share)
    {
        int eighths = Math.Max(1, (int)Math.Round(share * Width * 8));
        string bar = new string('█', eighths / 8) + (eighths % 8 == 0 ? "" : Eighths[eighths % 8]);
        return bar.PadRight(Width);
    }

    /// <summary>What caption k says beyond the one before; all of it where it does not continue that.</summary>
    private static string Added(IReadOnlyList<string> captions, int k) => k > 0 && captions[k].StartsWith(captions[k - 1], StringComparison.Ordinal)
        ? "+ " + captions[k][captions[k - 1].Length..].Trim()
        : captions[k];

    private static string Shorten(string text)
    {
        string line = text.ReplaceLineEndings(" ");
        return line.Length <= MaxText ? line : line[..(MaxText - 1)] + "…";
    }

    private static string Number(double value) => value.ToString("0.0000", CultureInfo.InvariantCulture).PadLeft(7);
}
