// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class BatchGradientTests
{
    private const int Rows = 24;

    /// <summary>One rounding of a sum of a few hundred float32 terms, in two orders.</summary>
    private const double Rounding = 2e-5;

    private static readonly TrainingConfig s_whole = new() { Data = "", Batch = Rows, Threads = 1, Tau = 0.7 };

    [TestCase(1, 1)]
    [TestCase(4, 1)]
    [TestCase(12, 1)]
    [TestCase(6, 3)]
    public void Cached_parts_give_the_gradient_of_the_whole_batch(int part, int ranks)
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = TrainingModels.Create();
        TrainingBatch batch = TrainingModels.RandomBatch(Rows);
        TrainingConfig config = s_whole with { Ranks = ranks };
        (LossMeasures whole, double[] expected) = TrainingModels.Gradient(config, model, batch);
        (LossMeasures parts, double[] actual) = TrainingModels.Gradient(config with { MicroBatch = part }, model, batch);
        Expect.Loss(parts.Loss, whole.Loss, 2e-6, "loss");
        Expect.Gradient(actual, expected, Rounding, "gradient");
        Assert.That(parts.M, Is.EqualTo(whole.M));
    }

    [Test]
    public void Plain_parts_give_the_mean_of_their_own_losses()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = TrainingModels.Create();
        TrainingBatch batch = TrainingModels.RandomBatch(Rows);
        (LossMeasures parts, double[] actual) = TrainingModels.Gradient(s_whole with { MicroBatch = 8, Accumulation = Accumulation.Plain }, model, batch);
        (LossMeasures Measures, double[] Gradients)[] each = [.. Enumerable.Range(0, 3).Select(i => TrainingModels.Gradient(s_whole with { Batch = 8 }, model, batch.Part(8 * i, 8)))];
        Expect.Loss(parts.Loss, each.Average(part => part.Measures.Loss), 2e-6, "loss");
        Expect.Gradient(actual, [.. Enumerable.Range(0, actual.Length).Select(i => each.Average(part => part.Gradients[i]))], Rounding, "gradient");
        (LossMeasures whole, double[] other) = TrainingModels.Gradient(s_whole, model, batch);
        Assert.That(whole.Loss, Is.GreaterThan(parts.Loss + 0.5), "more pairs to tell apart");
        Assert.That(Expect.GradientError(other, actual), Is.GreaterThan(0.1), "another objective");
    }

    [TestCase(0)]
    [TestCase(8)]
    public void A_factor_is_on_the_gradient_alone(int part)
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = TrainingModels.Create();
        TrainingBatch batch = TrainingModels.RandomBatch(Rows);
        (LossMeasures once, double[] expected) = TrainingModels.Gradient(s_whole with { MicroBatch = part }, model, batch);
        (LossMeasures scaled, double[] actual) = TrainingModels.Gradient(s_whole with { MicroBatch = part }, model, batch, 1024.0);
        Assert.That(scaled.Loss, Is.EqualTo(once.Loss));
        Assert.That(actual, Is.EqualTo(expected.Select(value => 1024.0 * value)), "a power of two changes no bit but the exponent's");
    }

    [TestCase(0)]
    [TestCase(8)]
    public void Blocks_computed_again_give_the_same_bits(int part)
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = TrainingModels.Create();
        TrainingBatch batch = TrainingModels.RandomBatch(Rows);
        double[] expected = TrainingModels.Gradient(s_whole with { MicroBatch = part }, model, batch).Gradients;
        double[] actual = TrainingModels.Gradient(s_whole with { MicroBatch = part, ActivationCheckpointing = true }, model, batch).Gradients;
        Assert.That(Expect.Norm(expected), Is.GreaterThan(0.1));
        Assert.That(actual, Is.EqualTo(expected));
    }

    [TestCase("image", true)]
    [TestCase("image:1", true)]
    [TestCase("text:2", false)]
    [TestCase("image:0,text:1", true)]
    [TestCase("image,text", false)]
    public void Frozen_parts_get_no_gradient_and_the_others_keep_theirs(string freeze, bool again)
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = TrainingModels.Create();
        TrainingBatch batch = TrainingModels.RandomBatch(Rows);
        _ = TrainingModels.Gradient(s_whole, model, batch);
        Dictionary<string, Tensor> all = model.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter.grad!.clone());
        Freezing.Apply(model, freeze);
        string[] trained = [.. model.named_parameters().Where(pair => pair.parameter.requires_grad).Select(pair => pair.name)];
        foreach (int part in new[] { 0, 6 })
        {
            _ = TrainingModels.Gradient(s_whole with { MicroBatch = part, ActivationCheckpointing = again }, model, batch);
            foreach ((string name, Parameter parameter) in model.named_parameters())
            {
                Assert.That(parameter.grad is not null, Is.EqualTo(trained.Contains(name)), name);
                if (parameter.grad is { } gradient)
                {
                    Expect.AtMost((gradient - all[name]).norm().item<float>(), (2e-5 * all[name].norm().item<float>()) + 1e-6, name);
                }
            }
        }
    }

    [Test]
    public void Freezing_leaves_the_last_blocks_norm_and_projection()
    {
        using ClipModel model = TrainingModels.Create();
        Freezing.Apply(model, "image:1,text");
        string[] trained = [.. model.named_parameters().Where(pair => pair.parameter.requires_grad).Select(pair => pair.name)];
        Assert.That(trained.Where(name => !name.Contains("resblocks", StringComparison.Ordinal)), Is.EquivalentTo(new[] { "logit_scale", "visual.proj", "visual.ln_post.weight", "visual.ln_post.bias" }));
        Assert.That(trained.Where(name => name.Contains("resblocks", StringComparison.Ordinal)), Has.All.StartsWith("visual.transformer.resblocks.2.").And.Exactly(12).Items);
        Assert.That(() => Freezing.Apply(model, "image:4"), Throws.TypeOf<UserError>().With.Message.Contains("3 blocks"));
    }

    [TestCase("sound")]
    [TestCase("image:-1")]
    [TestCase("image:x")]
    [TestCase("image,image:1")]
    public void What_is_no_tower_is_refused(string freeze) =>
        Assert.That(() => Freezing.Parse(freeze), Throws.TypeOf<UserError>().With.Message.Contains("--freeze").And.Message.Contains("text:2"));

    /// <summary>
    /// Products round two operands and a result to 8 bits of mantissa (bfloat16) or 11 (float16), by up to 2^-9 and 2^-12 of each. Some sixty
    /// products lie between a weight and its gradient in three blocks of two towers; their errors add up like the root of 180, and 32 is twice
    /// that and more. Without the factor small gradients would vanish in float16.
    /// </summary>
    [TestCase(nameof(Precision.Bfloat16), 32.0 / 512)]
    [TestCase(nameof(Precision.Float16), 32.0 / 4096)]
    public void Low_precision_is_near_float32_and_weights_stay_float32(string precision, double tolerance)
    {
        const double Factor = 2048.0;
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = TrainingModels.Create();
        TrainingBatch batch = TrainingModels.RandomBatch(Rows);
        (LossMeasures exact, double[] expected) = TrainingModels.Gradient(s_whole, model, batch);
        (LossMeasures low, double[] actual) = TrainingModels.Gradient(s_whole with { Precision = Enum.Parse<Precision>(precision) }, model, batch, Factor);
        actual = [.. actual.Select(value => value / Factor)];
        Expect.AtMost(Math.Abs(low.Loss - exact.Loss), tolerance * exact.Loss, "loss");
        double error = Expect.GradientError(actual, expected);
        Expect.AtMost(error, tolerance, "gradient");
        Assert.That(error, Is.GreaterThan(tolerance / 10), "the products were rounded, not only the last ones");
        Assert.That(model.named_parameters().Select(pair => pair.parameter.grad!.dtype), Has.All.EqualTo(ScalarType.Float32));
        Assert.That(model.named_parameters().Select(pair => pair.parameter.dtype), Has.All.EqualTo(ScalarType.Float32));
    }
}
