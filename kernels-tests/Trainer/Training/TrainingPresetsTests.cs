// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class TrainingPresetsTests
{
    private TrainingScenes _scenes = null!;

    [OneTimeSetUp]
    public void MakeScenes() => _scenes = new TrainingScenes();

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    [Test]
    public void Every_preset_is_valid_once_it_has_data()
    {
        foreach (TrainingPreset preset in Enum.GetValues<TrainingPreset>())
        {
            TrainingConfig config = TrainingPresets.Create(preset);
            Assert.That(() => (config.Epochs > 0.0 ? config with { Steps = 1000 } : config).Validate(), Throws.Nothing, preset.ToString());
        }
    }

    /// <summary>The table of the training recipe: what the paper states, and the authors' script where the paper is silent.</summary>
    [Test]
    public void The_papers_presets_hold_the_papers_numbers()
    {
        foreach (TrainingPreset preset in new[] { TrainingPreset.HimoClipL14, TrainingPreset.HimoClipB16, TrainingPreset.OneGpu24gb })
        {
            TrainingConfig config = TrainingPresets.Create(preset);
            Assert.That((config.Batch, config.Ranks, config.Epochs, config.LearningRate, config.WarmupSteps), Is.EqualTo((1024, 8, 10.0, 1e-6, 200)), preset.ToString());
            Assert.That((config.Beta1, config.Beta2, config.WeightDecay, config.WeightDecayPolicy), Is.EqualTo((0.9, 0.999, 0.01, WeightDecayPolicy.All)), preset.ToString());
            Assert.That((config.Tau, config.Lambda, config.LabelSmoothing, config.GatherWithGrad), Is.EqualTo((0.9, 1.0, 0.1, false)), preset.ToString());
            Assert.That((config.Context, config.HeldOut, config.MaxLogitScale), Is.EqualTo(((int?)248, 1000, 0.0)), preset.ToString());
            Assert.That(config.LogitScaleStart, Is.EqualTo(4.6052).Within(1e-4), preset.ToString());
            Assert.That((config.Schedule, config.FinalRateShare, config.Clip), Is.EqualTo((RateSchedule.Cosine, 0.0, 0.0)), preset.ToString());
        }

        TrainingConfig code = TrainingPresets.Create(TrainingPreset.OfficialCode);
        Assert.That((code.Batch, code.MicroBatch, code.Accumulation, code.Epochs, code.Tau, code.Precision), Is.EqualTo((512, 128, Accumulation.Plain, 2.0, 0.85, Precision.Float16)));
        Assert.That((TrainingPresets.Create(TrainingPreset.HimoClipL14).Model, TrainingPresets.Create(TrainingPreset.HimoClipB16).Model), Is.EqualTo(("ViT-L/14", "ViT-B/16")));
    }

    [TestCase("himo-clip-l14", nameof(TrainingPreset.HimoClipL14))]
    [TestCase("himo-clip-b16", nameof(TrainingPreset.HimoClipB16))]
    [TestCase("official-code", nameof(TrainingPreset.OfficialCode))]
    [TestCase("one-gpu-24gb", nameof(TrainingPreset.OneGpu24gb))]
    [TestCase("smoke", nameof(TrainingPreset.Smoke))]
    [TestCase("demo-base", nameof(TrainingPreset.DemoBase))]
    public void Presets_are_called_as_documented(string name, string preset)
    {
        string data = _scenes.Folder("tiny.tsv"), folder = _scenes.Folder($"called-{name}");
        File.WriteAllText(data, "filepath\ttitle\n" + string.Concat(Enumerable.Range(0, 1100).Select(i => $"{i}.png\ta caption\n")));

        // Without a base the run cannot begin, but its configuration is written; names and numbers of the preset are in it.
        HimoCall call = HimoCall.Run("train", "--preset", name, "--data", data, "--out", folder, "--batch", "64", "--micro-batch", "0", "--warmup-steps", "0");
        Assert.That(call.Error, Does.Contain("--base").And.Not.Contain("the base is none"));
        TrainingConfig expected = TrainingPresets.Create(Enum.Parse<TrainingPreset>(preset)), config = TrainingConfig.Read(folder)!;
        Assert.That((config.Tau, config.Epochs, config.Precision, config.Captions, config.Model), Is.EqualTo((expected.Tau, expected.Epochs, expected.Precision, expected.Captions, expected.Model)));
    }

    [Test]
    public void A_base_of_another_architecture_is_named()
    {
        using ClipModel model = TrainingModels.Create();
        string file = _scenes.Folder("tiny.safetensors");
        model.Save(file, model.Metadata, TorchSharp.torch.ScalarType.Float32);
        using TrainingRun run = TrainingRun.Open(_scenes.Folder("other"), _scenes.Config with { Base = file, Model = "ViT-B/16" }, resume: false);
        Assert.That(run.CreateModel, Throws.TypeOf<UserError>().With.Message.Contains("ViT-B/16").And.Message.Contains("--base"));
    }

    [Test]
    public void The_smoke_preset_runs_and_prints_what_it_runs()
    {
        string folder = _scenes.Folder("smoke");
        HimoCall call = HimoCall.Run("train", "--preset", "smoke", "--data", _scenes.Data, "--out", folder, "--evaluate", "off", "--threads", "1");
        Assert.That(call.Code, Is.Zero, call.Error);
        Assert.That(call.Error, Does.Contain("steps 4").And.Contains("batch 8").And.Contains("precision float32").And.Contains("images/s"));
        foreach ((string name, JsonNode? _) in JsonNode.Parse(File.ReadAllText(Path.Combine(folder, TrainingConfig.FileName)))!.AsObject())
        {
            Assert.That(call.Error, Does.Contain(name + " "), "all that is written is printed");
        }
    }

    [Test]
    public void A_file_goes_before_the_preset_and_options_before_the_file()
    {
        string file = _scenes.Folder("mine.json");
        File.WriteAllText(file, """{ "steps": 2, "warmup_steps": 0, "batch": 8, "tau": 0.7, "accumulation": "plain", "micro_batch": 4, "precision": "bfloat16" }""");
        string folder = _scenes.Folder("from-file");
        HimoCall call = HimoCall.Run("train", "--preset", "demo", "--config", file, "--data", _scenes.Data, "--out", folder, "--evaluate", "off", "--threads", "1", "--tau", "0.8");
        Assert.That(call.Code, Is.Zero, call.Error);
        TrainingConfig config = TrainingConfig.Read(folder)!;
        Assert.That((config.Steps, config.Batch, config.MicroBatch, config.Tau, config.CutShare), Is.EqualTo((2, 8, 4, 0.8, 0.5)));
        Assert.That((config.Accumulation, config.Precision), Is.EqualTo((Accumulation.Plain, Precision.Bfloat16)));

        // A run's own file starts the same run again.
        string again = _scenes.Folder("again");
        call = HimoCall.Run("train", "--config", Path.Combine(folder, TrainingConfig.FileName), "--data", _scenes.Data, "--out", again, "--evaluate", "off");
        Assert.That(call.Code, Is.Zero, call.Error);
        Assert.That(TrainingConfig.Read(again)!.Differences(config), Is.Empty);
    }

    [TestCase("""{ "stepz": 2 }""", "stepz", "steps")]
    [TestCase("""{ "steps": "two" }""", "--config", "steps")]
    [TestCase("""[1]""", "--config", "JSON object")]
    [TestCase("""{ "steps": """, "--config", "")]
    public void A_wrong_file_is_one_line(string content, string first, string second)
    {
        string file = _scenes.Folder("wrong.json");
        File.WriteAllText(file, content);
        HimoCall call = HimoCall.Run("train", "--config", file, "--data", _scenes.Data, "--out", _scenes.Folder("wrong"));
        Assert.That(call.Code, Is.EqualTo(1));
        Assert.That(call.Error.TrimEnd().Split('\n'), Has.Length.EqualTo(1));
        Assert.That(call.Error, Does.Contain(first).And.Contains(second).And.Not.Contain("unexpected"));
    }

    [Test]
    public void Epochs_become_steps_and_held_out_records_are_not_seen()
    {
        TrainingConfig config = _scenes.Config with { Epochs = 2.0, HeldOut = 16, Batch = 8, WarmupSteps = 0 };
        string folder = _scenes.Folder("epochs");
        using TrainingRun run = TrainingRun.Open(folder, config, resume: false);
        Assert.That(run.Config.Steps, Is.EqualTo(8), "two passes over four batches of eight out of 48 - 16");
        CaptionDataset all = CaptionDataset.Load(_scenes.Data);
        Assert.That((run.Data.Count, run.Data[0]), Is.EqualTo((32, all[16])));
        Assert.That(() => TrainingRun.Open(folder, config with { HeldOut = 48 }, resume: true), Throws.TypeOf<UserError>().With.Message.Contains("--held-out"));
    }
}
