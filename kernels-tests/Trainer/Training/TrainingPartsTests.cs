// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class TrainingPartsTests
{
    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void The_factor_halves_at_a_bad_step_and_doubles_after_2000_good_ones()
    {
        LossScaler scaler = new(isActive: true);
        Assert.That(scaler.Scale, Is.EqualTo(65536.0));
        scaler.Update(isFinite: true);
        scaler.Update(isFinite: false);
        Assert.That((scaler.Scale, scaler.GoodSteps), Is.EqualTo((32768.0, 0)));
        for (int i = 0; i < 1999; i++)
        {
            scaler.Update(isFinite: true);
        }

        Assert.That(scaler.Scale, Is.EqualTo(32768.0));
        scaler.Update(isFinite: true);
        Assert.That((scaler.Scale, scaler.GoodSteps), Is.EqualTo((65536.0, 0)));
        for (int i = 0; i < 16; i++)
        {
            Assert.That(scaler.CanBackOff, Is.True);
            scaler.Update(isFinite: false);
        }

        Assert.That(scaler.CanBackOff, Is.False, "at 1 it is not the factor's fault");
        Assert.That((new LossScaler(isActive: false).Scale, new LossScaler(isActive: false).CanBackOff), Is.EqualTo((1.0, false)));
    }

    [Test]
    public void All_counters_come_back()
    {
        TrainingConfig config = new() { Data = "", Precision = Precision.Float16 };
        using TrainingParts parts = new(config, TrainingModels.Create()) { Done = 12 }, restored = new(config, TrainingModels.Create());
        (parts.Optimizer.Count, parts.Scaler.Scale, parts.Scaler.GoodSteps) = (10, 0.125, 7);
        restored.Counters = parts.Counters;
        Assert.That((restored.Done, restored.Optimizer.Count, restored.Scaler.Scale, restored.Scaler.GoodSteps), Is.EqualTo((12L, 10L, 0.125, 7)));
    }

    [Test]
    public void The_average_follows_the_weights_by_its_decay()
    {
        using DisposeScope scope = NewDisposeScope();
        Parameter weight = new(tensor(new[] { 1f, 2f, 3f }));
        using WeightAverage average = new([("w", weight)], 0.5);
        double[] expected = [1, 2, 3];
        for (int update = 1; update <= 20; update++)
        {
            using (no_grad())
            {
                _ = weight.copy_(tensor(new[] { update, 2f * update, -update }));
            }

            average.Update(update);
            double decay = Math.Min(0.5, (1.0 + update) / (10.0 + update)), value = update;
            expected = [(decay * expected[0]) + ((1 - decay) * value), (decay * expected[1]) + ((1 - decay) * 2 * value), (decay * expected[2]) - ((1 - decay) * value)];
        }

        Assert.That(average.Tensors.Single().Value.data<float>().ToArray(), Is.EqualTo(expected).Within(1e-5));
        average.Swap();
        Assert.That(weight.data<float>().ToArray(), Is.EqualTo(expected).Within(1e-5));
        average.Swap();
        Assert.That(weight.data<float>().ToArray(), Is.EqualTo(new[] { 20f, 40f, -20f }));
    }

    [Test]
    public void Decay_of_all_acts_on_vectors_and_scalars_too()
    {
        using DisposeScope scope = NewDisposeScope();
        Parameter matrix = new(ones(2, 2)), vector = new(ones(3)), scale = new(tensor(1f));
        foreach ((WeightDecayPolicy policy, float others) in new[] { (WeightDecayPolicy.Matrices, 1f), (WeightDecayPolicy.All, 0.9f) })
        {
            using (no_grad())
            {
                foreach (Parameter parameter in new[] { matrix, vector, scale })
                {
                    _ = parameter.fill_(1f);
                    parameter.grad = zeros_like(parameter);
                }
            }

            using FusedAdamW optimizer = new([("m", matrix), ("v", vector), ("s", scale)], 0.9, 0.999, weightDecay: 1.0, policy);
            optimizer.Step(0.1, 1.0);
            Assert.That((matrix[0, 0].item<float>(), vector[0].item<float>(), scale.item<float>()), Is.EqualTo((0.9f, others, others)), policy.ToString());
        }
    }
}
