// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>The device of a run as an option and in its files; what computes there is in DevicePlacementTests and TrainingCudaTests.</summary>
internal sealed class TrainingDeviceTests
{
    private TrainingScenes _scenes = null!;

    [OneTimeSetUp]
    public void MakeScenes() => _scenes = new TrainingScenes();

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    [Test]
    public void The_device_is_printed_and_kept_and_a_run_may_go_on_elsewhere()
    {
        string folder = _scenes.Folder("kept");
        HimoCall call = HimoCall.Run(_scenes.Arguments(folder, "--steps", "2", "--device", "cpu"));
        Assert.That(call.Code, Is.Zero, call.Error);
        Assert.That(call.Error, Does.Contain("device cpu"));
        TrainingConfig config = TrainingConfig.Read(folder)!;
        Assert.That(config.Device, Is.EqualTo("cpu"));
        Assert.That(config.Differences(config with { Device = "cuda:1" }), Is.Empty);
        string file = _scenes.Folder("elsewhere.json");
        File.WriteAllText(file, """{"device":"cuda:1"}""");
        Assert.That(TrainingConfig.ReadOver(file, config), Is.EqualTo(config with { Device = "cuda:1" }));
        using ClipModel model = ClipModel.Load(Path.Combine(folder, TrainingRun.ModelFile));
        Assert.That(JsonNode.Parse(model.Metadata["himo.training"])!.AsObject().ContainsKey("device"), Is.False, "the same model wherever it was trained");
        Assert.That(File.ReadAllText(Path.Combine(folder, TrainingLog.FileName)), Does.Not.Contain("device_bytes"));
    }

    [Test]
    public void A_device_that_is_not_there_is_one_line_and_nothing_is_written()
    {
        TorchLoader.EnsureLoaded();
        string name = $"cuda:{cuda.device_count()}", folder = _scenes.Folder("nowhere"), model = _scenes.Folder("any.safetensors");
        string[][] calls =
        [
            _scenes.Arguments(folder, "--device", name),
            ["eval", "--checkpoint", model, "--data", _scenes.Data, "--out", Path.Combine(folder, "eval.json"), "--device", name],
            ["encode", "--checkpoint", model, "--image-folder", _scenes.Data, "--out", folder, "--device", name],
            ["score", Path.Combine(_scenes.Data, "a.png"), "a text", "--checkpoint", model, "--device", name],
            ["bench", "train-step", "--size", "tiny", "--device", name],
        ];
        foreach (string[] arguments in calls)
        {
            HimoCall call = HimoCall.Run(arguments);
            Assert.That(call.Code, Is.EqualTo(1), arguments[0]);
            Assert.That(call.Error, Does.StartWith($"himo: --device {name}: ").And.Not.Contain("unexpected"), arguments[0]);
            Assert.That(call.Error.TrimEnd().Split('\n'), Has.Length.EqualTo(1), arguments[0]);
        }

        Assert.That(Directory.Exists(folder), Is.False);
    }

    /// <summary>A run that goes from the processor to a GPU or back: the state of one optimizer in the other, then a step of both.</summary>
    [TestCase(true)]
    [TestCase(false)]
    public void The_state_of_either_optimizer_is_read_by_the_other(bool toDevice)
    {
        TrainingConfig config = new() { Data = "", Ema = 0.9 };
        string folder = _scenes.Folder($"state-{toDevice}");
        using TrainingParts stays = Parts(!toDevice, seed: 1), moved = Parts(toDevice, seed: 2);
        TrainingBatch batch = TrainingModels.RandomBatch(12);
        Step(stays);
        Step(stays);
        TrainingState.Save(folder, stays, new Dictionary<string, string>(), keep: 0);
        Assert.That(TrainingState.TryRestore(folder, moved));
        Step(stays);
        Step(moved);
        Assert.That((moved.Done, moved.Optimizer.Count), Is.EqualTo((stays.Done, 3L)));
        foreach (((string name, Parameter value), (_, Parameter other)) in moved.Model.named_parameters().Zip(stays.Model.named_parameters()))
        {
            Expect.AtMost((value - other).abs().max().item<float>(), 2e-6, name);
        }

        TrainingParts Parts(bool onDevice, int seed)
        {
            ClipModel model = TrainingModels.Create(seed);
            return onDevice
                ? new TrainingParts(config, model) { Optimizer = new TensorAdamW(model.named_parameters(), config.Beta1, config.Beta2, config.WeightDecay) }
                : new TrainingParts(config, model);
        }

        void Step(TrainingParts parts)
        {
            _ = TrainingModels.Gradient(config with { Batch = 12, Threads = 1 }, parts.Model, batch);
            parts.Optimizer.Step(1e-3, 1.0);
            parts.Average!.Update(parts.Optimizer.Count);
            parts.Done++;
        }
    }
}
