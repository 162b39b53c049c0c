// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>Builds every figure of the report from the runs; a figure whose numbers no run has is left out.</summary>
internal static class ReportFigures
{
    /// <summary>All figures in the order of the page.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    /// <param name="benchmarks">Objects as <c>himo bench loss --json</c> prints them; may be empty.</param>
    public static IReadOnlyList<Figure> All(IReadOnlyList<RunGroup> groups, IReadOnlyList<JsonObject> benchmarks)
    {
        Figure?[] figures =
        [
            RecallByComponents(groups),
            GrowingCaptions(groups),
            Spectrum(groups),
            LossCurves(groups),
            Components(groups),
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
        if (group.Loss != "himo")
        {
            return group.Loss == "plain" ? "plain" : "before";
        }

        string[] settings = [.. groups.Where(other => other.Loss == "himo").Select(other => other.Setting).Distinct()];
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
            "Mean similarity of growing captions with their own image (the paper's figures 1 and 3). The second row takes the similarity with the average "
            + "image away: what remains is specific to the image. Shaded: lowest to highest seed.",
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

        static double[] Cumulative(JsonArray spectrum)
        {
            double[] values = [.. spectrum.Select(value => RunFolder.Number(value) ?? 0.0)];
            double total = values.Sum();
            double sum = 0.0;
            return [.. values.Select(value => 100.0 * (sum += value) / total)];
        }
    }

    private static Figure? LossCurves(IReadOnlyList<RunGroup> groups)
    {
        List<Panel> panels = [];
        foreach (IGrouping<string, RunGroup> sameBase in Trained(groups))
        {
            Panel panel = new(sameBase.Key, "step", "loss, nats");
            foreach (RunGroup group in sameBase)
            {
                AddSteps(panel, group, "global", $"{group.Label}, global", Color(groups, group), "solid");
                if (group.Loss == "himo")
                {
                    AddSteps(panel, group, "component", $"{group.Label}, component", Color(groups, group), "dot");
                }
            }

            panels.Add(panel);
        }

        return Make(
            "loss", "Loss by branch",
            "Training loss of each step, mean of the seeds. Solid: the global branch, images against full texts; dotted: the component branch, images against "
            + "their reconstruction from m components. Label smoothing keeps both above zero.",
            Legend(groups.Where(group => group.Loss != "before")), panels);
    }

    private static Figure? Components(IReadOnlyList<RunGroup> groups)
    {
        List<Panel> panels = [];
        RunGroup[] himo = [.. groups.Where(group => group.Loss == "himo")];
        foreach ((string field, string title, string axis) in new[]
            { ("m", "kept components", "m"), ("explained_variance", "explained variance at m", "share") })
        {
            foreach (IGrouping<string, RunGroup> sameBase in Trained(himo))
            {
                Panel panel = new($"{sameBase.Key}: {title}", "step", axis);
                foreach (RunGroup group in sameBase)
                {
                    AddSteps(panel, group, field, group.Label, Color(groups, group), "solid");
                }

                panels.Add(panel);
            }
        }

        return Make(
            "rank", "Components that HiDe keeps",
            "m is the fewest principal components of the batch whose cumulative explained variance reaches tau; shaded: lowest to highest seed.",
            Legend(himo), panels);
    }

    private static Figure? TimeShare(IReadOnlyList<RunGroup> groups)
    {
        RunGroup[] trained = [.. groups.Where(group => group.Loss != "before" && group.Steps("step_ms").Mean.Length > 0)];
        if (trained.Length == 0)
        {
            return null;
        }

        string[] names = [.. trained.Select(group => $"{group.Base}, {group.Label}")];
        double[] loss = [.. trained.Select(group => Median(group.Steps("loss_ms").Mean))];
        double[] step = [.. trained.Select(group => Median(group.Steps("step_ms").Mean))];
        Panel panel = new("", "", "ms a step, median") { Stacked = true };
        panel.Bars("loss, forward and backward", names, loss, "himo");
        panel.Bars("everything else", names, [.. step.Zip(loss, (whole, part) => whole - part)], "before");
        return Make(
            "time", "Time of a step",
            "The loss takes " + string.Join(", ", trained.Select((group, i) => FormattableString.Invariant($"{100 * loss[i] / step[i]:0.0} % ({names[i]})")))
            + " of a step; the rest is the two encoders and the optimiser.",
            [new LegendEntry("loss, forward and backward", "himo"), new LegendEntry("everything else", "before")], [panel]);

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
        Panel panel = new("", "batch x width", "ms, median, log scale");
        panel.YAxis["type"] = "log";
        panel.YAxis["dtick"] = "D2";
        panel.Bars("fused", sizes, Field("fused_ms"), "himo");
        panel.Bars("plain ops, eigh", sizes, Field("plain_eigh_ms"), "plain");
        panel.Bars("plain ops, SVD (the authors' structure)", sizes, Field("plain_ms"), "before");
        return Make(
            "fused", "The fused loss against plain TorchSharp operations",
            "Forward and backward, interleaved in one process on this machine. Ratios to the faster plain form: "
            + string.Join(", ", sizes.Zip(Field("ratio_eigh"), (size, ratio) => FormattableString.Invariant($"{size} {ratio:0.0}"))) + ".",
            [new LegendEntry("fused", "himo"), new LegendEntry("plain ops, eigh", "plain"), new LegendEntry("plain ops, SVD (the authors' structure)", "before")], [panel]);

        double[] Field(string name) => [.. benchmarks.Select(entry => RunFolder.Number(entry[name]) ?? double.NaN)];
    }

    private static void AddSteps(Panel panel, RunGroup group, string field, string name, string color, string dash)
    {
        (double[] mean, double[] lowest, double[] highest) = group.Steps(field);
        panel.Line(name, group.Steps("step").Mean, mean, color, dash, markers: false, lowest, highest);
    }

    private static IEnumerable<IGrouping<string, RunGroup>> Evaluated(IEnumerable<RunGroup> groups, string field) =>
        groups.Where(group => group.Runs.Any(run => run.Evaluation?[field] is not null)).GroupBy(group => group.Base);

    private static IEnumerable<IGrouping<string, RunGroup>> Trained(IEnumerable<RunGroup> groups) =>
        groups.Where(group => group.Runs.Any(run => run.Steps.Count > 0)).GroupBy(group => group.Base);

    private static LegendEntry[] Legend(IEnumerable<RunGroup> groups)
    {
        RunGroup[] all = [.. groups];
        return [.. all.Select(group => new LegendEntry(group.Label, Color(all, group))).Distinct()];
    }

    private static Figure? Make(string id, string title, string caption, IReadOnlyList<LegendEntry> legend, IReadOnlyList<Panel> panels) =>
        panels.Count == 0 ? null : new Figure(id, title, caption, legend, panels);
}
