// SPDX-License-Identifier: Apache-2.0
using System.Globalization;

namespace HiMo.Trainer;

/// <summary>One row of an ablation: a name for readers and the options of <c>himo train</c> that make it.</summary>
/// <param name="Name">For example <c>tau 0.9</c>.</param>
/// <param name="Options">Beyond the preset.</param>
internal sealed record AblationSetting(string Name, params string[] Options)
{
    /// <summary>Name of its runs' folders; settings with the same options share their runs.</summary>
    public string Key => Options.Length == 0 ? "standard" : string.Concat(Options.Select(option => option.Replace("--", "-", StringComparison.Ordinal))).TrimStart('-');
}

/// <summary>One table: a quantity that varies while all others stay.</summary>
/// <param name="Title">Its heading.</param>
/// <param name="Settings">Its rows.</param>
internal sealed record AblationTable(string Title, IReadOnlyList<AblationSetting> Settings);

/// <summary>The grid of the paper's tables 4 to 6, around the demonstration's setting (tau 0.6, basis stopped, lambda 1).</summary>
internal sealed record AblationPlan
{
    private const double StandardTau = 0.6;
    private const double StandardLambda = 1.0;

    /// <summary>Training scenes.</summary>
    public int Scenes { get; init; } = 30_000;

    /// <summary>Held-out scenes.</summary>
    public int EvaluationScenes { get; init; } = SyntheticDataset.EvaluationCount;

    /// <summary>Fine-tunings of each setting.</summary>
    public int Seeds { get; init; } = 2;

    /// <summary>Options of every run, for example fewer steps.</summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>The tables.</summary>
    public IReadOnlyList<AblationTable> Tables { get; init; } =
    [
        new("Explained variance tau (the paper's table 4)", [.. new[] { 0.60, 0.70, 0.80, 0.85, 0.90, 0.95 }.Select(value => Number("tau", value, StandardTau))]),
        new("Terms of the loss (the paper's table 5)",
        [
            new("global alone (plain InfoNCE)", "--loss", "plain"),
            new("component alone", "--global-weight", "0"),
            new("global + component of texts"),
            new("global + component of both sides", "--components", "text-and-image"),
            new("global + component of images", "--components", "image"),
        ]),
        new("Weight lambda (the paper's table 6)", [.. new[] { 0.5, 1.0, 2.0 }.Select(value => Number("lambda", value, StandardLambda))]),
    ];

    /// <summary>Every setting once.</summary>
    public IReadOnlyList<AblationSetting> Settings => [.. Tables.SelectMany(table => table.Settings).DistinctBy(setting => setting.Key)];

    private static AblationSetting Number(string option, double value, double standard)
    {
        string text = value.ToString("0.0#", CultureInfo.InvariantCulture);
        return value == standard ? new AblationSetting($"{option} {text}") : new AblationSetting($"{option} {text}", $"--{option}", text);
    }
}
