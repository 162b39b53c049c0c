// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>A data folder of a few scenes and options of runs of a few steps, for tests that train.</summary>
internal sealed class TrainingScenes : IDisposable
{
    public const int Count = 48;
    public const int EvaluationCount = 12;

    public TrainingScenes()
    {
        _ = SyntheticDataset.Write(Data, Count, seed: 3, evaluationCount: EvaluationCount);
    }

    public string Root { get; } = Directory.CreateTempSubdirectory("himo-train-").FullName;

    public string Data => Path.Combine(Root, "data");

    /// <summary>Eight steps of sixteen pairs from random weights, three batches an epoch.</summary>
    public TrainingConfig Config => TrainingPresets.Create(TrainingPreset.Demo) with
    {
        Data = Data,
        Steps = 8,
        Batch = 16,
        WarmupSteps = 2,
        Threads = 1,
        Seed = 5,
    };

    /// <summary>The same as a command line; options in <paramref name="more"/> take the place of these.</summary>
    public string[] Arguments(string folder, params string[] more)
    {
        string[][] standard = [["--steps", "8"], ["--batch", "16"], ["--warmup-steps", "2"], ["--threads", "1"], ["--seed", "5"]];
        return
        [
            "train", "--preset", "demo", "--data", Data, "--evaluate", "off", "--out", folder,
            .. standard.Where(pair => !more.Contains(pair[0])).SelectMany(pair => pair), .. more,
        ];
    }

    public string Folder(string name) => Path.Combine(Root, name);

    /// <summary>Trains to the end, or until the token is cancelled.</summary>
    public static void Train(string folder, TrainingConfig config, bool resume = false, CancellationToken cancel = default)
    {
        using TrainingRun run = TrainingRun.Open(folder, config, resume);
        RunTraining.Execute(run, vocabulary: null, evaluate: false, TextWriter.Null, cancel);
    }

    public static byte[] Model(string folder) => File.ReadAllBytes(Path.Combine(folder, TrainingRun.ModelFile));

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
