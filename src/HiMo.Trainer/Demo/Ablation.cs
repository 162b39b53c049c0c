// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>
/// Fine-tunes a base model in every setting of a plan, several seeds each, and writes tables of means and spreads. What is complete is reused, and
/// an interrupted fine-tuning goes on at its last checkpoint.
/// </summary>
/// <param name="folder">Where everything is written: data, runs, ablations.md.</param>
/// <param name="plan">What is run.</param>
/// <param name="baseModel">The model that every run starts from.</param>
/// <param name="messages">Receives progress.</param>
internal sealed partial class Ablation(string folder, AblationPlan plan, string baseModel, TextWriter messages)
{
    private const long SceneSeed = 2;

    private static readonly string[] s_columns =
    [
        "full captions, image to text", "full captions, text to image", "first sentence, image to text", "first sentence, text to image",
        "HiMo@2, %", "HiMo@3, %", "HiMo@K, Pearson", "R@1 from 8 components, image to text, %", "effective rank",
    ];

    private string Data => Path.Combine(folder, "data");

    /// <summary>The finished tables.</summary>
    public string File => Path.Combine(folder, "ablations.md");

    /// <summary>Does what is missing and writes the tables.</summary>
    /// <param name="cancel">Stops with everything saved.</param>
    /// <returns>The page as Markdown: what was done, the tables, how to read them.</returns>
    /// <exception cref="UserError">A run failed; the message says which and why.</exception>
    public string Run(CancellationToken cancel)
    {
        using (Progress progress = new("scenes", plan.Scenes + plan.EvaluationScenes, messages))
        {
            _ = SyntheticDataset.Write(Data, plan.Scenes, SceneSeed, threads: 0, plan.EvaluationScenes, progress.Report, cancel);
        }

        Train(cancel);
        string page = Introduction() + Tables();
        AtomicFile.WriteText(File, page);
        return page;
    }

    private void Train(CancellationToken cancel)
    {
        // All settings with one seed before the next seed, so that a stopped grid has whole tables.
        (AblationSetting Setting, int Seed)[] runs = [.. from seed in Enumerable.Range(0, plan.Seeds) from setting in plan.Settings select (setting, seed)];
        string[][] commands =
        [
            .. from run in runs
               where !System.IO.File.Exists(Path.Combine(Folder(run.Setting, run.Seed), RunTraining.EvaluationFile))
               select new[]
               {
                   "train", "--preset", "demo", "--base", baseModel, "--data", Data, "--seed", run.Seed.ToString(CultureInfo.InvariantCulture),
                   "--threads", "1", "--workers", "1", "--save-every", "30", "--resume", "--stop-with-input", "--out", Folder(run.Setting, run.Seed),
               }.Concat(run.Setting.Options).Concat(plan.Options).ToArray(),
        ];
        messages.WriteLine($"{runs.Length} fine-tunings, {runs.Length - commands.Length} of them there already; {Environment.ProcessorCount} at a time, one thread each");
        double[] shares = new double[commands.Length];
        using Progress progress = new("% of the training", 100, messages);
        ChildProcess.RunAllAsync(commands, Environment.ProcessorCount, (index, line) =>
        {
            if (StepLine().Match(line) is { Success: true } match)
            {
                lock (shares)
                {
                    shares[index] = double.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture) / double.Parse(match.Groups[2].ValueSpan, CultureInfo.InvariantCulture);
                    progress.Report((int)(100.0 * shares.Sum() / shares.Length));
                }
            }
        }, cancel).GetAwaiter().GetResult();
    }

    private string Folder(AblationSetting setting, int seed) => Path.Combine(folder, "runs", string.Create(CultureInfo.InvariantCulture, $"{setting.Key}-seed{seed}"));

    private static string? Version => typeof(Ablation).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion;

    private string Introduction() => string.Create(CultureInfo.InvariantCulture, $"""
        # Ablations on procedural scenes

        Written by `./himo ablate --seeds {plan.Seeds}` of version {Version}: the grid of the paper's tables 4 to 6, {plan.Settings.Count} settings, on {plan.Scenes} training and {plan.EvaluationScenes}
        held-out scenes of [the demonstration](demo.md), base model `{Path.GetFileNameWithoutExtension(baseModel)}`, {LossBenchmarkResult.Processor}. Each table varies one thing around the
        demonstration's setting (tau 0.6, basis stopped, lambda 1, text components); everything else, data and order included, is the same. Mean ± standard deviation over {plan.Seeds}
        seeds (order of the data and changes of the captions). A star marks a mean that differs from the standard setting's by more than both deviations together.

        These are small models on drawn scenes: the numbers say how the loss reacts to its knobs here, not what the paper's settings give on photographs. Standard deviations of a few
        seeds are rough, and with many cells some stars come by chance.


        """);

    private string Tables()
    {
        AblationSetting standard = plan.Settings.Single(setting => setting.Options.Length == 0);
        ResultTable.Row[] columns = [.. s_columns.Select(name => ResultTable.Rows.First(row => row.Name == name))];
        StringBuilder text = new();
        foreach (AblationTable table in plan.Tables)
        {
            _ = text.Append(CultureInfo.InvariantCulture, $"## {table.Title}\n\n| |");
            _ = text.AppendJoin("", columns.Select(column => $" {Heading(column)} |")).Append('\n');
            _ = text.Append("|---|").Append(string.Concat(Enumerable.Repeat("---|", columns.Length))).Append('\n');
            foreach (AblationSetting setting in table.Settings)
            {
                _ = text.Append(CultureInfo.InvariantCulture, $"| {setting.Name} |");
                _ = text.AppendJoin("", columns.Select(column => $" {Cell(Measure(setting, column), Measure(standard, column), column)} |")).Append('\n');
            }

            _ = text.Append('\n');
        }

        return text.ToString();
    }

    private static string Heading(ResultTable.Row column) =>
        column.Section.StartsWith("Retrieval", StringComparison.Ordinal) ? column.Name + ", R@1 %" : column.Name;

    private Spread? Measure(AblationSetting setting, ResultTable.Row column) =>
        Spread.Of(Enumerable.Range(0, plan.Seeds).Select(seed => column.Measure(RunFolder.Read(Folder(setting, seed)))));

    private static string Cell(Spread? spread, Spread? standard, ResultTable.Row row)
    {
        if (spread is not { } value)
        {
            return "-";
        }

        bool differs = standard is { Count: > 1 } usual && Math.Abs(value.Mean - usual.Mean) > value.Deviation + usual.Deviation;
        return Number(value.Mean, row) + (value.Count > 1 ? $" ± {Number(value.Deviation, row)}" : "") + (differs ? " *" : "");
    }

    private static string Number(double value, ResultTable.Row row) => (row.Scale * value).ToString(row.Format, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^(\d+)/(\d+) steps")]
    private static partial Regex StepLine();
}
