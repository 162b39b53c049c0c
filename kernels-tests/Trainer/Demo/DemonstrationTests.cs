// SPDX-License-Identifier: Apache-2.0
using System.CommandLine.Parsing;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class DemonstrationTests
{
    private string _root = "";

    [SetUp]
    public void CreateFolder() => _root = Directory.CreateTempSubdirectory("himo-demo-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_root, recursive: true);

    [Test]
    public void The_plan_is_every_base_with_every_loss_and_seed_in_folders_of_their_own()
    {
        IReadOnlyList<DemoRun> runs = new DemoPlan().Runs;
        Assert.That(runs, Has.Count.EqualTo(12));
        Assert.That(runs.Select(run => run.Name), Is.Unique);
        Assert.That(runs.Take(4).Select(run => run.Name), Is.EqualTo(new[] { "plain-base1-seed0", "himo-base1-seed0", "plain-base2-seed0", "himo-base2-seed0" }));
        Assert.That(new DemoPlan { Bases = [1, 2, 3], Seeds = 5, VariantSeeds = 2 }.Runs, Has.Count.EqualTo((3 * 2 * 5) + (3 * 7 * 2)));
    }

    [Test]
    public void The_bases_are_small_and_bring_their_words()
    {
        foreach (int number in new DemoPlan().Bases)
        {
            string file = Demonstration.ShippedBase(number);
            Assert.That(new FileInfo(file).Length, Is.LessThanOrEqualTo(2_000_000));
            using ClipModel model = ClipModel.Load(file);
            Assert.That(Tokenizers.For(model.Metadata, null, file).VocabSize, Is.EqualTo(model.Config.VocabSize));
            Assert.That((model.Config.EmbedDim, model.Config.VisionWidth, model.Config.VisionLayers, model.Config.TextLayers, model.Config.PatchSize), Is.EqualTo((128, 128, 3, 2, 12)));
        }
    }

    [Test]
    public void Interrupted_it_goes_on_ends_with_table_and_page_and_reuses_everything()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Ignore("signals are sent with the kill command, which Windows lacks");
        }

        Assert.That(Interrupt(), Is.EqualTo(130));

        ProgramResult finished = HimoProgram.Run(["demo", "--tiny", "--out", _root]);
        Assert.That(finished.ExitCode, Is.Zero, finished.Error);
        Assert.That(finished.Output, Does.Contain("HiMo@2").And.Contain("full captions, image to text").And.Contain(Path.Combine(_root, "report.html")));
        Assert.That(File.ReadAllText(Path.Combine(_root, "report.html")), Does.Contain("</html>"));
        string[] runs = ["plain-base1-seed0", "himo-base1-seed0", "plain-base2-seed0", "himo-base2-seed0"];
        Dictionary<string, DateTime> written = runs.ToDictionary(run => run, run => File.GetLastWriteTimeUtc(Path.Combine(_root, "runs", run, "eval.json")));
        Assert.That(Directory.EnumerateFiles(_root, "*.tmp", SearchOption.AllDirectories), Is.Empty);

        ProgramResult again = HimoProgram.Run(["demo", "--tiny", "--out", _root]);
        Assert.That(again.ExitCode, Is.Zero, again.Error);
        Assert.That(again.Error, Does.Contain("there already").And.Contain("4 of them there already"));
        Assert.That(runs.ToDictionary(run => run, run => File.GetLastWriteTimeUtc(Path.Combine(_root, "runs", run, "eval.json"))), Is.EqualTo(written));
        RunReadme();
    }

    /// <summary>README's lines as they stand, on a tiny demonstration in place of the whole one.</summary>
    private void RunReadme()
    {
        string readme = File.ReadAllText(Path.Combine(TestData.RepositoryRoot, "README.md"));
        string[] calls = [.. readme.Split("### With what the demonstration trained")[1].Split("```")[1].Split('\n').Where(line => line.StartsWith("./himo ", StringComparison.Ordinal))];
        Assert.That(calls.Select(call => call.Split(' ')[1]), Is.EqualTo(new[] { "score", "encode", "search", "eval", "report" }));
        foreach (string call in calls)
        {
            string here = call.Replace(" out/demo/", $" {_root}/", StringComparison.Ordinal).Replace(" out/", $" {_root}/walk/", StringComparison.Ordinal);
            ProgramResult result = HimoProgram.Run([.. CommandLineParser.SplitCommandLine(here).Skip(1)]);
            Assert.That(result.ExitCode, Is.Zero, $"{call}\n{result.Error}");
        }

        Assert.That(File.ReadAllText(Path.Combine(_root, "walk", "report.html")), Does.Contain("</html>"));
    }

    [Test]
    public void A_failing_child_is_named_with_its_message()
    {
        string[] command = ["train", "--data", Path.Combine(_root, "nowhere"), "--out", Path.Combine(_root, "run")];
        Assert.That(
            async () => await ChildProcess.RunAllAsync([command], atATime: 2, (_, _) => { }, CancellationToken.None),
            Throws.TypeOf<UserError>().With.Message.Contains("himo train").And.Message.Contains("nowhere").And.Message.Contains("exit code 1"));
    }

    /// <summary>Starts the demonstration and interrupts it once some steps of the fine-tunings are done.</summary>
    private int Interrupt()
    {
        ProcessStartInfo start = new(Environment.ProcessPath!, [Path.Combine(AppContext.BaseDirectory, "HiMo.Trainer.dll"), "demo", "--tiny", "--out", _root])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        StringBuilder error = new();
        bool interrupted = false;
        while (process.StandardError.ReadLine() is { } line)
        {
            error.AppendLine(line);
            if (!interrupted && line.Contains("% of the training", StringComparison.Ordinal))
            {
                using Process kill = Process.Start("kill", ["-INT", process.Id.ToString(CultureInfo.InvariantCulture)]);
                kill.WaitForExit();
                interrupted = true; // a second signal would end it at once
            }
        }

        process.WaitForExit();
        Assert.That(output.Result, Is.Empty, error.ToString());
        return process.ExitCode;
    }
}
