// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class FusedAdamWTests
{
    private const double Decay = 0.1;

    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void Thirty_steps_agree_with_torchs_own_optimizer()
    {
        using DisposeScope scope = NewDisposeScope();
        using Generator generator = new(3);
        // Sizes that do not fill the last vector, a single value, two parameters without decay, and one of several threads' pieces.
        Parameter[] mine = [Random(7, 9), Random(37), new Parameter(tensor(2.5f)), Random(200_001)], theirs = [.. mine.Select(value => new Parameter(value.detach().clone()))];
        using FusedAdamW optimizer = new(mine.Select((value, i) => ($"p{i}", value)), 0.9, 0.98, Decay);
        using OptimizerHelper decayed = optim.AdamW([theirs[0]], lr: 0.01, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: Decay);
        using OptimizerHelper others = optim.AdamW(theirs[1..], lr: 0.01, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.0);
        for (int step = 0; step < 30; step++)
        {
            for (int i = 0; i < mine.Length; i++)
            {
                Tensor gradient = randn(mine[i].shape, generator: generator);
                (mine[i].grad, theirs[i].grad) = (gradient, gradient.clone());
            }

            optimizer.Step(0.01, 1.0);
            _ = decayed.step();
            _ = others.step();
        }

        for (int i = 0; i < mine.Length; i++)
        {
            // Thirty roundings of a float32 each, in two orders of operation.
            double difference = (mine[i] - theirs[i]).abs().max().item<float>();
            Expect.AtMost(difference, 30 * 6e-8 * theirs[i].abs().max().item<float>(), $"parameter {i}");
        }

        Parameter Random(params long[] shape) => new(randn(shape, generator: generator));
    }

    [Test]
    public void Norm_is_over_all_parameters_and_a_scaled_gradient_is_a_clipped_one()
    {
        using DisposeScope scope = NewDisposeScope();
        Parameter[] scaled = [new Parameter(zeros(3)), new Parameter(zeros(2, 2)), new Parameter(zeros(5))], clipped = [new Parameter(zeros(3)), new Parameter(zeros(2, 2))];
        (scaled[0].grad, scaled[1].grad) = (full(3, 2f), full(new long[] { 2, 2 }, -1f)); // the third has none
        (clipped[0].grad, clipped[1].grad) = (full(3, 0.5f), full(new long[] { 2, 2 }, -0.25f));
        using FusedAdamW one = new(scaled.Select((value, i) => ($"p{i}", value)), 0.9, 0.999, 0.0), other = new(clipped.Select((value, i) => ($"p{i}", value)), 0.9, 0.999, 0.0);
        Assert.That(one.GradientNorm(), Is.EqualTo(4.0).Within(1e-12));
        Parameter large = new(zeros(200_001)) { grad = zeros(200_001) };
        using (no_grad())
        {
            large.grad![200_000] = 3f; // in the last of several pieces
            large.grad![0] = 4f;
        }

        using FusedAdamW third = new([("large", large)], 0.9, 0.999, 0.0);
        Assert.That(third.GradientNorm(), Is.EqualTo(5.0).Within(1e-12));
        one.Step(0.1, 0.25);
        other.Step(0.1, 1.0);
        Assert.That(scaled[0].Equals(clipped[0]) && scaled[1].Equals(clipped[1]));
        Assert.That(scaled[2].abs().sum().item<float>(), Is.Zero, "no gradient, no change");
        foreach ((string name, Tensor moment) in one.Moments.Zip(other.Moments, (a, b) => (a.Name, a.Value - b.Value)))
        {
            Assert.That(moment.abs().max().item<float>(), Is.Zero, name);
        }
    }
}
