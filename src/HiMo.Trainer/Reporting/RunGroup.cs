// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Runs that differ in nothing but the seed: one base model, one loss.</summary>
/// <param name="Base">Name of the model they started from.</param>
/// <param name="Loss"><c>before</c>, <c>plain</c>, <c>himo</c>, or <c>evaluated</c> on a page of models of which none was trained here.</param>
/// <param name="Setting">Options in which runs of this loss differ on this page, for example <c>tau 0.6</c>; usually empty. Of an evaluated model its name.</param>
/// <param name="Runs">At least one run.</param>
internal sealed record RunGroup(string Base, string Loss, string Setting, IReadOnlyList<RunFolder> Runs)
{
    /// <summary>What <see cref="Loss"/> is on a page without fine-tunings.</summary>
    public const string Evaluated = "evaluated";

    private static readonly string[] s_order = [RunFolder.Before, "plain", "himo"];
    private static readonly string[] s_options =
        ["tau", "lambda", "global_weight", "basis_gradient", "label_smoothing", "component_normalization", "learning_rate", "steps", "batch"];

    /// <summary>Name for readers.</summary>
    public string Label => Loss == Evaluated ? Setting : (Loss == "himo" ? "HiMo" : Loss) + (Setting.Length > 0 ? ", " + Setting : "");

    /// <summary>Whether its runs are fine-tunings.</summary>
    public bool IsTrained => Loss is not (RunFolder.Before or Evaluated);

    /// <summary>
    /// Groups runs by base, loss and the options that vary; bases by name, then before, plain, HiMo, others. Where none was trained, every model
    /// is a group of its own beside the others, as in the paper's figure 3.
    /// </summary>
    /// <param name="runs">Any order.</param>
    public static IReadOnlyList<RunGroup> From(IReadOnlyList<RunFolder> runs)
    {
        if (runs.All(run => run.Loss == RunFolder.Before))
        {
            bool several = runs.Select(run => run.Protocol).Distinct().Count() > 1; // measures of one set are not another's
            return [.. runs.GroupBy(run => several ? $"{run.Base}, {run.Protocol}" : run.Base).Select(group => new RunGroup("evaluated models", Evaluated, group.Key, [.. group]))];
        }

        Dictionary<string, string[]> varying = runs.GroupBy(run => run.Loss).ToDictionary(
            group => group.Key,
            group => s_options.Where(option => group.Select(run => Option(run, option)).Distinct().Count() > 1).ToArray());
        return
        [
            .. runs.GroupBy(run => (run.Base, run.Loss, Setting: string.Join(", ", varying[run.Loss].Select(option => $"{option} {Option(run, option)}"))))
                .Select(group => new RunGroup(group.Key.Base, group.Key.Loss, group.Key.Setting, [.. group]))
                .OrderBy(group => group.Base, StringComparer.Ordinal)
                .ThenBy(group => Array.IndexOf(s_order, group.Loss) is int place and >= 0 ? place : s_order.Length)
                .ThenBy(group => group.Setting, StringComparer.Ordinal),
        ];
    }

    private static string Option(RunFolder run, string option) => run.Config[option]?.ToString() ?? "";

    /// <summary>Mean and spread of one measure over the seeds; null where no run has it.</summary>
    /// <param name="measure">The number of one run, or null.</param>
    public Spread? Measure(Func<RunFolder, double?> measure) => Spread.Of(Runs.Select(measure));

    /// <summary>Mean over seeds of a value per step, with the smallest and the largest; as long as the shortest log.</summary>
    /// <param name="field">Name in the log.</param>
    public (double[] Mean, double[] Lowest, double[] Highest) Steps(string field)
    {
        double[][] series = [.. Runs.Where(run => run.Steps.Count > 0).Select(run => run.StepValues(field))];
        return Envelope(series);
    }

    /// <summary>Element-wise mean, minimum and maximum; as long as the shortest series.</summary>
    /// <param name="series">One array a run.</param>
    public static (double[] Mean, double[] Lowest, double[] Highest) Envelope(IReadOnlyList<double[]> series)
    {
        int length = series.Count == 0 ? 0 : series.Min(values => values.Length);
        double[] mean = new double[length];
        double[] lowest = new double[length];
        double[] highest = new double[length];
        for (int i = 0; i < length; i++)
        {
            mean[i] = series.Average(values => values[i]);
            lowest[i] = series.Min(values => values[i]);
            highest[i] = series.Max(values => values[i]);
        }

        return (mean, lowest, highest);
    }
}

/// <summary>Mean and sample standard deviation over seeds.</summary>
/// <param name="Mean">Arithmetic mean.</param>
/// <param name="Deviation">Divided by n - 1; 0 for one seed.</param>
/// <param name="Count">Number of seeds, 1 or more.</param>
internal readonly record struct Spread(double Mean, double Deviation, int Count)
{
    /// <summary>Whether the means differ by more than both deviations together; never where a single seed says nothing about them.</summary>
    /// <param name="other">The spread to compare with.</param>
    public bool IsClearOf(Spread other) => Count > 1 && other.Count > 1 && Math.Abs(Mean - other.Mean) > Deviation + other.Deviation;

    /// <summary>The spread of the values that are there, or null if none is.</summary>
    /// <param name="values">Values, null where a run has none.</param>
    public static Spread? Of(IEnumerable<double?> values)
    {
        double[] present = [.. values.OfType<double>()];
        if (present.Length == 0)
        {
            return null;
        }

        double mean = present.Average();
        double squares = present.Sum(value => (value - mean) * (value - mean));
        return new Spread(mean, present.Length > 1 ? Math.Sqrt(squares / (present.Length - 1)) : 0.0, present.Length);
    }
}
