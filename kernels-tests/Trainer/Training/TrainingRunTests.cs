// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class TrainingRunTests
{
    private TrainingScenes _scenes = null!;

    [OneTimeSetUp]
    public void MakeScenes() => _scenes = new TrainingScenes();

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    [Test]
    public void The_log_has_every_field_and_follows_the_schedule()
    {
        TrainingConfig config = _scenes.Config with { Steps = 21, Clip = 1.0, FinalRateShare = 0.1 };
        string folder = Train("log", config);
        JsonObject[] steps = Log(folder, "step");
        Assert.That(steps.Select(step => (int)step["step"]!), Is.EqualTo(Enumerable.Range(1, 21)));
        string[] fields = ["loss", "global", "component", "m", "explained_variance", "relative_gap", "lr", "logit_scale", "grad_norm", "step_ms", "loss_ms", "data_ms", "samples_per_second"];
        LearningRateSchedule schedule = new(1e-3, 2, 21);
        foreach (JsonObject step in steps)
        {
            Assert.That(step.Select(pair => pair.Key), Is.SupersetOf(fields));
            Assert.That((double)step["loss"]!, Is.EqualTo((double)step["global"]! + (double)step["component"]!).Within(1e-5));
            Assert.That((double)step["explained_variance"]!, Is.InRange(0.6, 1.0));
            Assert.That((double)step["lr"]!, Is.EqualTo((0.9 * schedule.At((int)step["step"]! - 1)) + 1e-4).Within(1e-12));
            Assert.That((double)step["loss_ms"]!, Is.LessThan((double)step["step_ms"]!));
        }

        JsonArray spectrum = Log(folder, "spectrum").Single()["values"]!.AsArray();
        Assert.That(spectrum.Select(value => (double)value!), Is.Ordered.Descending);
        Assert.That(spectrum, Has.Count.EqualTo(16), "min(N, d)");
    }

    [Test]
    public void The_tables_say_what_the_log_says()
    {
        string folder = _scenes.Folder("tables");
        using (TrainingRun run = TrainingRun.Open(folder, _scenes.Config with { Steps = 4, EvalEvery = 1, Ema = 0.5 }, resume: false))
        {
            RunTraining.Execute(run, vocabulary: null, evaluate: true, TextWriter.Null, CancellationToken.None);
        }

        (JsonObject Record, Dictionary<string, string> Row)[] steps = [.. Log(folder, "step").Zip(Table(LogTables.Steps))];
        Dictionary<string, string>[] evaluations = Table(LogTables.Evaluations);
        Assert.Multiple(() =>
        {
            Assert.That(steps, Has.Length.EqualTo(4));
            foreach ((JsonObject record, Dictionary<string, string> row) in steps)
            {
                Assert.That(row, Is.EqualTo(record.ToDictionary(pair => pair.Key, pair => pair.Value?.ToString() ?? "")));
            }

            Assert.That(evaluations.Select(row => $"{row["kind"]} {row["step"]}"), Is.EqualTo(new[] { "eval 1", "eval_ema 1", "eval 2", "eval_ema 2", "eval 3", "eval_ema 3" }));
            Assert.That(evaluations[4]["retrieval/full/image_to_text_R@1"], Is.EqualTo(Log(folder, "eval")[2]["retrieval"]!["full"]!["image_to_text_R@1"]!.ToString()));
        });

        Dictionary<string, string>[] Table(string file)
        {
            string[][] cells = [.. File.ReadAllLines(Path.Combine(folder, file)).Select(line => line.Split(','))];
            return [.. cells.Skip(1).Select(row => cells[0].Zip(row, KeyValuePair.Create).ToDictionary())];
        }
    }

    [Test]
    public void The_plain_loss_is_the_global_branch_alone()
    {
        JsonObject first = Log(Train("plain", _scenes.Config with { Loss = TrainingLoss.Plain, Lambda = 0.0, Steps = 2 }), "step")[0];
        JsonObject both = Log(Train("both", _scenes.Config with { Steps = 2 }), "step")[0];
        Assert.That((double)first["component"]!, Is.Zero);
        Assert.That((double)first["loss"]!, Is.EqualTo((double)first["global"]!));
        Assert.That((double)first["global"]!, Is.EqualTo((double)both["global"]!), "the same first batch");
        HimoCall call = HimoCall.Run(_scenes.Arguments(_scenes.Folder("plain-call"), "--loss", "plain", "--steps", "2"));
        Assert.That(call.Code, Is.Zero, call.Error);
        Assert.That(TrainingConfig.Read(_scenes.Folder("plain-call"))!.Lambda, Is.Zero);
    }

    [Test]
    public void The_final_model_starts_another_run_and_brings_its_words()
    {
        string folder = Train("first", _scenes.Config);
        string file = Path.Combine(folder, TrainingRun.ModelFile);
        using (ClipModel model = ClipModel.Load(file))
        {
            Assert.That(Tokenizers.For(model.Metadata, null, file).VocabSize, Is.EqualTo(110));
            Assert.That(model.Config.ContextLength, Is.EqualTo(88));
        }

        double continued = (double)Log(Train("second", _scenes.Config with { Base = file, Steps = 2 }), "step")[0]["loss"]!;
        Assert.That(continued, Is.LessThan((double)Log(folder, "step")[0]["loss"]!), "what was learned is there");
    }

    [Test]
    public void A_run_that_diverges_ends_with_step_and_remedy_and_leaves_the_last_checkpoint()
    {
        string folder = _scenes.Folder("diverged");
        TrainingConfig config = _scenes.Config with { LearningRate = 1e30, WarmupSteps = 0, SaveEvery = 1 };
        Assert.That(
            () => TrainingScenes.Train(folder, config),
            Throws.TypeOf<UserError>().With.Message.Contains("step 2").And.Message.Contains("--lr"));
        Assert.That(File.Exists(Path.Combine(folder, "checkpoints", "step_000001.state")));
        Assert.That(File.Exists(Path.Combine(folder, TrainingRun.ModelFile)), Is.False);

        // What the step computed with can be looked into: its weights are those of the checkpoint before it.
        string kept = Path.Combine(folder, "diverged_step_000002");
        Assert.That(File.ReadAllBytes(Path.Combine(kept, TrainingRun.ModelFile)), Is.EqualTo(File.ReadAllBytes(Path.Combine(folder, "checkpoints", "step_000001.safetensors"))));
        Assert.That(NpyFile.Read<byte>(Path.Combine(kept, "planes.npy")).Shape[..2], Is.EqualTo(new[] { 16, 3 }));
        Assert.That(NpyFile.Read<long>(Path.Combine(kept, "ids.npy")).Shape[0], Is.EqualTo(16));
        Assert.That(JsonNode.Parse(File.ReadAllText(Path.Combine(kept, "pairs.json")))!.AsArray(), Has.Count.EqualTo(16).And.All.Matches<JsonNode>(pair => File.Exists((string?)pair?["image"])));
    }

    [Test]
    public void The_best_weights_are_those_of_the_best_evaluation_and_a_stop_does_not_change_them()
    {
        TrainingConfig config = _scenes.Config with { EvalEvery = 1, SaveEvery = 1, Steps = 7 };
        string whole = _scenes.Folder("best"), stopped = _scenes.Folder("best-stopped");
        Execute(whole, resume: false, CancellationToken.None);
        for (int i = 0; i < 3; i++)
        {
            using CancellationTokenSource stop = new();
            stop.Cancel(); // one step a call
            Assert.That(() => Execute(stopped, resume: true, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        }

        Execute(stopped, resume: true, CancellationToken.None);
        Assert.That(Log(stopped, "eval").Select(entry => entry.ToJsonString()), Is.EqualTo(Log(whole, "eval").Select(entry => entry.ToJsonString())));
        foreach (string folder in new[] { whole, stopped })
        {
            (int Step, double Recall)[] evaluations = [.. Log(folder, "eval").Select(entry => ((int)entry["step"]!, Sum(entry["retrieval"]!["full"]!)))];
            int best = evaluations.First(evaluation => evaluation.Recall == evaluations.Max(other => other.Recall)).Step;
            Assert.That(
                File.ReadAllBytes(Path.Combine(folder, TrainingRun.BestFile)),
                Is.EqualTo(File.ReadAllBytes(Path.Combine(folder, "checkpoints", $"step_{best:D6}.safetensors"))), $"{folder}: step {best}");
        }

        static double Sum(JsonNode recall) => (double)recall["image_to_text_R@1"]! + (double)recall["text_to_image_R@1"]!;

        void Execute(string folder, bool resume, CancellationToken cancel)
        {
            using TrainingRun run = TrainingRun.Open(folder, config, resume);
            RunTraining.Execute(run, vocabulary: null, evaluate: true, TextWriter.Null, cancel);
        }
    }

    [Test]
    public void As_many_checkpoints_are_kept_as_wanted()
    {
        Assert.That(Weights(Train("all", _scenes.Config with { SaveEvery = 2 })), Is.EqualTo(new[] { 2, 4, 6, 8 }));
        Assert.That(Weights(Train("two", _scenes.Config with { SaveEvery = 2, KeepCheckpoints = 2 })), Is.EqualTo(new[] { 6, 8 }));
        Assert.That(Weights(Train("minutes", _scenes.Config with { SaveMinutes = 1e-9, Steps = 3 })), Is.EqualTo(new[] { 1, 2, 3 }), "every step takes longer than that");

        static int[] Weights(string folder) =>
            [.. Directory.EnumerateFiles(Path.Combine(folder, "checkpoints"), "*.safetensors").Order(StringComparer.Ordinal).Select(path => int.Parse(Path.GetFileName(path)[5..11], System.Globalization.CultureInfo.InvariantCulture))];
    }

    [Test]
    public void The_average_of_the_weights_is_measured_and_saved()
    {
        TrainingConfig config = _scenes.Config with { Ema = 0.9, EvalEvery = 4 };
        string folder = _scenes.Folder("averaged");
        using (TrainingRun run = TrainingRun.Open(folder, config, resume: false))
        {
            RunTraining.Execute(run, vocabulary: null, evaluate: true, TextWriter.Null, CancellationToken.None);
        }

        Assert.That(Log(folder, "eval_ema").Single()["retrieval"]!.ToJsonString(), Is.Not.EqualTo(Log(folder, "eval").Single()["retrieval"]!.ToJsonString()));
        Assert.That(File.Exists(Path.Combine(folder, RunTraining.AverageEvaluationFile)) && File.Exists(Path.Combine(folder, RunTraining.EvaluationFile)));

        // The same run without an average has the same weights, so keeping one changes nothing.
        string plain = Train("not-averaged", _scenes.Config);
        using ClipModel with = ClipModel.Load(Path.Combine(folder, TrainingRun.ModelFile)), without = ClipModel.Load(Path.Combine(plain, TrainingRun.ModelFile)), average = ClipModel.Load(Path.Combine(folder, TrainingRun.AverageFile));
        Assert.That(with.parameters().Zip(without.parameters(), (a, b) => a.Equals(b)), Has.All.True);
        Assert.That(with.parameters().Zip(average.parameters(), (a, b) => a.Equals(b)), Has.Some.False);
    }

    [Test]
    public void The_logit_scale_never_passes_ln_100()
    {
        string file = _scenes.Folder("hot.safetensors");
        string folder = Train("warm", _scenes.Config with { Steps = 1, WarmupSteps = 0 });
        using (ClipModel model = ClipModel.Load(Path.Combine(folder, TrainingRun.ModelFile)))
        {
            using IDisposable constant = TorchSharp.torch.no_grad();
            _ = model.LogitScale.fill_(5.0);
            model.Save(file, model.Metadata, TorchSharp.torch.ScalarType.Float32);
        }

        JsonObject step = Log(Train("hot", _scenes.Config with { Base = file, Steps = 1, WarmupSteps = 0 }), "step")[0];
        Assert.That((double)step["logit_scale"]!, Is.EqualTo(Math.Log(100.0)).Within(1e-6));
    }

    [Test]
    public void A_folder_takes_one_run_at_a_time_and_continues_no_other()
    {
        string folder = _scenes.Folder("taken");
        using (TrainingRun.Open(folder, _scenes.Config, resume: false))
        {
            Assert.That(() => TrainingRun.Open(folder, _scenes.Config, resume: true), Throws.TypeOf<UserError>().With.Message.Contains("another process"));
        }

        // A call that failed before its first step is no run; a logged step makes it one.
        TrainingRun.Open(folder, _scenes.Config, resume: false).Dispose();
        File.WriteAllText(Path.Combine(folder, "log.jsonl"), "{\"kind\":\"step\",\"step\":1}\n");
        Assert.That(() => TrainingRun.Open(folder, _scenes.Config, resume: false), Throws.TypeOf<UserError>().With.Message.Contains("--resume"));
        Assert.That(
            () => TrainingRun.Open(folder, _scenes.Config with { Tau = 0.7, Steps = 9 }, resume: true),
            Throws.TypeOf<UserError>().With.Message.Contains("another steps, tau"));
        Assert.That(TrainingConfig.Read(folder)!.Tau, Is.EqualTo(0.6), "the refused call changed nothing");
        TrainingRun.Open(folder, _scenes.Config with { Threads = 2, SaveEvery = 4 }, resume: true).Dispose();
    }

    [TestCase("--steps", "0", "1 to")]
    [TestCase("--warmup-steps", "9", "0 to 8")]
    [TestCase("--tau", "1.5", "(0, 1]")]
    [TestCase("--cut-share", "2", "2")]
    [TestCase("--batch", "49", "48 pairs")]
    [TestCase("--lr", "-1", "-1")]
    [TestCase("--base", "nowhere.safetensors", "nowhere.safetensors")]
    [TestCase("--beta2", "1", "--beta2")]
    public void A_wrong_option_is_one_line_that_names_it(string option, string value, string expected)
    {
        HimoCall call = HimoCall.Run(_scenes.Arguments(_scenes.Folder($"wrong{option}"), option, value));
        Assert.That(call.Code, Is.EqualTo(1), call.Error);
        Assert.That(call.Error.TrimEnd().Split('\n'), Has.Length.EqualTo(1));
        Assert.That(call.Error, Does.Contain(expected).And.Not.Contain("unexpected"));
    }

    [Test]
    public void Options_override_the_preset_and_only_those_given()
    {
        HimoCall call = HimoCall.Run(
            "train", "--preset", "demo", "--data", _scenes.Data, "--out", _scenes.Folder("options"), "--evaluate", "off", "--threads", "1",
            "--steps", "1", "--warmup-steps", "0", "--batch", "4", "--tau", "0.8");
        Assert.That(call.Code, Is.Zero, call.Error);
        TrainingConfig config = TrainingConfig.Read(_scenes.Folder("options"))!;
        Assert.That((config.Tau, config.Batch, config.LearningRate, config.BasisGradient, config.CutShare), Is.EqualTo((0.8, 4, 1e-3, BasisGradient.Stopped, 0.5)));
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(_scenes.Folder("options"), TrainingConfig.FileName)))!.AsObject();
        Assert.That(((string?)json["loss"], (string?)json["basis_gradient"], (double)json["learning_rate"]!), Is.EqualTo(("himo", "stopped", 1e-3)));
    }

    private string Train(string name, TrainingConfig config)
    {
        string folder = _scenes.Folder(name);
        TrainingScenes.Train(folder, config);
        return folder;
    }

    private static JsonObject[] Log(string folder, string kind) =>
        [.. File.ReadLines(Path.Combine(folder, TrainingLog.FileName)).Select(line => JsonNode.Parse(line)!.AsObject()).Where(entry => (string?)entry["kind"] == kind)];
}
