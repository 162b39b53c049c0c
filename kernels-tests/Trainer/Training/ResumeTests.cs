// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>A run that was stopped or killed anywhere and continued ends in the bytes of the uninterrupted one.</summary>
internal sealed class ResumeTests
{
    private const string Whole = "whole";

    private TrainingScenes _scenes = null!;

    /// <summary>All state that a run can have: moments, average, the factor on the loss and its count, parts of a batch, a frozen tower's blocks.</summary>
    private TrainingConfig Everything => _scenes.Config with
    {
        Precision = Precision.Float16,
        Accumulation = Accumulation.Cached,
        Steps = 4,
        Batch = 8,
        MicroBatch = 4,
        ActivationCheckpointing = true,
        Ema = 0.9,
        Freeze = "image:1",
        Clip = 1.0,
        WeightDecayPolicy = WeightDecayPolicy.All,
    };

    [OneTimeSetUp]
    public void TrainWithoutInterruption()
    {
        _scenes = new TrainingScenes();
        TrainingScenes.Train(_scenes.Folder(Whole), _scenes.Config);
    }

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    [TestCase(1)]
    [TestCase(5)]
    [TestCase(7)]
    public void Stopped_after_a_step_it_goes_on_as_if_nothing_had_happened(int step)
    {
        string name = $"stopped{step}";
        using CancellationTokenSource stop = new();
        using (TrainingRun run = TrainingRun.Open(_scenes.Folder(name), _scenes.Config, resume: false))
        {
            using LineWatcher watcher = new($"{step}/8 steps", stop.Cancel);
            Assert.That(() => RunTraining.Execute(run, null, evaluate: false, watcher, stop.Token), Throws.InstanceOf<OperationCanceledException>());
            Assert.That(watcher.ToString(), Does.Contain($"saved after step {step}"));
        }

        Assert.That(File.Exists(Path.Combine(_scenes.Folder(name), "checkpoints", $"step_{step:D6}.state")));
        TrainingScenes.Train(_scenes.Folder(name), _scenes.Config, resume: true);
        AssertWhole(name);
    }

    [TestCase("float16", "cached")]
    [TestCase("bfloat16", "plain")]
    public void Stopped_with_everything_switched_on_it_ends_in_the_same_bytes(string precision, string accumulation)
    {
        TrainingConfig config = Everything with
        {
            Precision = Enum.Parse<Precision>(precision, ignoreCase: true), Accumulation = Enum.Parse<Accumulation>(accumulation, ignoreCase: true),
        };
        string whole = $"all-{precision}", stopped = $"all-{precision}-stopped";
        TrainingScenes.Train(_scenes.Folder(whole), config);
        for (int i = 0; i < 2; i++)
        {
            using CancellationTokenSource stop = new();
            stop.Cancel(); // one step a call
            Assert.That(() => TrainingScenes.Train(_scenes.Folder(stopped), config, resume: true, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        }

        TrainingScenes.Train(_scenes.Folder(stopped), config, resume: true);
        AssertSame(stopped, whole);
    }

    [Test]
    public void Killed_at_random_moments_it_ends_in_the_same_bytes() => KillAtRandomMoments("killed", Whole, _scenes.Config);

    [Test]
    public void Killed_with_everything_switched_on_it_ends_in_the_same_bytes()
    {
        TrainingScenes.Train(_scenes.Folder("all"), Everything);
        string config = Path.Combine(_scenes.Folder("all"), "config.json");
        KillAtRandomMoments("all-killed", "all", Everything, "--config", config, "--steps", "4", "--batch", "8");
    }

    private void KillAtRandomMoments(string prefix, string whole, TrainingConfig config, params string[] options)
    {
        Random random = new(11);
        int kills = TestLength.Pick(3, 20);
        string name = prefix;
        int killed = 0;
        for (int i = 0; i < kills; i++)
        {
            using Process process = Start(name, options);
            for (int steps = random.Next(1, 4); steps > 0 && process.StandardError.ReadLine() is { } line;)
            {
                steps -= line.Contains($"/{config.Steps} steps", StringComparison.Ordinal) ? 1 : 0;
            }

            Thread.Sleep(random.Next(0, 60)); // anywhere in a step, in the writing of weights or state, or between them
            if (!process.HasExited)
            {
                process.Kill(); // SIGKILL: nothing in the process gets to know
                killed++;
            }

            process.WaitForExit();
            if (File.Exists(Path.Combine(_scenes.Folder(name), TrainingRun.ModelFile)))
            {
                AssertSame(name, whole);
                name = $"{prefix}{i}";
            }
        }

        TrainingScenes.Train(_scenes.Folder(name), config with { SaveEvery = 1 }, resume: true);
        AssertSame(name, whole);
        Assert.That(killed, Is.Positive, "every process had ended before it was to be killed");
        Assert.That(Directory.EnumerateFiles(Path.Combine(_scenes.Folder(name), "checkpoints"), "*.state").Count(), Is.EqualTo(1), "only the newest state is kept");
    }

    [TestCase("-INT")]
    [TestCase("-TERM")]
    public void A_signal_finishes_the_step_saves_and_exits_with_130(string signal)
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Ignore("signals are sent with the kill command, which Windows lacks");
        }

        string name = $"signal{signal}";
        using Process process = Start(name);
        StringBuilder error = new();
        while (process.StandardError.ReadLine() is { } line)
        {
            error.AppendLine(line);
            if (line.StartsWith("2/8 steps", StringComparison.Ordinal))
            {
                using Process kill = Process.Start("kill", [signal, process.Id.ToString()]);
                kill.WaitForExit();
            }
        }

        process.WaitForExit();
        Assert.That(process.ExitCode, Is.EqualTo(130), error.ToString());
        Assert.That(error.ToString(), Does.Contain("saved after step").And.Contain("--resume"));
        TrainingScenes.Train(_scenes.Folder(name), _scenes.Config, resume: true);
        AssertWhole(name);
    }

    [Test]
    public void A_damaged_log_line_and_a_state_without_weights_do_not_stop_a_run()
    {
        string folder = _scenes.Folder("damaged");
        using CancellationTokenSource stop = new();
        using (TrainingRun run = TrainingRun.Open(folder, _scenes.Config, resume: false))
        {
            using LineWatcher watcher = new("3/8 steps", stop.Cancel);
            Assert.That(() => RunTraining.Execute(run, null, evaluate: false, watcher, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        }

        File.AppendAllText(Path.Combine(folder, TrainingLog.FileName), "{\"kind\":\"step\",\"step\":4,\"lo");
        TrainingScenes.Train(folder, _scenes.Config, resume: true);
        AssertWhole("damaged");
    }

    private void AssertWhole(string name) => AssertSame(name, Whole);

    private void AssertSame(string name, string whole)
    {
        Assert.That(TrainingScenes.Model(_scenes.Folder(name)), Is.EqualTo(TrainingScenes.Model(_scenes.Folder(whole))), $"{name}: the model's bytes");
        string average = Path.Combine(_scenes.Folder(whole), TrainingRun.AverageFile);
        if (File.Exists(average))
        {
            Assert.That(File.ReadAllBytes(Path.Combine(_scenes.Folder(name), TrainingRun.AverageFile)), Is.EqualTo(File.ReadAllBytes(average)), $"{name}: the average's bytes");
        }

        Assert.That(Losses(name), Is.EqualTo(Losses(whole)), $"{name}: the log");
    }

    private string[] Losses(string name) =>
    [
        .. File.ReadLines(Path.Combine(_scenes.Folder(name), TrainingLog.FileName))
            .Select(line => JsonNode.Parse(line)!).Where(entry => (string?)entry["kind"] == "step").Select(entry => $"{entry["step"]} {entry["loss"]} {entry["grad_norm"]}"),
    ];

    private Process Start(string name, params string[] options)
    {
        ProcessStartInfo start = new(
            Environment.ProcessPath!,
            [Path.Combine(AppContext.BaseDirectory, "HiMo.Trainer.dll"), .. _scenes.Arguments(_scenes.Folder(name), ["--resume", "--save-every", "1", .. options])])
        {
            RedirectStandardError = true,
        };
        start.Environment["OMP_NUM_THREADS"] = "1";
        return Process.Start(start)!;
    }
}
