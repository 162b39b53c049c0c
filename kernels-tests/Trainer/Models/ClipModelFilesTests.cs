// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

public sealed class ClipModelFilesTests : FolderTests
{
    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void What_is_saved_is_loaded_again([Values] bool frozenPositions, [Values] ClipActivation activation)
    {
        ClipConfig config = ClipModelTests.Tiny with { HasFrozenPositions = frozenPositions, Activation = activation };
        using ClipModel model = ClipModel.Create(config, seed: 7);
        string path = Path.Combine(Folder, "model.safetensors");
        model.Save(path, new Dictionary<string, string> { ["himo.words"] = "red\nblue" }, ScalarType.Float32);
        using ClipModel loaded = ClipModel.Load(path);
        Assert.Multiple(() =>
        {
            Assert.That(loaded.Config, Is.EqualTo(config));
            Assert.That(loaded.Metadata["himo.words"], Is.EqualTo("red\nblue"));
            foreach (((string name, Parameter parameter), (_, Parameter twin)) in model.named_parameters().Zip(loaded.named_parameters()))
            {
                Assert.That(twin.equal(parameter).all().item<bool>(), Is.True, name);
                Assert.That(twin.requires_grad, Is.EqualTo(parameter.requires_grad), name);
            }
        });
    }

    [Test]
    public void The_activation_can_be_overruled()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = ClipModel.Create(ClipModelTests.Tiny, seed: 7);
        string path = Path.Combine(Folder, "model.safetensors");
        model.Save(path, new Dictionary<string, string>(), ScalarType.Float32);
        using ClipModel loaded = ClipModel.Load(path, activation: ClipActivation.Gelu);
        Tensor images = ones(1, 3, 24, 24), quick = model.EncodeImage(images), exact = loaded.EncodeImage(images);
        Assert.Multiple(() =>
        {
            Assert.That(loaded.Config.Activation, Is.EqualTo(ClipActivation.Gelu));
            Assert.That(exact.equal(quick).any().item<bool>(), Is.False);
        });
    }

    /// <summary>The library's face: files and strings in, unit vectors out, equal to the parts put together by hand.</summary>
    [Test]
    public void Files_and_strings_are_encoded()
    {
        using DisposeScope scope = NewDisposeScope();
        WordTokenizer words = new(WordTokenizer.Layout(["red", "ball"]));
        using ClipModel model = ClipModel.Create(ClipModelTests.Tiny with { VocabSize = words.VocabSize }, seed: 7);
        string path = Path.Combine(Folder, "model.safetensors"), image = Path.Combine(Folder, "a.png");
        model.Save(path, new Dictionary<string, string> { [WordTokenizer.MetadataKey] = string.Join('\n', WordTokenizer.Layout(["red", "ball"])) }, ScalarType.Float32);
        using (SkiaSharp.SKBitmap bitmap = new(30, 40))
        {
            bitmap.Erase(SkiaSharp.SKColors.Red);
            using FileStream stream = File.Create(image);
            Assert.That(bitmap.Encode(stream, SkiaSharp.SKEncodedImageFormat.Png, 100), Is.True);
        }

        using ClipModel loaded = ClipModel.Load(path);
        Tensor images = loaded.EncodeImages([image, image]), texts = loaded.EncodeTexts(["red ball", "ball"]);
        float[] pixels = new float[3 * 24 * 24];
        new ImagePreprocessor(24).Load([image], pixels);
        Tensor expected = nn.functional.normalize(model.EncodeImage(tensor(pixels).view(1, 3, 24, 24)));
        Tensor ids = tensor(Array.ConvertAll(words.Encode("ball", 40), id => (long)id)).view(1, 40);
        Tensor expectedText = nn.functional.normalize(model.EncodeText(ids));
        Assert.Multiple(() =>
        {
            Assert.That(images.shape, Is.EqualTo(new long[] { 2, 16 }));
            Assert.That(GoldenModel.RelativeError(images[1..], expected.to(float64)), Is.LessThan(1e-6));
            Assert.That(GoldenModel.RelativeError(texts[1..], expectedText.to(float64)), Is.LessThan(1e-6));
            Assert.That(() => loaded.EncodeImages([]), Throws.InstanceOf<ArgumentException>());
            Assert.That(() => loaded.EncodeImages([Path.Combine(Folder, "missing.png")]), Throws.TypeOf<UserError>().With.Message.Contains("missing.png"));
            Assert.That(() => loaded.EncodeTexts(["red ball"], vocabulary: "x"), Throws.TypeOf<UserError>());
        });
    }

    [Test]
    public void Half_precision_halves_the_file_and_keeps_the_logit_scale()
    {
        using ClipModel model = ClipModel.Create(ClipModelTests.Tiny, seed: 8);
        string full = Path.Combine(Folder, "full.safetensors"), half = Path.Combine(Folder, "half.safetensors");
        model.Save(full, new Dictionary<string, string>(), ScalarType.Float32);
        model.Save(half, new Dictionary<string, string>(), ScalarType.Float16);
        using ClipModel loaded = ClipModel.Load(half);
        using Tensor expected = model.get_parameter("text_projection")!.to(float16).to(float32);
        long weights = model.parameters().Sum(parameter => parameter.numel());
        Assert.Multiple(() =>
        {
            Assert.That(new FileInfo(full).Length - new FileInfo(half).Length, Is.EqualTo(2 * (weights - 1)).Within(64), "headers differ by a few digits");
            Assert.That(loaded.LogitScale.item<float>(), Is.EqualTo(model.LogitScale.item<float>()));
            Assert.That(loaded.get_parameter("text_projection")!.equal(expected).all().item<bool>(), Is.True);
        });
    }

    [Test]
    public void All_that_does_not_fit_is_listed_at_once()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = ClipModel.Create(ClipModelTests.Tiny, seed: 9);
        Dictionary<string, Tensor> tensors = model.named_parameters().ToDictionary(pair => pair.name, pair => (Tensor)pair.parameter);
        _ = tensors.Remove("ln_final.bias");
        _ = tensors.Remove("transformer.resblocks.0.mlp.c_proj.weight");
        tensors["visual.ln_post.bias"] = zeros(3);
        tensors["extra.weight"] = zeros(2, 2);
        UserError error = LoadFails(tensors)!;
        Assert.Multiple(() =>
        {
            Assert.That(error.Message, Does.Contain("4 tensors do not fit"));
            Assert.That(error.Message, Does.Contain("missing ln_final.bias [32]"));
            Assert.That(error.Message, Does.Contain("missing transformer.resblocks.0.mlp.c_proj.weight [32, 48]"));
            Assert.That(error.Message, Does.Contain("visual.ln_post.bias is [3] instead of [128]"));
            Assert.That(error.Message, Does.Contain("unknown extra.weight [2, 2]"));
        });
    }

    [TestCase("visual.conv1.weight", new long[] { 4, 3, 0, 0 })]
    [TestCase("text_projection", new long[] { 32 })]
    [TestCase("visual.positional_embedding", new long[] { 0, 128 })]
    public void Impossible_architectures_show_the_decisive_shapes(string name, long[] shape)
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = ClipModel.Create(ClipModelTests.Tiny, seed: 9);
        Dictionary<string, Tensor> tensors = model.named_parameters().ToDictionary(pair => pair.name, pair => (Tensor)pair.parameter);
        tensors[name] = zeros(shape);
        Assert.That(LoadFails(tensors)!.Message, Does.Contain($"{name} [{string.Join(", ", shape)}]"));
    }

    [TestCase("logit_bias", "SigLIP")]
    [TestCase("visual.attnpool.positional_embedding", "ResNet")]
    public void Other_families_are_named(string tensor, string family)
    {
        using DisposeScope scope = NewDisposeScope();
        Assert.That(LoadFails(new() { [tensor] = zeros(1), ["text_projection"] = zeros(4, 4) })!.Message, Does.Contain(family));
    }

    [Test]
    public void Unknown_activations_are_named()
    {
        using DisposeScope scope = NewDisposeScope();
        string path = Path.Combine(Folder, "x.safetensors");
        SafetensorsFile.Write(path, [("a", zeros(1))], new Dictionary<string, string> { ["himo.activation"] = "relu" });
        Assert.That(() => ClipModel.Load(path), Throws.TypeOf<UserError>().With.Message.Contains("relu"));
    }

    private UserError? LoadFails(Dictionary<string, Tensor> tensors)
    {
        string path = Path.Combine(Folder, "given.safetensors");
        SafetensorsFile.Write(path, tensors.Select(pair => (pair.Key, pair.Value)), new Dictionary<string, string>());
        return Assert.Throws<UserError>(() => ClipModel.Load(path));
    }
}
