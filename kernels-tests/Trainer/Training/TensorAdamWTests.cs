// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>The optimizer of GPUs with CPU tensors, against the one of the CPU.</summary>
internal sealed class TensorAdamWTests
{
    private const double Decay = 0.1;

    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    /// <summary>Now and then a parameter gets no gradient: the first, the last, two in the middle, all.</summary>
    [Test]
    public void Thirty_steps_are_those_of_the_CPUs_optimizer([Values] WeightDecayPolicy policy)
    {
        using DisposeScope scope = NewDisposeScope();
        using Generator generator = new(3);
        Parameter[] mine = [Random(7, 9), Random(37), new Parameter(tensor(2.5f)), Random(3, 4, 5), Random(1000)], theirs = [.. mine.Select(value => new Parameter(value.detach().clone()))];
        using TensorAdamW actual = new(mine.Select(Name), 0.9, 0.98, Decay, policy);
        using FusedAdamW expected = new(theirs.Select(Name), 0.9, 0.98, Decay, policy);
        Dictionary<int, int[]> without = new() { [3] = [0], [7] = [4], [11] = [1, 2], [12] = [1, 3], [15] = [0, 1, 2, 3, 4] };
        for (int step = 0; step < 30; step++)
        {
            for (int i = 0; i < mine.Length; i++)
            {
                Tensor? gradient = without.TryGetValue(step, out int[]? missing) && missing.Contains(i) ? null : randn(mine[i].shape, generator: generator);
                (mine[i].grad, theirs[i].grad) = (gradient, gradient?.clone());
            }

            Assert.That(actual.GradientNorm(), Is.EqualTo(expected.GradientNorm()).Within(1e-6).Percent);
            double rate = 0.01 / (1 + step);
            actual.Step(rate, 0.5);
            expected.Step(rate, 0.5);
        }

        // The same operations, each rounded once, but for two products whose sums a compiler may round once.
        AssertNear(mine.Select(Name), theirs.Select(Name));
        AssertNear(actual.Moments, expected.Moments);
        Assert.That(actual.Count, Is.EqualTo(30));

        Parameter Random(params long[] shape) => new(randn(shape, generator: generator));

        static (string, Parameter) Name(Parameter value, int i) => ($"p{i}", value);
    }

    [Test]
    public void Gradients_that_are_not_finite_have_no_finite_norm([Values(float.NaN, float.PositiveInfinity)] float value)
    {
        using DisposeScope scope = NewDisposeScope();
        Parameter parameter = new(zeros(3)) { grad = tensor(new[] { 1f, value, 2f }) };
        using TensorAdamW optimizer = new([("p", parameter)], 0.9, 0.98, Decay);
        Assert.That(double.IsFinite(optimizer.GradientNorm()), Is.False);
        parameter.grad = tensor(new[] { 3f, 4f, 0f });
        Assert.That(optimizer.GradientNorm(), Is.EqualTo(5.0));
    }

    [Test]
    public void The_average_in_torch_operations_is_that_of_the_CPU()
    {
        using DisposeScope scope = NewDisposeScope();
        using Generator generator = new(3);
        Parameter weights = new(randn(1000, generator: generator));
        using WeightAverage average = new([("w", weights)], 0.9);
        Tensor blended = weights.detach().clone();
        for (int update = 1; update <= 30; update++)
        {
            using (no_grad())
            {
                _ = weights.copy_(randn(1000, generator: generator));
            }

            average.Update(update);
            WeightAverage.Blend(blended, weights, (float)(1.0 - Math.Min(0.9, (1.0 + update) / (10.0 + update))));
        }

        AssertNear([("ema.w", blended)], average.Tensors);
    }

    private static void AssertNear<T>(IEnumerable<(string Name, T Value)> actual, IEnumerable<(string Name, T Value)> expected)
        where T : Tensor
    {
        (string Name, T Value)[] all = [.. actual], wanted = [.. expected];
        Assert.That(all.Select(pair => pair.Name), Is.EqualTo(wanted.Select(pair => pair.Name)));
        foreach (((string name, T value), (_, T other)) in all.Zip(wanted))
        {
            Assert.That(value.shape, Is.EqualTo(other.shape), name);
            Assert.That(other.abs().max().item<float>(), Is.GreaterThan(1e-5f), $"{name} is not nothing");
            Expect.AtMost((value - other).abs().max().item<float>(), 1e-6 * Math.Max(1.0, other.abs().max().item<float>()), name);
        }
    }
}
