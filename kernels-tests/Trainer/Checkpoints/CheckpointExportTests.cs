// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

internal sealed class CheckpointExportTests : FolderTests
{
    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void Every_format_gives_the_same_features_when_read_again([Values] ExportFormat format, [Values] bool frozenPositions, [Values] ClipActivation activation)
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = Model(ClipModelTests.Tiny with { HasFrozenPositions = frozenPositions, Activation = activation });
        string path = Path.Combine(Folder, "exported");
        if (format == ExportFormat.LongClip && activation == ClipActivation.Gelu)
        {
            Assert.That(() => CheckpointExport.Write(model, format, path, ScalarType.Float32), Throws.TypeOf<UserError>().With.Message.Contains("gelu"));
            Assert.That(Directory.EnumerateFileSystemEntries(Folder), Is.Empty);
            return;
        }

        CheckpointExport.Write(model, format, path, ScalarType.Float32);
        using ClipModel back = ClipModel.Load(path);
        Tensor images = randn(2, 3, 24, 24), ids = Ids();
        Assert.Multiple(() =>
        {
            Assert.That(back.EncodeImage(images).equal(model.EncodeImage(images)).all().item<bool>(), Is.True);
            Assert.That(back.EncodeText(ids).equal(model.EncodeText(ids)).all().item<bool>(), Is.True);
            Assert.That(back.LogitScale.item<float>(), Is.EqualTo(model.LogitScale.item<float>()));
            Assert.That(back.Config.Activation, Is.EqualTo(activation));
            Assert.That(back.Config.HasFrozenPositions, Is.EqualTo(format == ExportFormat.LongClip || (format == ExportFormat.Safetensors && frozenPositions)));
        });
    }

    [TestCase(ExportFormat.HuggingFace, "README.md", "library_name: transformers")]
    [TestCase(ExportFormat.OpenClip, "README.md", "library_name: open_clip")]
    [TestCase(ExportFormat.Safetensors, "../exported.md", "says nothing about its training")]
    [TestCase(ExportFormat.LongClip, "../exported.md", "texts of up to 40 tokens")]
    public void A_card_stands_beside_every_export(ExportFormat format, string card, string expected)
    {
        using ClipModel model = Model(ClipModelTests.Tiny);
        string path = Path.Combine(Folder, "exported");
        CheckpointExport.Write(model, format, path, ScalarType.Float32);
        string text = File.ReadAllText(Path.Combine(path, card));
        Assert.That(text, Does.StartWith("---\nlicense: other\n").And.Contain(expected).And.Contain("## Licence").And.Contain("2 blocks of width 128, patches of 8 x 8").And.Not.Contain("  "));
    }

    [Test]
    public void A_card_says_how_the_model_was_trained_and_from_what()
    {
        const string OpenAi = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af";
        using ClipModel model = Model(ClipModelTests.Tiny);
        string first = Path.Combine(Folder, "trained.safetensors");
        JsonObject training = new TrainingConfig { Data = "/home/somebody/pairs.json", Base = "/home/somebody/ViT-B-32.pt", BaseHash = OpenAi, Tau = 0.85 }.Binding();
        model.Save(first, new Dictionary<string, string> { [ModelCard.TrainingKey] = training.ToJsonString() }, ScalarType.Float32);
        using ClipModel trained = ClipModel.Load(first);
        string text = ModelCard.Text(trained, ExportFormat.HuggingFace);
        Assert.That(text, Does.Contain("| tau | 0.85 |").And.Contain("| base | ViT-B-32.pt |").And.Contain("| data | pairs.json |").And.Contain("- himo-clip").And.Contain("OpenAI's ViT-B/32, which was published under the MIT licence"));
        Assert.That(text, Does.Not.Contain("somebody"), "where files lay concerns nobody");
    }

    /// <summary>Every parameter must arrive under its own name: all get different values, so that a swapped pair shows.</summary>
    [Test]
    public void Hugging_Face_names_and_values_are_those_of_the_table()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = Model(ClipModelTests.Tiny with { HasFrozenPositions = true });
        CheckpointExport.Write(model, ExportFormat.HuggingFace, Folder, ScalarType.Float32);
        using TensorFile file = TensorFile.Open(Path.Combine(Folder, "model.safetensors"));
        Dictionary<string, Parameter> own = model.named_parameters().ToDictionary();
        Tensor inProjection = own["visual.transformer.resblocks.1.attn.in_proj_weight"], bias = own["transformer.resblocks.0.attn.in_proj_bias"];
        Assert.Multiple(() =>
        {
            AreEqual("visual_projection.weight", own["visual.proj"].t());
            AreEqual("text_projection.weight", own["text_projection"].t());
            AreEqual("vision_model.pre_layrnorm.bias", own["visual.ln_pre.bias"]);
            AreEqual("vision_model.post_layernorm.weight", own["visual.ln_post.weight"]);
            AreEqual("text_model.final_layer_norm.bias", own["ln_final.bias"]);
            AreEqual("vision_model.embeddings.patch_embedding.weight", own["visual.conv1.weight"]);
            AreEqual("vision_model.encoder.layers.1.self_attn.q_proj.weight", inProjection[..128]);
            AreEqual("vision_model.encoder.layers.1.self_attn.k_proj.weight", inProjection[128..256]);
            AreEqual("vision_model.encoder.layers.1.self_attn.v_proj.weight", inProjection[256..]);
            AreEqual("text_model.encoder.layers.0.self_attn.v_proj.bias", bias[64..]);
            AreEqual("text_model.encoder.layers.1.mlp.fc2.bias", own["transformer.resblocks.1.mlp.c_proj.bias"]);
            AreEqual("text_model.encoder.layers.1.layer_norm2.weight", own["transformer.resblocks.1.ln_2.weight"]);
            AreEqual("text_model.embeddings.position_embedding.weight", cat([own["positional_embedding"][..20], own["positional_embedding_res"][20..]]));

            // Two towers of two blocks with 16 tensors each; 7 more on the image side, 4 on the text side, 2 projections, the logit scale.
            Assert.That(file.Tensors, Has.Count.EqualTo((4 * 16) + 7 + 4 + 2 + 1));
            JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(Folder, "config.json")))!;
            Assert.That((int)config["text_config"]!["max_position_embeddings"]!, Is.EqualTo(40));
            Assert.That((int)config["text_config"]!["intermediate_size"]!, Is.EqualTo(48));
            Assert.That((int)config["vision_config"]!["num_attention_heads"]!, Is.EqualTo(2));
            Assert.That((int)config["text_config"]!["eos_token_id"]!, Is.EqualTo(49));
        });

        void AreEqual(string name, Tensor expected) => Assert.That(file.Tensors[name].Read().equal(expected).all().item<bool>(), Is.True, name);
    }

    [Test]
    public void Long_Clip_has_two_float_tables_and_nothing_else()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = Model(ClipModelTests.Tiny);
        string path = Path.Combine(Folder, "long.pt");
        CheckpointExport.Write(model, ExportFormat.LongClip, path, ScalarType.Float16);
        using TensorFile file = TensorFile.Open(path);
        Assert.Multiple(() =>
        {
            Assert.That(file.Container, Is.EqualTo(TensorContainer.TorchStateDict));
            Assert.That(file.Tensors.Keys, Is.EquivalentTo(ClipShapes.Of(model.Config with { HasFrozenPositions = true }).Select(tensor => tensor.Name)));
            Assert.That(file.Tensors["positional_embedding_res"].Read().equal(file.Tensors["positional_embedding"].Read()).all().item<bool>(), Is.True);
            Assert.That(file.Tensors.Values.Where(tensor => tensor.Type != ScalarType.Float16).Select(tensor => tensor.Name), Is.EqualTo(new[] { "logit_scale" }));
        });
    }

    [Test]
    public void Shards_and_old_spellings_of_Hugging_Face_are_read()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = Model(ClipModelTests.Tiny);
        CheckpointExport.Write(model, ExportFormat.HuggingFace, Folder, ScalarType.Float32);
        string whole = Path.Combine(Folder, "model.safetensors"), index = Path.Combine(Folder, "model.safetensors.index.json");
        JsonObject map = [];
        using (TensorFile file = TensorFile.Open(whole))
        {
            (string, Tensor)[] all = [.. file.Tensors.Values.Select(tensor => (tensor.Name, tensor.Read())), ("text_model.embeddings.position_ids", arange(40, int64))];
            for (int shard = 0; shard < 3; shard++)
            {
                string name = $"model-{shard}.safetensors";
                (string Name, Tensor)[] part = [.. all.Where((_, i) => i % 3 == shard)];
                SafetensorsFile.Write(Path.Combine(Folder, name), part, new Dictionary<string, string>());
                Array.ForEach(part, tensor => map[tensor.Name] = name);
            }
        }

        File.Delete(whole);
        File.WriteAllText(index, new JsonObject { ["weight_map"] = map }.ToJsonString());
        using ClipModel back = ClipModel.Load(index), fromFolder = ClipModel.Load(Folder);
        Tensor ids = Ids();
        Assert.Multiple(() =>
        {
            Assert.That(back.EncodeText(ids).equal(model.EncodeText(ids)).all().item<bool>(), Is.True);
            Assert.That(fromFolder.EncodeText(ids).equal(model.EncodeText(ids)).all().item<bool>(), Is.True);
        });
        foreach (string name in new[] { "../outside.safetensors", "", ".", "..", "a\0b" })
        {
            map["logit_scale"] = name;
            File.WriteAllText(index, new JsonObject { ["weight_map"] = map.DeepClone() }.ToJsonString());
            Assert.That(() => ClipModel.Load(index), Throws.TypeOf<UserError>().With.Message.Contains("outside its folder"), name);
        }

        map["logit_scale"] = (string)map["visual_projection.weight"]! == "model-0.safetensors" ? "model-1.safetensors" : "model-0.safetensors";
        map["extra"] = "model-2.safetensors";
        File.WriteAllText(index, new JsonObject { ["weight_map"] = map.DeepClone() }.ToJsonString());
        Assert.That(() => ClipModel.Load(index), Throws.TypeOf<UserError>().With.Message.Contains("lacks"));
    }

    [Test]
    public void Names_of_open_clip_and_of_parallel_training_are_read()
    {
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = Model(ClipModelTests.Tiny);
        string path = Path.Combine(Folder, "x.safetensors");
        Tensor ids = Ids(), expected = model.EncodeText(ids);
        SafetensorsFile.Write(path, Renamed(name => "module." + name), new Dictionary<string, string>());
        using ClipModel parallel = ClipModel.Load(path);
        SafetensorsFile.Write(path, Renamed(name => name.StartsWith("visual.", StringComparison.Ordinal) || name == "logit_scale" ? name : "text." + name), new Dictionary<string, string>());
        using ClipModel custom = ClipModel.Load(path);
        Assert.Multiple(() =>
        {
            Assert.That(parallel.EncodeText(ids).equal(expected).all().item<bool>(), Is.True);
            Assert.That(custom.EncodeText(ids).equal(expected).all().item<bool>(), Is.True);
        });

        IEnumerable<(string, Tensor)> Renamed(Func<string, string> rename) =>
            model.named_parameters().Select(pair => (rename(pair.name), pair.name == "logit_scale" ? pair.parameter.reshape(1) : (Tensor)pair.parameter)).Append((rename("input_resolution"), tensor(24L)));
    }

    [TestCase("config.json", "{\"text_config\":{\"num_attention_heads\":4},\"vision_config\":{\"num_attention_heads\":2}}", "4 heads at width 32")]
    [TestCase("config.json", "{\"text_config\":{\"hidden_act\":\"relu\"}}", "'relu'")]
    [TestCase("config.json", "{\"text_config\":{\"hidden_act\":\"gelu\"}}", "different activations")]
    [TestCase("config.json", "{", "no intact configuration")]
    public void Configurations_that_the_model_cannot_follow_are_refused(string file, string content, string reason)
    {
        using ClipModel model = Model(ClipModelTests.Tiny);
        CheckpointExport.Write(model, ExportFormat.HuggingFace, Folder, ScalarType.Float32);
        File.WriteAllText(Path.Combine(Folder, file), content);
        Assert.That(() => ClipModel.Load(Folder), Throws.TypeOf<UserError>().With.Message.Contains(reason).And.Message.Contains(file));
    }

    [TestCase("{\"model_cfg\":{}}", ClipActivation.Gelu)]
    [TestCase("{\"model_cfg\":{\"quick_gelu\":true}}", ClipActivation.QuickGelu)]
    public void Open_clip_without_the_key_means_exact_GELU(string config, ClipActivation activation)
    {
        using ClipModel model = Model(ClipModelTests.Tiny);
        CheckpointExport.Write(model, ExportFormat.OpenClip, Folder, ScalarType.BFloat16);
        File.WriteAllText(Path.Combine(Folder, "open_clip_config.json"), config);
        using ClipModel back = ClipModel.Load(Folder);
        Assert.That(back.Config.Activation, Is.EqualTo(activation));
    }

    [Test]
    public void Inspection_tells_kind_shapes_and_problems()
    {
        CheckpointReport script = CheckpointInspector.Inspect(TestData.Get("golden", "model", "clip77", "weights_jit.pt"));
        HimoCall call = HimoCall.Run("checkpoint", "inspect", script.Path), doctor = HimoCall.Run("doctor", "--checkpoint", script.Path);
        string broken = Path.Combine(Folder, "broken.safetensors");
        using Tensor one = ones(1);
        SafetensorsFile.Write(broken, [("visual.proj", one)], new Dictionary<string, string>());
        Assert.Multiple(() =>
        {
            Assert.That((script.Container, script.Layout, script.Published, script.Problem), Is.EqualTo((TensorContainer.TorchScript, CheckpointLayout.OpenAi, (string?)null, (string?)null)));
            Assert.That((script.Config!.VisionWidth, script.Config.VisionLayers, script.Config.TextWidth, script.Config.ContextLength), Is.EqualTo((64, 2, 128, 77)));
            Assert.That(script.Sha256, Has.Length.EqualTo(64));
            Assert.That(call.Output, Does.Contain("TorchScript archive").And.Contain("stretchable to 248").And.Contain(script.Sha256));
            Assert.That(doctor, Is.EqualTo(call));
            Assert.That(call.Code, Is.Zero);
            Assert.That(HimoCall.Run("doctor", "--checkpoint", broken).Code, Is.EqualTo(1));
            Assert.That(CheckpointInspector.Inspect(broken).Problem, Does.Contain("visual.conv1.weight missing"));
        });
    }

    [Test]
    public void The_command_exports_and_stretches()
    {
        string output = Path.Combine(Folder, "long.pt");
        HimoCall call = HimoCall.Run("checkpoint", "export", "--checkpoint", TestData.Get("golden", "model", "clip77", "weights_jit.pt"), "--format", "long-clip", "--context", "248", "--out", output);
        using ClipModel model = ClipModel.Load(output);
        Assert.That((call.Code, call.Output, call.Error), Is.EqualTo((0, "", "")));
        Assert.That((model.Config.ContextLength, model.Config.HasFrozenPositions), Is.EqualTo((248, true)));
    }

    private static Tensor Ids()
    {
        Tensor ids = arange(80, int64).reshape(2, 40) % 48;
        ids[0, 12] = 49;
        ids[1, 39] = 49;
        return ids;
    }

    /// <summary>Random everywhere, biases and the second positional table included.</summary>
    private static ClipModel Model(ClipConfig config)
    {
        ClipModel model = ClipModel.Create(config, seed: 11);
        using IDisposable constant = no_grad();
        using Generator generator = new(12);
        foreach (Parameter parameter in model.parameters())
        {
            _ = parameter.add_(0.05 * randn(parameter.shape, generator: generator, dtype: float32));
        }

        return model;
    }
}
