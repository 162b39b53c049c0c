// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

public sealed class ClipModelTests
{
    internal static readonly ClipConfig Tiny = new()
    {
        EmbedDim = 16, ImageResolution = 24, PatchSize = 8, VisionWidth = 128, VisionLayers = 2, VisionMlpWidth = 160,
        ContextLength = 40, VocabSize = 50, TextWidth = 32, TextLayers = 2, TextMlpWidth = 48,
    };

    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void Golden_features([Values("weights.pt", "weights.safetensors")] string file)
    {
        using DisposeScope scope = NewDisposeScope();
        GoldenModel golden = new("himo248");
        using ClipModel model = ClipModel.Load(golden.PathOf(file));
        Assert.Multiple(() =>
        {
            Assert.That(GoldenModel.RelativeError(model.EncodeImage(golden.Images), golden.Load("image_features")), Is.LessThan(1e-5));
            Assert.That(GoldenModel.RelativeError(model.EncodeText(golden.Load("tokens")), golden.Load("text_features")), Is.LessThan(1e-5));
        });
    }

    /// <summary>77 positions, stretched on loading; the exact table and the authors' float16 one give different features.</summary>
    [Test]
    public void Golden_features_of_a_stretched_checkpoint([Values("weights.pt", "weights_jit.pt")] string file, [Values] StretchPrecision precision)
    {
        using DisposeScope scope = NewDisposeScope();
        GoldenModel golden = new("clip77");
        string table = precision == StretchPrecision.F16 ? "official_pe" : "exact_pe";
        using ClipModel model = ClipModel.Load(golden.PathOf(file), context: 248, precision);
        Assert.Multiple(() =>
        {
            Assert.That(GoldenModel.RelativeError(model.EncodeImage(golden.Images), golden.Load($"{table}.image_features")), Is.LessThan(1e-5));
            Assert.That(GoldenModel.RelativeError(model.EncodeText(golden.Load("tokens")), golden.Load($"{table}.text_features")), Is.LessThan(1e-5));
        });
    }

    [Test]
    public void Golden_gradients_of_a_stretched_checkpoint()
    {
        using DisposeScope scope = NewDisposeScope();
        GoldenModel golden = new("clip77");
        using ClipModel model = ClipModel.Load(golden.PathOf("weights_jit.pt"), context: 248);
        _ = golden.Backward(model, gatherWithGrad: true);
        Assert.Multiple(() =>
        {
            foreach ((string name, Tensor expected) in golden.Unflatten(golden.Load("exact_pe.grads_full")).Where(pair => pair.Name != "positional_embedding"))
            {
                Assert.That(GoldenModel.RelativeError(model.get_parameter(name)!.grad!, expected), Is.LessThan(1e-4), name);
            }
        });
    }

    [Test]
    public void Golden_gradients([Values] bool gatherWithGrad)
    {
        using DisposeScope scope = NewDisposeScope();
        GoldenModel golden = new("himo248");
        using ClipModel model = ClipModel.Load(golden.PathOf("weights.safetensors"));
        TrainFrozenPositions(model);
        _ = golden.Backward(model, gatherWithGrad);
        Dictionary<string, Tensor> expected = golden.Unflatten(golden.Load(gatherWithGrad ? "grads_full" : "grads_official")).ToDictionary();
        Assert.Multiple(() =>
        {
            Assert.That(model.named_parameters().Select(pair => pair.name), Is.EquivalentTo(expected.Keys));
            foreach ((string name, Parameter parameter) in model.named_parameters())
            {
                Assert.That(GoldenModel.RelativeError(parameter.grad!, expected[name]), Is.LessThan(1e-4), name);
            }
        });
    }

    [Test]
    public void Golden_parameters_after_three_steps_of_AdamW([Values(ScalarType.Float32, ScalarType.Float64)] ScalarType type)
    {
        using DisposeScope scope = NewDisposeScope();
        GoldenModel golden = new("himo248");
        using ClipModel model = ClipModel.Load(golden.PathOf("weights.safetensors"));
        TrainFrozenPositions(model);
        _ = model.to(type);
        using AdamW optimizer = optim.AdamW(model.parameters(), lr: 1e-3, weight_decay: 0.01);
        for (int step = 0; step < 3; step++)
        {
            optimizer.zero_grad();
            _ = golden.Backward(model, gatherWithGrad: false);
            _ = optimizer.step();
        }

        Dictionary<string, Tensor> gradients = golden.Unflatten(golden.Load("grads_official")).ToDictionary();
        Assert.Multiple(() =>
        {
            foreach ((string name, Tensor expected) in golden.Unflatten(golden.Load("adamw3_official")))
            {
                Tensor determined = WhereAdamIsDetermined(name, gradients[name], type);
                Tensor actual = model.get_parameter(name)!.to(float64);
                Assert.That(GoldenModel.RelativeError(actual[determined], expected[determined]), Is.LessThan(1e-5), name);
            }
        });
    }

    [Test]
    public void Frozen_positions_get_no_gradient_and_no_movement()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = ClipModel.Create(Tiny with { HasFrozenPositions = true }, seed: 1);
        Tensor ids = zeros(3, 40, int64);
        ids[0, 39] = 49;
        ids[1, 10] = 49;
        ids[2, 25] = 49;
        model.EncodeText(ids).sum().backward();
        Dictionary<string, Parameter> parameters = model.named_parameters().ToDictionary();
        Tensor rows = parameters["positional_embedding_res"].grad!.abs().sum(1);
        Assert.Multiple(() =>
        {
            Assert.That(parameters["positional_embedding"].requires_grad, Is.False);
            Assert.That(rows[..20].max().item<float>(), Is.Zero);
            Assert.That(rows[20..].min().item<float>(), Is.Positive);
        });
    }

    /// <summary>Computing only what the pooled position can see must not change its result.</summary>
    [Test]
    public void Text_after_the_end_token_and_other_rows_do_not_matter()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = ClipModel.Create(Tiny, seed: 2);
        Tensor ids = (arange(80, int64) * 7 % 48).reshape(2, 40);
        ids[0, 12] = 49;
        ids[1, 30] = 49;
        Tensor together = model.EncodeText(ids);
        Tensor changed = ids.clone();
        changed[0, 13..] = 3;
        Assert.Multiple(() =>
        {
            Assert.That(GoldenModel.RelativeError(model.EncodeText(changed), together.to(float64)), Is.LessThan(1e-6));
            Assert.That(GoldenModel.RelativeError(model.EncodeText(ids[..1, ..13]), together[..1].to(float64)), Is.LessThan(1e-6));
            Assert.That(GoldenModel.RelativeError(model.EncodeText(ids[1..]), together[1..].to(float64)), Is.LessThan(1e-6));
            Assert.That(model.EncodeText(ids[..0]).shape, Is.EqualTo(new long[] { 0, 16 }));
        });
    }

    [Test]
    public void Names_and_shapes_are_those_of_the_table([Values] bool frozenPositions)
    {
        ClipConfig config = Tiny with { HasFrozenPositions = frozenPositions };
        using ClipModel model = ClipModel.Create(config, seed: 0);
        Assert.That(
            model.named_parameters().Select(pair => $"{pair.name} {string.Join(' ', pair.parameter.shape)}"),
            Is.EquivalentTo(ClipShapes.Of(config).Select(tensor => $"{tensor.Name} {string.Join(' ', tensor.Shape)}")));
    }

    /// <summary>Counts published for OpenAI's models and for Long-CLIP's.</summary>
    [TestCase(32, 768, 12, 512, 512, 77, false, 302, 151_277_313)]
    [TestCase(16, 768, 12, 512, 512, 77, false, 302, 149_620_737)]
    [TestCase(16, 768, 12, 512, 512, 248, true, 303, 149_835_265)]
    [TestCase(14, 1024, 24, 768, 768, 77, false, 446, 427_616_513)]
    [TestCase(14, 1024, 24, 768, 768, 248, true, 447, 427_938_305)]
    public void Published_models_have_their_published_size(int patch, int width, int layers, int textWidth, int embed, int context, bool frozen, int tensors, long parameters)
    {
        ClipConfig config = new()
        {
            EmbedDim = embed, ImageResolution = 224, PatchSize = patch, VisionWidth = width, VisionLayers = layers,
            ContextLength = context, VocabSize = 49408, TextWidth = textWidth, TextLayers = 12, HasFrozenPositions = frozen,
        };
        List<(string Name, long[] Shape)> shapes = [.. ClipShapes.Of(config)];
        Assert.Multiple(() =>
        {
            Assert.That(shapes, Has.Count.EqualTo(tensors));
            Assert.That(shapes.Sum(shape => shape.Shape.Aggregate(1L, (product, size) => product * size)), Is.EqualTo(parameters));
        });
    }

    /// <summary>
    /// The layers hold their parameters in fields of their own, which a move must reach. META, a device without memory, is the only other one that every
    /// machine has; it cannot compute much.
    /// </summary>
    [Test]
    public void A_model_that_is_moved_holds_nothing_of_the_old_device()
    {
        using ClipModel model = ClipModel.Create(Tiny, seed: 1).to(META);
        Parameter[] held = [.. from module in model.modules().Append(model)
                               from field in module.GetType().GetFields(BindingFlags.Instance | BindingFlags.NonPublic)
                               where field.FieldType == typeof(Parameter)
                               select (Parameter?)field.GetValue(module) into parameter
                               where parameter is not null
                               select parameter];
        Assert.That(held, Has.Length.GreaterThanOrEqualTo(model.parameters().Count()));
        Assert.That(held.Concat(model.parameters()).Select(parameter => parameter.device_type), Has.All.EqualTo(DeviceType.META));
    }

    [Test]
    public void Creation_depends_on_the_seed_alone()
    {
        using DisposeScope scope = NewDisposeScope();
        manual_seed(5);
        Tensor before = rand(1);
        manual_seed(5);
        using ClipModel first = ClipModel.Create(Tiny, seed: 3), second = ClipModel.Create(Tiny, seed: 3), other = ClipModel.Create(Tiny, seed: 4);
        Tensor after = rand(1);
        Assert.Multiple(() =>
        {
            Assert.That(after.item<float>(), Is.EqualTo(before.item<float>()), "the global generator is untouched");
            foreach (((string name, Parameter parameter), (_, Parameter twin)) in first.named_parameters().Zip(second.named_parameters()))
            {
                Assert.That(parameter.equal(twin).all().item<bool>(), Is.True, name);
                Assert.That(parameter.isfinite().all().item<bool>(), Is.True, name);
            }

            Assert.That(first.get_parameter("text_projection")!.equal(other.get_parameter("text_projection")!).any().item<bool>(), Is.False);
            Assert.That(first.LogitScale.item<float>(), Is.EqualTo(MathF.Log(1 / 0.07f)).Within(1e-6f));
        });
    }

    [Test]
    public void Memory_stays_flat_over_steps()
    {
        using ClipModel model = ClipModel.Create(Tiny, seed: 5);
        using Tensor images = randn(2, 3, 24, 24), ids = randint(0, 50, new long[] { 2, 40 }, int64);
        long baseline = 0;
        for (int step = 0; step < 20; step++)
        {
            using (DisposeScope scope = NewDisposeScope())
            {
                model.zero_grad();
                (model.EncodeImage(images) * model.EncodeText(ids)).sum().backward();
            }

            GC.Collect();
            GC.WaitForPendingFinalizers();
            long alive = Tensor.TotalCount;
            baseline = step == 2 ? alive : baseline;
            Assert.That(step < 2 || alive <= baseline, $"step {step}: {alive} tensors, {baseline} after two steps");
        }
    }

    [Test]
    public void Bad_input_is_named()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = ClipModel.Create(Tiny, seed: 6);
        Assert.Multiple(() =>
        {
            Assert.That(() => model.EncodeImage(zeros(1, 3, 24, 32)), Throws.ArgumentException.With.Message.Contains("1 x 3 x 24 x 32"));
            Assert.That(() => model.EncodeText(zeros(1, 41, int64)), Throws.ArgumentException.With.Message.Contains("1 x 41"));
            Assert.That(() => model.EncodeText(zeros(1, 4)), Throws.ArgumentException.With.Message.Contains("Float32"));
            Assert.That(() => model.EncodeText(full(1, 4, 50, int64)), Throws.ArgumentException.With.Message.Contains("50"));
            Assert.That(() => model.EncodeText(full(1, 4, -1, int64)), Throws.ArgumentException.With.Message.Contains("-1"));
            Assert.That(() => ClipModel.Create(Tiny with { ImageResolution = 30 }, 0), Throws.ArgumentException.With.Message.Contains("30"));
            Assert.That(() => ClipModel.Create(Tiny with { VisionWidth = 200 }, 0), Throws.ArgumentException.With.Message.Contains("200"));
            Assert.That(() => ClipModel.Create(Tiny with { HasFrozenPositions = true, ContextLength = 20 }, 0), Throws.ArgumentException.With.Message.Contains("ContextLength"));
        });
    }

    private static void TrainFrozenPositions(ClipModel model) =>
        // The golden run trained this table as well, since it did not come through the loader that freezes it.
        model.get_parameter("positional_embedding")!.requires_grad = true;

    /// <summary>
    /// Where the true gradient is zero Adam turns rounding noise into whole steps: everywhere in the bias of the keys, which softmax
    /// ignores, and in float32 in the few entries whose gradient is a millionth of the largest. Exact zeros stay zero, with decay.
    /// </summary>
    private static Tensor WhereAdamIsDetermined(string name, Tensor gradient, ScalarType type)
    {
        Tensor size = gradient.abs();
        Tensor large = size > 1e-6 * size.max();
        return name.EndsWith("attn.in_proj_bias", StringComparison.Ordinal) ? large
            : type == ScalarType.Float64 ? ones_like(size, @bool)
            : large.logical_or(size == 0.0);
    }
}
