// SPDX-License-Identifier: Apache-2.0
using System.Globalization;

namespace HiMo.Trainer;

/// <summary>One fine-tuning of the demonstration.</summary>
/// <param name="Base">Number of its base model, from 1.</param>
/// <param name="Variant">Its name in folder names, for example <c>himo</c> or <c>himo-tau0.9</c>.</param>
/// <param name="Seed">Order of the data and changes of the captions.</param>
/// <param name="Options">Options of <c>himo train</c> beyond the preset.</param>
internal sealed record DemoRun(int Base, string Variant, int Seed, params string[] Options)
{
    /// <summary>Name of its folder.</summary>
    public string Name => string.Create(CultureInfo.InvariantCulture, $"{Variant}-base{Base}-seed{Seed}");
}

/// <summary>What the demonstration does, from sizes to the list of runs.</summary>
internal sealed record DemoPlan
{
    private static readonly (string Name, string[] Options)[] s_losses = [("plain", ["--loss", "plain"]), ("himo", ["--loss", "himo"])];

    // The long form varies one thing at a time around the demonstration's setting (tau 0.6, basis stopped, lambda 1, smoothing 0.1).
    private static readonly (string Name, string[] Options)[] s_variants =
    [
        ("himo-tau0.9-exact", ["--loss", "himo", "--tau", "0.9", "--basis-gradient", "exact"]),
        ("himo-tau0.9", ["--loss", "himo", "--tau", "0.9"]),
        ("himo-exact", ["--loss", "himo", "--basis-gradient", "exact"]),
        ("himo-lambda0.5", ["--loss", "himo", "--lambda", "0.5"]),
        ("himo-lambda2", ["--loss", "himo", "--lambda", "2"]),
        ("plain-smoothing0", ["--loss", "plain", "--label-smoothing", "0"]),
        ("himo-smoothing0", ["--loss", "himo", "--label-smoothing", "0"]),
    ];

    /// <summary>Training scenes.</summary>
    public int Scenes { get; init; } = 30_000;

    /// <summary>Held-out scenes.</summary>
    public int EvaluationScenes { get; init; } = SyntheticDataset.EvaluationCount;

    /// <summary>Seed of the scenes.</summary>
    public long SceneSeed { get; init; } = 2;

    /// <summary>Base models by the seed that they were trained with; 1 and 2 come with the program.</summary>
    public IReadOnlyList<int> Bases { get; init; } = [1, 2];

    /// <summary>Fine-tunings of each base with each loss.</summary>
    public int Seeds { get; init; } = 3;

    /// <summary>Fine-tunings of each base with each variant of the long form; 0 leaves the variants out.</summary>
    public int VariantSeeds { get; init; }

    /// <summary>Options of every run, for example fewer steps.</summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>Sizes at which the loss is timed, N x d.</summary>
    public IReadOnlyList<(int Rows, int Columns)> BenchmarkSizes { get; init; } = [(128, 512), (256, 512), (1024, 512)];

    /// <summary>Every fine-tuning; the seeds of one comparison stand together, so that a stopped demonstration has whole comparisons.</summary>
    public IReadOnlyList<DemoRun> Runs =>
    [
        .. from seed in Enumerable.Range(0, Seeds) from number in Bases from loss in s_losses select new DemoRun(number, loss.Name, seed, [.. loss.Options, .. Options]),
        .. from seed in Enumerable.Range(0, VariantSeeds) from number in Bases from variant in s_variants select new DemoRun(number, variant.Name, seed, [.. variant.Options, .. Options]),
    ];
}
