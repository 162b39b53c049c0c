// SPDX-License-Identifier: Apache-2.0
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
