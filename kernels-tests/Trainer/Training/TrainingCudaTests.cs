// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>Training and evaluation on a GPU against the processor: see <see cref="TorchGpu"/> for what it needs.</summary>
[TestFixture]
internal sealed class TrainingCudaTests
{
    private const string Cuda = "cuda:0";
    private const int Rows = 24;

    private static readonly TrainingConfig s_batch = new() { Data = "", Batch = Rows, Threads = 1, Tau = 0.7 };

    private static IEnumerable<TestCaseData> Batches =>
    [
        Case("whole", s_batch, 1e-3),
        Case("cached, blocks again", s_batch with { MicroBatch = 6, ActivationCheckpointing = true }, 1e-3),
        Case("plain parts", s_batch with { MicroBatch = 8, Accumulation = Accumulation.Plain }, 1e-3),
        Case("ranks", s_batch with { Ranks = 3, GatherWithGrad = false }, 1e-3),
        Case("ranks in parts", s_batch with { Ranks = 3, MicroBatch = 6 }, 1e-3),
        Case("text and image", s_batch with { Components = ComponentSource.TextAndImage, ComponentNormalization = ComponentNormalization.Cosine }, 1e-3),
        Case("frozen", s_batch with { Freeze = "image:1,text:0" }, 1e-3),
        Case("bfloat16", s_batch with { Precision = Precision.Bfloat16 }, 32.0 / 512),
        Case("float16", s_batch with { Precision = Precision.Float16, MicroBatch = 12 }, 32.0 / 4096),
    ];

    private TrainingScenes _scenes = null!;

    [OneTimeSetUp]
    public void MakeScenes()
    {
        TorchGpu.Needed();
        _scenes = new TrainingScenes();
    }

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes?.Dispose();

    [TestCaseSource(nameof(Batches))]
    public void A_batchs_gradient_is_that_of_the_processor(TrainingConfig config, double tolerance)
    {
        const double Factor = 2048.0;
        using DisposeScope scope = NewDisposeScope();
        TrainingBatch batch = TrainingModels.RandomBatch(Rows);
        using ClipModel host = Frozen(CPU), device = Frozen(TorchDevice.Open(Cuda));
        (LossMeasures expected, double[] wanted) = TrainingModels.Gradient(config, host, batch, Factor);
        (LossMeasures actual, double[] gradients) = TrainingModels.Gradient(config, device, batch, Factor);
        Expect.Loss(actual.Loss, expected.Loss, tolerance, "loss");
        Expect.Loss(actual.Global, expected.Global, tolerance, "global");
        Expect.Loss(actual.Component, expected.Component, tolerance, "component");
        Expect.Gradient(gradients, wanted, tolerance, "gradient");
        Assert.That(actual.Milliseconds, Is.GreaterThan(0.0).And.LessThan(60_000.0));
        Assert.That(device.named_parameters().Where(pair => pair.parameter.grad is not null).Select(pair => pair.parameter.grad!.device_type), Has.All.EqualTo(DeviceType.CUDA));
        if (config.Precision == Precision.Float32)
        {
            Assert.That(actual.M, Is.EqualTo(expected.M));
        }

        ClipModel Frozen(Device where)
        {
            ClipModel model = TrainingModels.Create();
            Freezing.Apply(model, config.Freeze);
            return model.to(where);
        }
    }

    [Test]
    public void Ten_updates_are_those_of_the_processors_optimizer()
    {
        using DisposeScope scope = NewDisposeScope();
        using Generator generator = new(3);
        Parameter[] host = [Random(7, 9), Random(37), new Parameter(tensor(2.5f)), Random(200_001)], device = [.. host.Select(value => new Parameter(value.detach().cuda()))];
        using FusedAdamW expected = new(host.Select((value, i) => ($"p{i}", value)), 0.9, 0.98, 0.1);
        using TensorAdamW actual = new(device.Select((value, i) => ($"p{i}", value)), 0.9, 0.98, 0.1);
        for (int step = 0; step < 10; step++)
        {
            for (int i = 0; i < host.Length; i++)
            {
                Tensor gradient = randn(host[i].shape, generator: generator);
                (host[i].grad, device[i].grad) = (gradient, gradient.cuda());
            }

            Assert.That(actual.GradientNorm(), Is.EqualTo(expected.GradientNorm()).Within(1e-5).Percent);
            expected.Step(0.01, 0.5);
            actual.Step(0.01, 0.5);
        }

        for (int i = 0; i < host.Length; i++)
        {
            Expect.AtMost((device[i].cpu() - host[i]).abs().max().item<float>(), 2e-6 * host[i].abs().max().item<float>(), $"parameter {i}");
        }

        Parameter Random(params long[] shape) => new(randn(shape, generator: generator));
    }

    /// <summary>On the GPU throughout, and from or to the processor after the fourth of eight steps.</summary>
    [TestCase("cuda:0", "cuda:0")]
    [TestCase("cuda:0", "cpu")]
    [TestCase("cpu", "cuda:0")]
    public void A_run_is_that_of_the_processor_wherever_it_goes_on(string first, string then)
    {
        TrainingConfig config = _scenes.Config with { Ema = 0.9, Clip = 1.0, EvalEvery = 2, SaveEvery = 4 };
        string whole = _scenes.Folder($"whole-{first}-{then}"), moved = _scenes.Folder($"moved-{first}-{then}");
        Execute(whole, config, resume: false, stopAt: null);
        Execute(moved, config with { Device = first }, resume: false, stopAt: "4/8 steps");
        Execute(moved, config with { Device = then }, resume: true, stopAt: null);
        JsonObject[] expected = Log(whole, "step"), actual = Log(moved, "step");
        Assert.That(actual, Has.Length.EqualTo(8));
        foreach ((JsonObject step, JsonObject wanted) in actual.Zip(expected))
        {
            // AdamW turns rounding errors of the smallest gradients into updates of full size.
            Expect.Loss((double)step["loss"]!, (double)wanted["loss"]!, 1e-2, $"loss of step {step["step"]}");
            bool onDevice = ((int)step["step"]! <= 4 ? first : then) != "cpu";
            Assert.That(step.ContainsKey("device_bytes_in_use"), Is.EqualTo(onDevice));
            Assert.That((double)step["loss_ms"]!, Is.GreaterThan(0.0).And.LessThan((double)step["step_ms"]!));
        }

        Expect.Loss((double)actual[0]["loss"]!, (double)expected[0]["loss"]!, 1e-4, "loss of the first step");
        Assert.That(Log(moved, "eval"), Has.Length.EqualTo(3));
        foreach (string file in new[] { TrainingRun.ModelFile, TrainingRun.AverageFile, TrainingRun.BestFile })
        {
            using ClipModel model = ClipModel.Load(Path.Combine(moved, file)), other = ClipModel.Load(Path.Combine(whole, file));
            Assert.That(model.named_parameters().Select(pair => pair.name), Is.EqualTo(other.named_parameters().Select(pair => pair.name)));
            Assert.That(model.parameters().Select(parameter => parameter.isfinite().all().item<bool>()), Has.All.True);
        }

        static void Execute(string folder, TrainingConfig config, bool resume, string? stopAt)
        {
            using CancellationTokenSource stop = new();
            using TrainingRun run = TrainingRun.Open(folder, config, resume);
            using LineWatcher watcher = new(stopAt ?? "no such line", stop.Cancel);
            try
            {
                RunTraining.Execute(run, vocabulary: null, evaluate: true, watcher, stop.Token);
            }
            catch (OperationCanceledException) when (stopAt is not null)
            {
            }
        }
    }

    [Test]
    public void What_the_GPU_reads_and_writes_again_has_the_same_bytes()
    {
        TrainingConfig config = new() { Data = "", Ema = 0.9, Batch = Rows, Threads = 1 };
        string folder = _scenes.Folder("state"), again = _scenes.Folder("state-again");
        using TrainingParts host = new(config, TrainingModels.Create()), device = new(config, TrainingModels.Create(seed: 2).to(TorchDevice.Open(Cuda)));
        _ = TrainingModels.Gradient(config, host.Model, TrainingModels.RandomBatch(Rows));
        host.Optimizer.Step(1e-3, 1.0);
        host.Average!.Update(1);
        TrainingState.Save(folder, host, new Dictionary<string, string>(), keep: 0);
        Assert.That(TrainingState.TryRestore(folder, device));
        device.Average!.Swap();
        device.Average.Swap();
        TrainingState.Save(again, device, new Dictionary<string, string>(), keep: 0);
        foreach (string file in Directory.EnumerateFiles(Path.Combine(folder, "checkpoints")))
        {
            Assert.That(File.ReadAllBytes(Path.Combine(again, "checkpoints", Path.GetFileName(file))), Is.EqualTo(File.ReadAllBytes(file)), file);
        }

        Assert.That(device.Model.Fingerprint(), Is.EqualTo(host.Model.Fingerprint()));
    }

    [Test]
    public void Features_and_measures_are_those_of_the_processor()
    {
        using SceneModel scenes = new(scenes: 12, seed: 3);
        float[][] features = [.. new[] { "cpu", Cuda }.Select(device =>
        {
            string output = Path.Combine(scenes.Folder, $"{device[..3]}.npy"), pixels = Path.Combine(scenes.Folder, "pixels.npy");
            NpyFile.Write<float>(pixels, Enumerable.Range(0, 5 * 3 * 36 * 36).Select(i => MathF.Sin(i)).ToArray(), 5, 3, 36, 36);
            HimoCall call = HimoCall.Run("encode", "--checkpoint", scenes.Checkpoint, "--images", pixels, "--out", output, "--device", device);
            Assert.That(call.Code, Is.Zero, call.Error);
            return NpyFile.Read<float>(output).Elements;
        })];
        Expect.Gradient([.. features[1].Select(value => (double)value)], [.. features[0].Select(value => (double)value)], 1e-4, "features");

        JsonObject host = EvalCommand.Run(scenes.Checkpoint, scenes.Data, null, null, CancellationToken.None);
        JsonObject device = EvalCommand.Run(scenes.Checkpoint, scenes.Data, null, null, CancellationToken.None, device: TorchDevice.Open(Cuda));
        Assert.That(device.Select(pair => pair.Key), Is.EqualTo(host.Select(pair => pair.Key)));
        Assert.That((double)device["effective_rank"]!, Is.EqualTo((double)host["effective_rank"]!).Within(0.01).Percent);
    }

    [Test]
    public void A_loss_that_is_not_finite_ends_the_run_and_keeps_what_it_came_from()
    {
        string damaged = _scenes.Folder("damaged.safetensors"), folder = _scenes.Folder("damaged");
        TrainingScenes.Train(_scenes.Folder("sound"), _scenes.Config with { Steps = 1, WarmupSteps = 0 });
        using (ClipModel model = ClipModel.Load(Path.Combine(_scenes.Folder("sound"), TrainingRun.ModelFile)))
        {
            using IDisposable constant = no_grad();
            _ = model.named_parameters().Single(pair => pair.name == "text_projection").parameter.fill_(float.NaN);
            model.Save(damaged, model.Metadata, ScalarType.Float32);
        }

        foreach (Precision precision in new[] { Precision.Float32, Precision.Float16 })
        {
            Assert.That(
                () => TrainingScenes.Train($"{folder}-{precision}", _scenes.Config with { Base = damaged, Device = Cuda, Precision = precision }),
                Throws.TypeOf<UserError>().With.Message.Contains("the loss is NaN").And.Message.Contains("diverged_step_000001"));
            Assert.That(File.Exists(Path.Combine($"{folder}-{precision}", "diverged_step_000001", TrainingRun.ModelFile)));
        }
    }

    private static TestCaseData Case(string name, TrainingConfig config, double tolerance) =>
        new TestCaseData(config, tolerance).SetArgDisplayNames(name);

    private static JsonObject[] Log(string folder, string kind) =>
        [.. File.ReadLines(Path.Combine(folder, TrainingLog.FileName)).Select(line => JsonNode.Parse(line)!.AsObject()).Where(entry => (string?)entry["kind"] == kind)];
}
