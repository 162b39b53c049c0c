// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>
/// The trainer's step (texts by length, skipped positions, fused loss, fused AdamW) against the authors' structure in plain torch operations: full-length
/// texts, loss through an SVD, torch's AdamW. The authors' tiny model and batch, their recipe: tau 0.9, smoothing 0.1, gathered features constant, decay of everything.
/// </summary>
internal sealed class AgreementTests
{
    private const int Steps = 50;
    private const double LearningRate = 1e-3;
    private const double WeightDecay = 0.01;

    private static readonly MoLoOptions s_options = new() { Tau = 0.9, LabelSmoothing = 0.1, GatherWithGrad = false };
    private static readonly LearningRateSchedule s_schedule = new(LearningRate, 5, Steps);

    [Test]
    public void Fifty_steps_from_the_authors_weights()
    {
        using DisposeScope scope = NewDisposeScope();
        GoldenModel golden = new("himo248");
        using ClipModel model = ClipModel.Load(golden.PathOf("weights.safetensors"));
        using PlainClip plain = new(model);
        Tensor images = golden.Images, ids = golden.Load("tokens");
        double[] expected = Plain(plain, images, ids), actual = Trained(model, images, ids);
        Assert.Multiple(() =>
        {
            Assert.That(expected.Concat(actual), Has.All.Matches<double>(double.IsFinite));
            Assert.That(expected[0], Is.EqualTo(golden.Loss).Within(1e-5 * golden.Loss), "the plain form is the authors'");
            for (int step = 0; step < Steps; step++)
            {
                Assert.That(actual[step], Is.EqualTo(expected[step]).Within(1e-4 * expected[step]), $"loss of step {step + 1}");
            }

            Assert.That(actual[^1], Is.LessThan(0.5 * actual[0]), "it learned");
        });
    }

    private static double[] Trained(ClipModel model, Tensor images, Tensor ids)
    {
        using MoLoLoss loss = new(s_options);
        using FusedAdamW optimizer = new(model.named_parameters().Where(pair => pair.parameter.requires_grad).Select(pair => (pair.name, pair.parameter)), 0.9, 0.999, WeightDecay, WeightDecayPolicy.All);
        long[] flat = ids.data<long>().ToArray();
        return [.. Enumerable.Range(0, Steps).Select(step =>
        {
            using DisposeScope scope = NewDisposeScope();
            model.zero_grad();
            Tensor value = loss.forward(model.EncodeImage(images), LengthBuckets.EncodeText(model, flat, (int)ids.shape[0]), model.LogitScale);
            value.backward();
            using IDisposable constant = no_grad();
            optimizer.Step(s_schedule.At(step), 1.0);
            return (double)value.item<float>();
        })];
    }

    private static double[] Plain(PlainClip model, Tensor images, Tensor ids)
    {
        using PlainMoLoLoss loss = new(s_options);
        using AdamW optimizer = optim.AdamW(model.Parameters.Where(parameter => parameter.requires_grad), lr: LearningRate, weight_decay: WeightDecay);
        return [.. Enumerable.Range(0, Steps).Select(step =>
        {
            using DisposeScope scope = NewDisposeScope();
            optimizer.zero_grad();
            Tensor value = loss.forward(model.EncodeImage(images), model.EncodeText(ids), model.LogitScale);
            value.backward();
            optimizer.ParamGroups.Single().LearningRate = s_schedule.At(step);
            _ = optimizer.step();
            return (double)value.item<float>();
        })];
    }
}
