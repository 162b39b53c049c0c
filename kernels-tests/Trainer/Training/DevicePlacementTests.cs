// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>Everything of training and evaluation but the loss on another device than the CPU, against the CPU: see <see cref="StandInDevice"/>.</summary>
internal sealed class DevicePlacementTests
{
    private const int Rows = 70; // several buckets of texts

    private static readonly TrainingConfig s_config = new() { Data = "", Ema = 0.9 };

    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void The_stand_in_refuses_what_a_GPU_refuses()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor there = ones(2, 2).On(StandInDevice.Device), here = ones(2, 2);
        Assert.That(() => there.add(here), Throws.Exception);
        Assert.That(() => there.bytes.Length, Throws.InvalidOperationException);
        Assert.That(there.add(there).cpu().sum().item<float>(), Is.EqualTo(8f));
    }

    [TestCase(Precision.Float32, 1e-5)]
    [TestCase(Precision.Bfloat16, 32.0 / 512)]
    public void A_step_of_encoders_optimizer_and_average_stays_there_and_is_that_of_the_CPU(Precision precision, double tolerance)
    {
        using DisposeScope scope = NewDisposeScope();
        using TrainingParts host = Parts(CPU), device = Parts(StandInDevice.Device);
        Assert.That(host.Optimizer, Is.TypeOf<FusedAdamW>());
        Assert.That(device.Optimizer, Is.TypeOf<TensorAdamW>());
        double[] expected = Step(host), actual = Step(device);
        Expect.Gradient(actual, expected, tolerance, "gradients");
        Assert.That(device.Optimizer.GradientNorm(), Is.EqualTo(host.Optimizer.GradientNorm()).Within(100.0 * tolerance).Percent);
        foreach (Tensor tensor in device.Tensors.Select(pair => pair.Value).Concat(device.Model.parameters()))
        {
            Assert.That(tensor.device_type, Is.EqualTo(StandInDevice.Device.type));
        }

        if (precision == Precision.Float32)
        {
            Near(device.Tensors, host.Tensors);
        }

        TrainingParts Parts(Device where)
        {
            ClipModel model = TrainingModels.Create(layers: 1);
            Freezing.Apply(model, "image:1");
            model.ProductType = BatchGradient.ProductType(precision);
            string[] trained = [.. model.named_parameters().Where(pair => pair.parameter.requires_grad).Select(pair => pair.name)];
            TrainingParts parts = new(s_config, model.to(where));
            Assert.That(model.named_parameters().Where(pair => pair.parameter.requires_grad).Select(pair => pair.name), Is.EqualTo(trained), "frozen stays frozen");
            return parts;
        }
    }

    [Test]
    public void A_checkpoint_read_there_and_written_again_has_the_same_bytes()
    {
        string root = Directory.CreateTempSubdirectory("himo-placement-").FullName, folder = Path.Combine(root, "one"), again = Path.Combine(root, "two");
        try
        {
            using TrainingParts host = new(s_config, TrainingModels.Create(layers: 1)) { Done = 3 }, device = new(s_config, TrainingModels.Create(seed: 2, layers: 1).to(StandInDevice.Device));
            _ = Step(host);
            TrainingState.Save(folder, host, new Dictionary<string, string>(), keep: 0);
            Assert.That(TrainingState.TryRestore(folder, device));
            device.Average!.Swap();
            device.Average.Swap();
            StandInDevice.Finish();
            TrainingState.Save(again, device, new Dictionary<string, string>(), keep: 0);
            string[] files = [.. Directory.EnumerateFiles(Path.Combine(folder, "checkpoints"))];
            Assert.That(files, Has.Length.EqualTo(2));
            foreach (string file in files)
            {
                Assert.That(File.ReadAllBytes(Path.Combine(again, "checkpoints", Path.GetFileName(file))), Is.EqualTo(File.ReadAllBytes(file)), file);
            }

            Assert.That(device.Model.Fingerprint(), Is.EqualTo(host.Model.Fingerprint()));
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Test]
    public void An_evaluation_there_measures_what_the_CPU_measures()
    {
        using SceneModel scenes = new(scenes: 12, seed: 3);
        JsonObject host = EvalCommand.Run(scenes.Checkpoint, scenes.Data, null, null, CancellationToken.None);
        JsonObject device = EvalCommand.Run(scenes.Checkpoint, scenes.Data, null, null, CancellationToken.None, device: StandInDevice.Device);
        Assert.That(device.Select(pair => pair.Key), Is.EqualTo(host.Select(pair => pair.Key)));
        Assert.That((double)device["effective_rank"]!, Is.EqualTo((double)host["effective_rank"]!).Within(0.001).Percent);

        string[] pictures = [.. scenes.Captions.Select(caption => caption.ImagePath).Take(3)];
        using ClipModel model = ClipModel.Load(scenes.Checkpoint), moved = ClipModel.Load(scenes.Checkpoint).to(StandInDevice.Device);
        using Tensor expected = model.EncodeImages(pictures), actual = moved.EncodeImages(pictures);
        Assert.That(actual.device_type, Is.EqualTo(DeviceType.CPU), "features come back");
        Expect.AtMost((actual - expected).abs().max().item<float>(), 1e-5, "features");
    }

    [Test]
    public void Pixels_normalised_on_a_device_have_the_bits_of_the_CPUs_table()
    {
        using DisposeScope scope = NewDisposeScope();
        const int Side = 16; // 256 pixels: every value in every channel
        byte[] planes = [.. Enumerable.Range(0, 2 * 3 * Side * Side).Select(i => (byte)(i % 256))];
        TrainingBatch batch = new(planes, [0, 0], [new CaptionRecord("a", "a"), new CaptionRecord("b", "b")]);
        Tensor expected = batch.Images(Side, CPU), actual = batch.Images(Side, StandInDevice.Device);
        Assert.That(actual.device_type, Is.EqualTo(StandInDevice.Device.type));
        Assert.That(actual.cpu().data<float>().ToArray(), Is.EqualTo(expected.data<float>().ToArray()));
    }

    /// <summary>A step whose loss is the scaled sum of the pairs' products; returns its gradients.</summary>
    private static double[] Step(TrainingParts parts)
    {
        using DisposeScope scope = NewDisposeScope();
        ClipModel model = parts.Model;
        TrainingBatch batch = TrainingModels.RandomBatch(Rows);
        Tensor images = model.EncodeImage(batch.Images(model.Config.ImageResolution, model.Device)), texts = LengthBuckets.EncodeText(model, batch.Ids, Rows);
        Assert.That((images.device_type, texts.device_type), Is.EqualTo((model.Device.type, model.Device.type)));
        model.zero_grad();
        (images * texts * model.LogitScale).sum().backward();
        parts.Optimizer.Step(1e-3, 1.0);
        parts.Average!.Update(parts.Optimizer.Count);
        if (model.Device.type != DeviceType.CPU)
        {
            StandInDevice.Finish();
        }

        return TrainingModels.Gradients(model);
    }

    private static void Near(IEnumerable<(string Name, Tensor Value)> actual, IEnumerable<(string Name, Tensor Value)> expected)
    {
        foreach (((string name, Tensor value), (string other, Tensor wanted)) in actual.Zip(expected))
        {
            Assert.That(name, Is.EqualTo(other));
            Expect.Gradient(Values(value), Values(wanted), 1e-4, name);
        }

        static double[] Values(Tensor tensor) => [.. tensor.detach().to(float64, CPU).flatten().data<double>()];
    }
}
