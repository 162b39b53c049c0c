// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>The report's figures over the steps of training.</summary>
internal static class StepFigures
{
    /// <summary>Both branches of the loss.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    public static Figure? Loss(IReadOnlyList<RunGroup> groups)
    {
        List<Panel> panels = [];
        foreach (IGrouping<string, RunGroup> sameBase in ReportFigures.Trained(groups))
        {
            Panel panel = new(sameBase.Key, "step", "loss, nats");
            foreach (RunGroup group in sameBase)
            {
                Add(panel, group, "global", $"{group.Label}, global", ReportFigures.Color(groups, group));
                if (group.Loss == "himo")
                {
                    Add(panel, group, "component", $"{group.Label}, component", ReportFigures.Color(groups, group), "dot");
                }
            }

            panels.Add(panel);
        }

        return ReportFigures.Make(
            "loss", "Loss by branch",
            "Training loss of each step, mean of the seeds. Solid: the global branch, images against full texts; dotted: the component branch, images against "
            + "their reconstruction from m components. Label smoothing keeps both above zero.",
            ReportFigures.Legend(groups.Where(group => group.IsTrained)), panels);
    }

    /// <summary>What HiDe keeps of a batch.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    public static Figure? Components(IReadOnlyList<RunGroup> groups)
    {
        RunGroup[] himo = [.. groups.Where(group => group.Loss == "himo")];
        return ReportFigures.Make(
            "rank", "Components that HiDe keeps",
            "m is the fewest principal components of the batch whose cumulative explained variance reaches tau; the gap between the last one kept and the first one dropped, "
            + "relative to the largest eigenvalue, says how well defined the subspace is. Shaded: lowest to highest seed.",
            ReportFigures.Legend(himo),
            Panels(himo, [new("m", "kept components", "m, components"), new("explained_variance", "explained variance at m", "share of the variance"), new("relative_gap", "gap at the cut", "share of the largest eigenvalue", IsLog: true)]));
    }

    /// <summary>How the variance of a batch's texts is spread over components, at the start, halfway and at the end of a run.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    public static Figure? Spectra(IReadOnlyList<RunGroup> groups)
    {
        RunGroup[] recorded = [.. groups.Where(group => group.Runs.Any(run => run.Spectra.Count > 0))];
        List<Panel> panels = [];
        foreach (IGrouping<string, RunGroup> sameBase in recorded.GroupBy(group => group.Base))
        {
            Panel panel = new(sameBase.Key, "principal component", "cumulative variance, %");
            panel.XAxis["type"] = "log";
            panel.XAxis["dtick"] = "D2";
            panel.YAxis["range"] = new JsonArray(0, 101);
            foreach (RunGroup group in sameBase)
            {
                IReadOnlyList<JsonObject> spectra = group.Runs.First(run => run.Spectra.Count > 0).Spectra;
                int[] shown = [.. new[] { 0, spectra.Count / 2, spectra.Count - 1 }.Distinct()];
                string[] dashes = shown.Length == 3 ? ["dot", "dash", "solid"] : ["dot", "solid"];
                foreach ((int place, string dash) in shown.Zip(dashes))
                {
                    double[] cumulative = ReportFigures.Cumulative((JsonArray)spectra[place]["values"]!);
                    panel.Line($"{group.Label}, step {spectra[place]["step"]}", [.. Enumerable.Range(1, cumulative.Length).Select(k => (double)k)], cumulative, ReportFigures.Color(groups, group), dash);
                }
            }

            panels.Add(panel);
        }

        return ReportFigures.Make(
            "spectra", "Spectrum of a batch during training",
            "Share of the variance of a batch’s texts that its first k principal components explain, which is what HiDe cuts at tau. Dotted: the first recorded step; dashed: halfway; solid: the last one. First run of each setting.",
            ReportFigures.Legend(recorded), panels);
    }

    /// <summary>Whether training is sane: temperature, gradients, learning rate, throughput.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    public static Figure? Health(IReadOnlyList<RunGroup> groups)
    {
        RunGroup[] trained = [.. groups.Where(group => group.IsTrained)];
        return ReportFigures.Make(
            "health", "Temperature, gradients, learning rate, speed",
            "The logits are cosines times exp(logit scale), the inverse temperature. Norm of all gradients before clipping. Pairs per second, the wait for data included. Shaded: lowest to highest seed.",
            ReportFigures.Legend(trained),
            Panels(trained,
            [
                new("logit_scale", "scale of the logits", "exp(logit scale)", Map: Math.Exp), new("grad_norm", "gradient norm", "L2 norm", IsLog: true),
                new("lr", "learning rate", "step size"), new("samples_per_second", "speed", "pairs per second"),
            ]));
    }

    /// <summary>The measures of the evaluations during training, the base's own at step 0 and the final one at the end.</summary>
    /// <param name="groups">Runs grouped by base and loss.</param>
    public static Figure? Progress(IReadOnlyList<RunGroup> groups)
    {
        List<Panel> panels = [];
        (string Title, string Axis)[] pairs = [("R@1 of full captions", "R@1, %"), ("HiMo@2 and @3", "images that rise, %"), ("HiMo@K", "Pearson correlation")];
        foreach (((string title, string axis), EvaluationHistory.Measure[] measures) in pairs.Zip(EvaluationHistory.Measures.Chunk(2)))
        {
            foreach (IGrouping<string, RunGroup> sameBase in ReportFigures.Trained(groups).Where(EvaluationHistory.IsThere))
            {
                Panel panel = new($"{sameBase.Key}: {title}", "step", axis);
                foreach (RunGroup group in sameBase)
                {
                    foreach ((EvaluationHistory.Measure measure, string dash) in measures.Zip(["solid", "dot"]))
                    {
                        (double[] steps, double[] mean, double[] lowest, double[] highest) = EvaluationHistory.Series(groups, group, measure);
                        panel.Line($"{group.Label}, {measure.Name}", steps, mean, ReportFigures.Color(groups, group), dash, markers: true, lowest, highest);
                    }
                }

                panels.Add(panel);
            }
        }

        return ReportFigures.Make(
            "progress", "Retrieval and HiMo during training",
            "Evaluations during the runs, the base model at step 0. R@1, solid: image to text, dotted: text to image. Rising captions, solid: HiMo@2, dotted: HiMo@3. Pearson, "
            + "solid: HiMo@K, dotted: the same less the average image. Shaded: lowest to highest of the seeds that were measured on their way.",
            ReportFigures.Legend(groups.Where(group => group.IsTrained)), panels) is { } figure ? figure with { Table = EvaluationHistory.Table(groups) } : null;
    }

    private readonly record struct Quantity(string Field, string Title, string Axis, bool IsLog = false, Func<double, double>? Map = null);

    /// <summary>A panel for every quantity that the logs have and every base.</summary>
    private static List<Panel> Panels(RunGroup[] groups, Quantity[] quantities)
    {
        List<Panel> panels = [];
        foreach (Quantity quantity in quantities)
        {
            foreach (IGrouping<string, RunGroup> sameBase in ReportFigures.Trained(groups).Where(one => one.Any(group => group.Steps(quantity.Field).Mean.Any(double.IsFinite))))
            {
                Panel panel = new($"{sameBase.Key}: {quantity.Title}", "step", quantity.Axis);
                if (quantity.IsLog)
                {
                    panel.YAxis["type"] = "log";
                    panel.YAxis["dtick"] = "D2";
                }

                foreach (RunGroup group in sameBase)
                {
                    Add(panel, group, quantity.Field, group.Label, ReportFigures.Color(groups, group), map: quantity.Map);
                }

                panels.Add(panel);
            }
        }

        return panels;
    }

    private static void Add(Panel panel, RunGroup group, string field, string name, string color, string dash = "solid", Func<double, double>? map = null)
    {
        (double[] mean, double[] lowest, double[] highest) = group.Steps(field);
        if (map is not null)
        {
            (mean, lowest, highest) = (Array.ConvertAll(mean, value => map(value)), Array.ConvertAll(lowest, value => map(value)), Array.ConvertAll(highest, value => map(value)));
        }

        panel.Line(name, group.Steps("step").Mean, mean, color, dash, markers: false, lowest, highest);
    }
}
