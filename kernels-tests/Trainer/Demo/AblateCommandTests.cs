// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer.Demo;

internal sealed class AblateCommandTests
{
    [Test]
    public void The_grid_is_that_of_the_papers_tables()
    {
        AblationPlan plan = new();
        Assert.That(plan.Tables.Select(table => table.Settings.Count), Is.EqualTo(new[] { 6, 5, 3 }));
        Assert.That(plan.Settings, Has.Count.EqualTo(12), "the standard setting is in all three tables");
        Assert.That(plan.Tables.Select(table => table.Settings.Count(setting => setting.Options.Length == 0)), Has.All.EqualTo(1));
        TrainingConfig demo = TrainingPresets.Create(TrainingPreset.Demo);
        Assert.That((demo.Tau, demo.Lambda, demo.GlobalWeight, demo.Components), Is.EqualTo((0.6, 1.0, 1.0, ComponentSource.Text)), "what the standard setting is called");
    }

    [Test]
    public void A_stopped_grid_goes_on_and_ends_in_complete_tables()
    {
        string folder = Directory.CreateTempSubdirectory("himo-ablate-").FullName;
        try
        {
            AblationSetting standard = new("tau 0.6");
            AblationPlan plan = new()
            {
                Scenes = 40,
                EvaluationScenes = 12,
                Seeds = 1,
                Options = ["--batch", "16", "--warmup-steps", "0", "--steps", "1"],
                Tables = [new AblationTable("One", [standard, new AblationSetting("plain", "--loss", "plain")]), new AblationTable("Two", [standard, new AblationSetting("lambda 2.0", "--lambda", "2.0")])],
            };
            using (CancellationTokenSource stop = new())
            {
                using Watcher watcher = new(stop.Cancel);
                Assert.That(() => new Ablation(folder, plan, Demonstration.ShippedBase(1), watcher).Run(stop.Token), Throws.InstanceOf<OperationCanceledException>());
            }

            int before = Evaluated();
            Assert.That(before, Is.LessThan(3));
            StringWriter messages = new();
            string tables = new Ablation(folder, plan, Demonstration.ShippedBase(1), messages).Run(CancellationToken.None);
            Assert.That(messages.ToString(), Does.Contain($"3 fine-tunings, {before} of them there already"));
            Assert.That(Evaluated(), Is.EqualTo(3));
            Assert.That(File.ReadAllText(Path.Combine(folder, "ablations.md")), Is.EqualTo(tables));
            Match[] rows = [.. Regex.Matches(tables, @"^\| ([^|]+) \|((?: -?[0-9.]+ \|){9})$", RegexOptions.Multiline).Cast<Match>()];
            Assert.That(rows.Select(row => row.Groups[1].Value), Is.EqualTo(plan.Tables.SelectMany(table => table.Settings).Select(setting => setting.Name)));
            Assert.That(rows.Select(row => row.Groups[2].Value).Distinct().Count(), Is.EqualTo(3), "the settings differ, and shared ones are run once");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        int Evaluated() => Directory.EnumerateFiles(folder, RunTraining.EvaluationFile, SearchOption.AllDirectories).Count();
    }

    [Test]
    public void Numbers_out_of_range_are_refused() =>
        Assert.That(HimoCall.Run("ablate", "--seeds", "0").Error, Does.Contain("--seeds 0").And.Contains("1 to 100"));

    /// <summary>Stops when the trainings begin.</summary>
    private sealed class Watcher(Action act) : StringWriter
    {
        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            if (value!.Contains("fine-tunings", StringComparison.Ordinal))
            {
                act();
            }
        }
    }
}
