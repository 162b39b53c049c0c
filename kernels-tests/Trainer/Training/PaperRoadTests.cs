// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>The road of docs/training.md with its preset and CLIP's own vocabulary, from 77 positions and ShareGPT4V's layout to an exported checkpoint and a page; only sizes are small.</summary>
internal sealed class PaperRoadTests
{
    [Test]
    public void From_a_checkpoint_of_77_positions_to_one_of_248_for_transformers()
    {
        TorchLoader.EnsureLoaded();
        using TrainingScenes scenes = new();
        string vocabulary = TestData.Get("data", "bpe_simple_vocab_16e6.txt.gz"), start = scenes.Folder("clip.safetensors"), run = scenes.Folder("run"), exported = scenes.Folder("hf"), page = scenes.Folder("page.html");
        using (ClipModel model = ClipModel.Create(
            new ClipConfig
            {
                EmbedDim = 16, ImageResolution = 32, PatchSize = 16, VisionWidth = 16, VisionLayers = 1, ContextLength = 77, VocabSize = 49408, TextWidth = 16, TextLayers = 1,
            },
            seed: 1))
        {
            model.Save(start, model.Metadata, ScalarType.Float32);
        }

        Succeed("train", "--preset", "himo-clip-b16", "--model", "", "--base", start, "--data", Path.Combine(scenes.Data, "captions.json"), "--vocab", vocabulary, "--out", run,
            "--batch", "16", "--micro-batch", "4", "--ranks", "2", "--held-out", "8", "--epochs", "2", "--warmup-steps", "1", "--eval-every", "2", "--threads", "1");
        Succeed("checkpoint", "export", "--checkpoint", Path.Combine(run, TrainingRun.ModelFile), "--format", "hugging-face", "--out", exported);
        Succeed("report", run, "--out", page);
        using ClipModel trained = ClipModel.Load(exported);
        using Tensor texts = trained.EncodeTexts([string.Join(' ', Enumerable.Repeat("a red ring on navy .", 40))], vocabulary);
        Assert.Multiple(() =>
        {
            Assert.That((trained.Config.ContextLength, TrainingConfig.Read(run)!.Steps), Is.EqualTo((248, 4)), "two passes over two batches of 16 out of 48 - 8");
            Assert.That(texts.norm().item<float>(), Is.EqualTo(1.0f).Within(1e-5f));
            Assert.That(Directory.EnumerateFiles(Path.Combine(run, TensorBoardLog.FolderName)), Is.Not.Empty);
            Assert.That(File.ReadAllText(Path.Combine(exported, "README.md")), Does.Contain("- himo-clip").And.Contain("| ranks | 2 |").And.Contain("texts of up to 248 tokens"));
            Assert.That(File.ReadAllText(page), Does.Contain("id=\"progress\"").And.Contain("id=\"examples\"").And.Contain("id=\"failures\""));
        });

        static void Succeed(params string[] arguments)
        {
            HimoCall call = HimoCall.Run(arguments);
            Assert.That(call.Code, Is.Zero, call.Error);
        }
    }
}
