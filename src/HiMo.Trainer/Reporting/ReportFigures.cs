// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>Builds every figure of the report from the runs; a figure whose numbers no run has is left out.</summary>
internal static class ReportFigures
{
    private const double RoomForLabels = 1.6, RoomForLongLabels = 2.3; // of the longest bar, for the text at its end at phone width

    /// <summary>All figures in the order of the page.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    /// <param name="benchmarks">Objects as <c>himo bench loss --json</c> prints them; may be empty.</param>
    public static IReadOnlyList<Figure> All(IReadOnlyList<RunGroup> groups, IReadOnlyList<JsonObject> benchmarks)
    {
        Figure?[] figures =
        [
            RecallByComponents(groups),
            GrowingCaptions(groups),
            Histogram(groups),
            Spectrum(groups),
            StepFigures.Progress(groups),
            StepFigures.Loss(groups),
            StepFigures.Components(groups),
            StepFigures.Spectra(groups),
            StepFigures.Health(groups),
            TimeShare(groups),
            FusedAgainstPlain(benchmarks),
        ];
        return [.. figures.OfType<Figure>()];
    }

    /// <summary>The page's name of a group's colour.</summary>
    /// <param name="groups">All groups, which decide the colour of the third HiMo setting and later.</param>
    /// <param name="group">One of them.</param>
    public static string Color(IReadOnlyList<RunGroup> groups, RunGroup group)
    {
        if (group.Loss is not ("himo" or RunGroup.Evaluated))
        {
            return group.Loss == "plain" ? "plain" : RunFolder.Before;
        }

        string[] settings = [.. groups.Where(other => other.Loss == group.Loss).Select(other => other.Setting).Distinct()];
        int place = Array.IndexOf(settings, group.Setting);
        return place == 0 ? "himo" : $"extra{(place - 1) % 3}";
    }

    private static Figure? RecallByComponents(IReadOnlyList<RunGroup> groups)
    {
        List<Panel> panels = [];
        foreach (IGrouping<string, RunGroup> sameBase in Evaluated(groups, "components"))
        {
            Panel panel = new(sameBase.Key, "text components kept", "R@1, %");
            panel.XAxis["type"] = "log";
            panel.YAxis["range"] = new JsonArray(0, 101);
            foreach (RunGroup group in sameBase)
            {
                double[] kept = Column(group.Runs.First(HasComponents), "kept");
                panel.XAxis["tickvals"] = new JsonArray([.. kept.Select(value => (JsonNode)value)]);
                foreach ((string field, string direction, string dash) in new[]
                    { ("image_to_text_R@1", "image to text", "solid"), ("text_to_image_R@1", "text to image", "dot") })
                {
                    (double[] mean, double[] lowest, double[] highest) = RunGroup.Envelope(
                        [.. group.Runs.Where(HasComponents).Select(run => Column(run, field).Select(share => 100 * share).ToArray())]);
                    panel.Line($"{group.Label}, {direction}", kept, mean, Color(groups, group), dash, markers: true, lowest, highest);
                }
            }

            panels.Add(panel);
        }

        return Make(
            "components", "Retrieval from a few principal components",
            "Recall@1 with every text projected on the first k principal components of all texts. Solid: image to text; dotted: text to image; "
            + "shaded: lowest to highest seed. The component loss trains just this, so it is a control that should come out.",
            Legend(groups), panels);

        static bool HasComponents(RunFolder run) => run.Evaluation?["components"] is JsonArray { Count: > 0 };

        static double[] Column(RunFolder run, string field) =>
            [.. ((JsonArray)run.Evaluation!["components"]!).Select(entry => RunFolder.Number(entry?[field]) ?? double.NaN)];
    }

    private static Figure? GrowingCaptions(IReadOnlyList<RunGroup> groups)
    {
        List<Panel> panels = [];
        foreach ((string field, string title, string axis) in new[]
            { ("similarity", "own image", "cosine"), ("margin", "less the average image", "cosine difference") })
        {
            foreach (IGrouping<string, RunGroup> sameBase in Evaluated(groups, "completeness"))
            {
                Panel panel = new($"{sameBase.Key}: {title}", "fifths of the caption given", axis);
                foreach (RunGroup group in sameBase)
                {
                    double[][] curves =
                    [
                        .. group.Runs.Select(run => run.Evaluation?["completeness"]?[field]).OfType<JsonArray>()
                            .Select(values => values.Select(value => RunFolder.Number(value) ?? double.NaN).ToArray()),
                    ];
                    (double[] mean, double[] lowest, double[] highest) = RunGroup.Envelope(curves);
                    panel.XAxis["dtick"] = 1;
                    panel.Line(group.Label, [.. Enumerable.Range(1, mean.Length).Select(k => (double)k)], mean, Color(groups, group), "solid", markers: true, lowest, highest);
                }

                panels.Add(panel);
            }
        }

        return Make(
            "completeness", "Does a fuller caption match its image more strongly?",
            "Mean similarity of growing captions with their own image (the paper's figures 1 and 3). Less the average image: the similarity "
            + "with it taken away, so that what remains is specific to the image. Shaded: lowest to highest seed.",
            Legend(groups), panels);
    }

    private static Figure? Spectrum(IReadOnlyList<RunGroup> groups)
    {
        List<Panel> panels = [];
        foreach (IGrouping<string, RunGroup> sameBase in Evaluated(groups, "spectrum"))
        {
            Panel panel = new(sameBase.Key, "principal component", "cumulative variance, %");
            panel.XAxis["type"] = "log";
            panel.XAxis["dtick"] = "D2";
            panel.YAxis["range"] = new JsonArray(0, 101);
            foreach (RunGroup group in sameBase)
            {
                (double[] mean, double[] lowest, double[] highest) = RunGroup.Envelope(
                    [.. group.Runs.Select(run => run.Evaluation?["spectrum"]).OfType<JsonArray>().Select(Cumulative)]);
                panel.Line(group.Label, [.. Enumerable.Range(1, mean.Length).Select(k => (double)k)], mean, Color(groups, group), "solid", markers: false, lowest, highest);
            }

            panels.Add(panel);
        }

        return Make(
            "spectrum", "Spectrum of the text embeddings",
            "Share of the variance of the evaluation texts that the first k principal components explain: the further left a curve rises, the more compact the texts.",
            Legend(groups), panels);
    }

    private static Figure? Histogram(IReadOnlyList<RunGroup> groups)
    {
        List<Panel> panels = [];
        foreach (IGrouping<string, RunGroup> sameBase in Evaluated(groups, "histogram"))
        {
            Panel panel = new(sameBase.Key, "cosine of image and caption", "pairs, %");
            foreach (RunGroup group in sameBase)
            {
                foreach ((string kind, string dash) in new[] { ("matched", "solid"), ("unmatched", "dot") })
                {
                    double[][] shares = [.. group.Runs.Select(run => run.Evaluation?["histogram"]?[kind]).OfType<JsonArray>().Select(Shares)];
                    (double[] mean, double[] lowest, double[] highest) = RunGroup.Envelope(shares);
                    int[] shown = [.. Occupied(mean)];
                    panel.Line(
                        $"{group.Label}, {kind}", [.. shown.Select(bin => SimilarityHistogram.LowerEnd(bin) + (1.0 / SimilarityHistogram.Bins))], Pick(mean, shown), Color(groups, group), dash,
                        markers: false, Pick(lowest, shown), Pick(highest, shown));
                }
            }

            panels.Add(panel);
        }

        return Make(
            "histogram", "Matched against unmatched pairs",
            "Share of the pairs by their cosine, in bins of 0.02. Solid: images with their own full caption; dotted: with the captions of other images. The less the two overlap, the better the retrieval. "
            + "Shaded: lowest to highest seed.",
            Legend(groups), panels);

        static double[] Shares(JsonArray counts)
        {
            double[] values = [.. counts.Select(value => RunFolder.Number(value) ?? 0.0)];
            double total = values.Sum();
            return [.. values.Select(value => 100.0 * value / total)];
        }

        // With one empty bin on either side, so that the line comes from zero and returns to it.
        static IEnumerable<int> Occupied(double[] shares)
        {
            int first = Array.FindIndex(shares, share => share > 0), last = Array.FindLastIndex(shares, share => share > 0);
            return first < 0 ? [] : Enumerable.Range(0, shares.Length).Where(bin => bin >= first - 1 && bin <= last + 1);
        }

        static double[] Pick(double[] values, int[] places) => [.. places.Select(place => values[place])];
    }

    private static Figure? TimeShare(IReadOnlyList<RunGroup> groups)
    {
        RunGroup[] trained = [.. groups.Where(group => group.IsTrained && group.Steps("step_ms").Mean.Length > 0)];
        if (trained.Length == 0)
        {
            return null;
        }

        string[] names = [.. trained.Select(group => $"{group.Base}, {group.Label}")];
        double[] loss = [.. trained.Select(group => Median(group.Steps("loss_ms").Mean))];
        double[] step = [.. trained.Select(group => Median(group.Steps("step_ms").Mean))];
        double[] waiting = [.. trained.Select(group => Median(group.Steps("data_ms").Mean) is var median && double.IsFinite(median) ? median : 0.0)];
        (string Name, double[] Values, string Color)[] small = [("loss, forward and backward", loss, "himo"), ("waiting for data", waiting, "plain")];

        // The small parts on an axis of their own: beside the whole step they are a hair's breadth.
        Panel parts = new("the loss and the wait alone", "ms a step, median", "");
        Panel whole = new("the whole step", "ms a step, median", "") { Stacked = true };
        whole.XAxis["range"] = new JsonArray(0, RoomForLongLabels * step.Where(double.IsFinite).DefaultIfEmpty(1.0).Max());
        parts.XAxis["range"] = new JsonArray(0, RoomForLongLabels * small.Max(part => part.Values.Where(double.IsFinite).DefaultIfEmpty(1.0).Max()));
        foreach ((string name, double[] values, string color) in small)
        {
            parts.Bars(name, names, values, color, [.. values.Zip(step, (part, all) => FormattableString.Invariant($"{part:0.0#} ms · {100 * part / all:0.0} %"))]);
            whole.Bars(name, names, values, color);
        }

        whole.Bars("everything else", names, [.. step.Select((all, i) => all - loss[i] - waiting[i])], "before", [.. step.Select(all => FormattableString.Invariant($"{all:0} ms in all"))]);
        return Make(
            "time", "Time of a step",
            "How long the loss, the wait for data and everything else (the two encoders and the optimiser) take of one training step. Percent are of the whole step.",
            [.. small.Select(part => new LegendEntry(part.Name, part.Color)), new LegendEntry("everything else", "before")], [parts, whole]);

        static double Median(double[] values)
        {
            double[] sorted = [.. values.Where(double.IsFinite).Order()];
            return sorted.Length == 0 ? double.NaN : sorted[sorted.Length / 2];
        }
    }

    private static Figure? FusedAgainstPlain(IReadOnlyList<JsonObject> benchmarks)
    {
        if (benchmarks.Count == 0)
        {
            return null;
        }

        string[] sizes = [.. benchmarks.Select(entry => $"{entry["n"]} x {entry["dim"]}")];
        (string Name, string Field, string Color)[] forms = [("fused", "fused_ms", "himo"), ("plain ops, eigh", "plain_eigh_ms", "plain"), ("plain ops, SVD (the authors' structure)", "plain_ms", "before")];
        double[] fused = Field("fused_ms");
        double[][] multiples = [.. forms.Select(form => Field(form.Field).Zip(fused, (time, unit) => time / unit).ToArray())];
        Panel panel = new("", "multiples of the fused time", "batch x width");
        panel.XAxis["range"] = new JsonArray(0, RoomForLabels * multiples.SelectMany(row => row).Where(double.IsFinite).DefaultIfEmpty(1.0).Max());
        foreach (((string name, string field, string color), double[] values) in forms.Zip(multiples))
        {
            panel.Bars(name, sizes, values, color, [.. Field(field).Select(Milliseconds)]);
        }

        return Make(
            "fused", "The fused loss against plain TorchSharp operations",
            "Forward and backward, interleaved in one process on this machine, as multiples of the fused loss's time: a longer bar is slower. Labels: medians.",
            [.. forms.Select(form => new LegendEntry(form.Name, form.Color))], [panel]);

        // Three digits without an exponent.
        static string Milliseconds(double time) => time >= 100.0 ? FormattableString.Invariant($"{time:0} ms") : FormattableString.Invariant($"{time:G3} ms");

        double[] Field(string name) => [.. benchmarks.Select(entry => RunFolder.Number(entry[name]) ?? double.NaN)];
    }

    /// <summary>What the first one, two, ... of a spectrum's values sum to, in percent of all.</summary>
    internal static double[] Cumulative(JsonArray spectrum)
    {
        double[] values = [.. spectrum.Select(value => RunFolder.Number(value) ?? 0.0)];
        double total = values.Sum(), sum = 0.0;
        return [.. values.Select(value => 100.0 * (sum += value) / total)];
    }

    private static IEnumerable<IGrouping<string, RunGroup>> Evaluated(IEnumerable<RunGroup> groups, string field) =>
        groups.Where(group => group.Runs.Any(run => run.Evaluation?[field] is not null)).GroupBy(group => group.Base);

    /// <summary>Groups with steps, by base.</summary>
    internal static IEnumerable<IGrouping<string, RunGroup>> Trained(IEnumerable<RunGroup> groups) =>
        groups.Where(group => group.Runs.Any(run => run.Steps.Count > 0)).GroupBy(group => group.Base);

    /// <summary>One entry a label.</summary>
    internal static LegendEntry[] Legend(IEnumerable<RunGroup> groups)
    {
        RunGroup[] all = [.. groups];
        return [.. all.Select(group => new LegendEntry(group.Label, Color(all, group))).Distinct()];
    }

    /// <summary>A figure, or null where it has no panel.</summary>
    internal static Figure? Make(string id, string title, string caption, IReadOnlyList<LegendEntry> legend, IReadOnlyList<Panel> panels) =>
        panels.Count == 0 ? null : new Figure(id, title, caption, legend, panels);
}
