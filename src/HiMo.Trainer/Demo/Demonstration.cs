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
    /// <summary>Steps between the evaluations of each comparison's first seed, for the page; they change no result and the other seeds do without them.</summary>
    private const string StepsBetweenEvaluations = "30";

    /// <summary>The bases were trained on other scenes than the fine-tunings see.</summary>
    private const long BaseSceneSeed = 1;

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
        Synthesize(Data, plan.Scenes, plan.SceneSeed, cancel);
        TrainBases(cancel);
        FineTune(cancel);
        TimeLoss(cancel);
        _ = ReportCommand.Write(RunFolders, File.Exists(Benchmarks) ? Benchmarks : null, Page, "./himo demo");
    }

    /// <summary>The folder of the base models that come with the program: the build puts the repository's models beside it.</summary>
    public static string ShippedBases { get; } = Path.Combine(AppContext.BaseDirectory, "models");

    /// <summary>The file of one of them.</summary>
    /// <param name="number">From 1.</param>
    public static string ShippedBase(int number) => Path.Combine(ShippedBases, BaseName(number) + ".safetensors");

    private static string BaseName(int number) => string.Create(CultureInfo.InvariantCulture, $"demo-base-{number}");

    private string BaseModel(int number) =>
        File.Exists(ShippedBase(number)) ? ShippedBase(number) : Path.Combine(folder, "bases", BaseName(number) + ".safetensors");

    private string RunFolder(DemoRun run) => Path.Combine(folder, "runs", run.Name);

    private string BaseFolder(int number) => Path.Combine(folder, "runs", string.Create(CultureInfo.InvariantCulture, $"base{number}"));

    private void Synthesize(string data, int scenes, long seed, CancellationToken cancel)
    {
        using Progress progress = new("scenes", scenes + plan.EvaluationScenes, messages);
        bool written = SyntheticDataset.Write(data, scenes, seed, threads: 0, plan.EvaluationScenes, progress.Report, cancel);
        progress.Dispose();
        messages.WriteLine($"{data}: {scenes} scenes, {(written ? "new" : "there already")}");
    }

    /// <summary>Trains the bases that do not come with the program; the others were made in the same way.</summary>
    private void TrainBases(CancellationToken cancel)
    {
        int[] missing = [.. plan.Bases.Where(number => !File.Exists(BaseModel(number)))];
        if (missing.Length == 0)
        {
            return;
        }

        string data = Path.Combine(folder, "base-data");
        Synthesize(data, plan.Scenes, BaseSceneSeed, cancel);
        string[][] commands = [.. missing.Select(number => Training(
            ["--preset", "demo-base", "--data", data, "--seed", number.ToString(CultureInfo.InvariantCulture), "--evaluate", "off"], BaseRun(number)))];
        messages.WriteLine($"bases to train: {string.Join(", ", missing.Select(BaseName))}; some minutes each");
        RunChildren(commands, cancel);
        foreach (int number in missing)
        {
            byte[] model = File.ReadAllBytes(Path.Combine(BaseRun(number), TrainingRun.ModelFile));
            AtomicFile.Write(BaseModel(number), stream => stream.Write(model));
        }
    }

    private string BaseRun(int number) => Path.Combine(folder, "bases", BaseName(number));

    private static string[] Training(string[] options, string output) =>
        ["train", .. options, "--threads", "1", "--save-every", "30", "--resume", "--stop-with-input", "--out", output];

    private void FineTune(CancellationToken cancel)
    {
        List<string[]> commands = [];
        foreach (int number in plan.Bases.Where(number => !File.Exists(Path.Combine(BaseFolder(number), RunTraining.EvaluationFile))))
        {
            commands.Add(["eval", "--checkpoint", BaseModel(number), "--data", Data, "--out", Path.Combine(BaseFolder(number), RunTraining.EvaluationFile)]);
        }

        foreach (DemoRun run in plan.Runs.Where(run => !IsFinished(run)))
        {
            commands.Add(Training(
                ["--preset", "demo", "--base", BaseModel(run.Base), "--data", Data, "--seed", run.Seed.ToString(CultureInfo.InvariantCulture),
                    .. run.Seed == 0 ? ["--eval-every", StepsBetweenEvaluations] : Array.Empty<string>(), .. run.Options], RunFolder(run)));
        }

        messages.WriteLine($"{plan.Runs.Count} fine-tunings, {plan.Runs.Count(IsFinished)} of them there already; {Environment.ProcessorCount} at a time, one thread each");
        RunChildren(commands, cancel);
    }

    private void RunChildren(IReadOnlyList<string[]> commands, CancellationToken cancel)
    {
        double[] shares = new double[commands.Count];
        int trainings = commands.Count(command => command[0] == "train");
        using Progress progress = new("% of the training", 100, messages);
        ChildProcess.RunAllAsync(commands, Environment.ProcessorCount, (index, line) =>
        {
            if (StepLine().Match(line) is { Success: true } match)
            {
                lock (shares)
                {
                    shares[index] = double.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture) / double.Parse(match.Groups[2].ValueSpan, CultureInfo.InvariantCulture);
                    progress.Report((int)(100.0 * shares.Sum() / trainings));
                }
            }
        }, cancel).GetAwaiter().GetResult();
    }

    /// <summary>Evaluated, and started from the base model of this program; another one is refused by 'train --resume', which says so.</summary>
    private bool IsFinished(DemoRun run) =>
        File.Exists(Path.Combine(RunFolder(run), RunTraining.EvaluationFile))
        && TrainingConfig.Read(RunFolder(run))?.BaseHash == TrainingRun.Hash(BaseModel(run.Base));

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
            string[] command = ["bench", "loss", "--n", rows.ToString(CultureInfo.InvariantCulture), "--dim", columns.ToString(CultureInfo.InvariantCulture), "--repeats", "5", "--json"];
            results.Add(JsonNode.Parse(ChildProcess.RunAsync(command, _ => { }, oneThread: false, cancel).GetAwaiter().GetResult()));
            messages.WriteLine($"loss timed at {rows} x {columns}");
        }

        AtomicFile.WriteText(Benchmarks, results.ToJsonString() + "\n");
    }

    [GeneratedRegex(@"^(\d+)/(\d+) steps")]
    private static partial Regex StepLine();
}
