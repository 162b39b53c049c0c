// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>
/// The whole road once: scenes, fine-tunings of small base models with both losses, their measures, the time of the loss, a page. Every
/// part that is complete is reused, and an interrupted fine-tuning goes on at its last step.
/// </summary>
/// <param name="folder">Where everything is written: data, runs, bench.json, report.html.</param>
/// <param name="plan">What is run.</param>
/// <param name="messages">Receives progress.</param>
internal sealed partial class Demonstration(string folder, DemoPlan plan, TextWriter messages)
{
    private string Data => Path.Combine(folder, "data");

    private string Benchmarks => Path.Combine(folder, "bench.json");

    /// <summary>The finished page.</summary>
    public string Page => Path.Combine(folder, "report.html");

    /// <summary>Folders of all runs, the untrained bases first.</summary>
    public IReadOnlyList<string> RunFolders => [.. plan.Bases.Select(BaseFolder), .. plan.Runs.Select(RunFolder)];

    /// <summary>Does what is missing.</summary>
    /// <param name="cancel">Stops with everything saved.</param>
    /// <exception cref="UserError">A part failed; the message says which and why.</exception>
    public void Run(CancellationToken cancel)
    {
        Synthesize(cancel);
        FineTune(cancel);
        TimeLoss(cancel);
        _ = ReportCommand.Write(RunFolders, File.Exists(Benchmarks) ? Benchmarks : null, Page, "./himo demo");
    }

    /// <summary>The file of a base model: beside the program, where the build puts the repository's models folder.</summary>
    /// <param name="number">From 1.</param>
    /// <exception cref="UserError">There is no such base.</exception>
    public static string BaseModel(int number)
    {
        string file = Path.Combine(AppContext.BaseDirectory, "models", string.Create(CultureInfo.InvariantCulture, $"demo-base-{number}.safetensors"));
        return File.Exists(file) ? file : throw new UserError($"{file}: there is no such base model; docs/demo.md says how they are made");
    }

    private string RunFolder(DemoRun run) => Path.Combine(folder, "runs", run.Name);

    private string BaseFolder(int number) => Path.Combine(folder, "runs", string.Create(CultureInfo.InvariantCulture, $"base{number}"));

    private void Synthesize(CancellationToken cancel)
    {
        using Progress progress = new("scenes", plan.Scenes + plan.EvaluationScenes, messages);
        bool written = SyntheticDataset.Write(Data, plan.Scenes, plan.SceneSeed, threads: 0, plan.EvaluationScenes, progress.Report, cancel);
        progress.Dispose();
        messages.WriteLine($"{Data}: {plan.Scenes} scenes, {(written ? "new" : "there already")}");
    }

    private void FineTune(CancellationToken cancel)
    {
        List<string[]> commands = [];
        foreach (int number in plan.Bases.Where(number => !File.Exists(Path.Combine(BaseFolder(number), RunTraining.EvaluationFile))))
        {
            commands.Add(["eval", "--checkpoint", BaseModel(number), "--data", Data, "--out", Path.Combine(BaseFolder(number), RunTraining.EvaluationFile)]);
        }

        foreach (DemoRun run in plan.Runs.Where(run => !IsFinished(run)))
        {
            commands.Add(
            [
                "train", "--preset", "demo", "--base", BaseModel(run.Base), "--data", Data, "--seed", run.Seed.ToString(CultureInfo.InvariantCulture),
                "--threads", "1", "--save-every", "30", "--resume", "--stop-with-input", "--out", RunFolder(run), .. run.Options,
            ]);
        }

        messages.WriteLine($"{plan.Runs.Count} fine-tunings, {plan.Runs.Count(IsFinished)} of them there already; {Environment.ProcessorCount} at a time, one thread each");
        ChildProgress(commands, cancel).GetAwaiter().GetResult();
    }

    private async Task ChildProgress(List<string[]> commands, CancellationToken cancel)
    {
        double[] shares = new double[commands.Count];
        int trainings = commands.Count(command => command[0] == "train");
        using Progress progress = new("% of the fine-tunings", 100, messages);
        await ChildProcess.RunAllAsync(commands, Environment.ProcessorCount, (index, line) =>
        {
            if (StepLine().Match(line) is { Success: true } match)
            {
                lock (shares)
                {
                    shares[index] = double.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture) / double.Parse(match.Groups[2].ValueSpan, CultureInfo.InvariantCulture);
                    progress.Report((int)(100.0 * shares.Sum() / trainings));
                }
            }
        }, cancel).ConfigureAwait(false);
    }

    private bool IsFinished(DemoRun run) => File.Exists(Path.Combine(RunFolder(run), RunTraining.EvaluationFile));

    /// <summary>After the fine-tunings, when nothing else of ours uses the processors.</summary>
    private void TimeLoss(CancellationToken cancel)
    {
        if (File.Exists(Benchmarks))
        {
            return;
        }

        JsonArray results = [];
        foreach ((int rows, int columns) in plan.BenchmarkSizes)
        {
            string[] command = ["bench", "loss", "--n", rows.ToString(CultureInfo.InvariantCulture), "--dim", columns.ToString(CultureInfo.InvariantCulture), "--json"];
            results.Add(JsonNode.Parse(ChildProcess.RunAsync(command, _ => { }, cancel).GetAwaiter().GetResult()));
            messages.WriteLine($"loss timed at {rows} x {columns}");
        }

        AtomicFile.WriteText(Benchmarks, results.ToJsonString() + "\n");
    }

    [GeneratedRegex(@"^(\d+)/(\d+) steps")]
    private static partial Regex StepLine();
}
