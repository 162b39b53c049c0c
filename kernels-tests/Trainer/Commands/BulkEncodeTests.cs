// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary><c>encode</c> in bulk and <c>search</c> in what it wrote.</summary>
public sealed class BulkEncodeTests
{
    private const int Scenes = 40;

    private SceneModel _scenes = null!;

    [OneTimeSetUp]
    public void MakeScenes() => _scenes = new SceneModel(Scenes, seed: 41);

    [OneTimeTearDown]
    public void DeleteScenes() => _scenes.Dispose();

    private string Out(string name) => Path.Combine(_scenes.Folder, name);

    [Test]
    public void Images_of_a_folder_are_encoded_and_named()
    {
        HimoCall call = Encode(Out("images"), "--image-folder", _scenes.Images, "--batch", "7");
        NpyArray<float> features = Features("images");
        using ClipModel model = ClipModel.Load(_scenes.Checkpoint);
        using DisposeScope scope = NewDisposeScope();
        Tensor expected = model.EncodeImages([.. Directory.GetFiles(_scenes.Images).Order(StringComparer.Ordinal)]);
        Assert.Multiple(() =>
        {
            Assert.That(call.Error, Does.Contain($"{Scenes}/{Scenes} images").And.Contain("waiting for images").And.EndWith($"features of {Scenes} images\n"));
            Assert.That(features.Shape, Is.EqualTo(new[] { Scenes, 16 }));
            Assert.That(features.Elements, Is.EqualTo(expected.data<float>().ToArray()).Within(1e-6));
            Assert.That(FeatureFolder.Open(Out("images")).Names, Is.EqualTo(Enumerable.Range(0, Scenes).Select(i => $"{i:D6}.png")));
            Assert.That(Directory.GetFiles(Out("images")).Select(Path.GetFileName), Is.EquivalentTo(new[] { "features.npy", "index.jsonl", "encode.json" }));
        });
    }

    [TestCase("--caption-file")]
    [TestCase("--data-captions")]
    public void Captions_are_encoded(string option)
    {
        string[] captions = [.. _scenes.Captions.Select(caption => caption.Captions[^1])];
        string file = option == "--caption-file"
            ? _scenes.Save("lines.txt", string.Join("\n\n", captions))
            : _scenes.Save("captions.tsv", "filepath\ttitle\n" + string.Concat(captions.Select(caption => $"x.png\t{caption}\n")));
        _ = Encode(Out(option), option, file);
        using ClipModel model = ClipModel.Load(_scenes.Checkpoint);
        using Tensor expected = model.EncodeTexts(captions);
        Assert.That(Features(option).Elements, Is.EqualTo(expected.data<float>().ToArray()).Within(1e-6));
        Assert.That(FeatureFolder.Open(Out(option)).Names, Is.EqualTo(captions));
    }

    [Test]
    public void Broken_images_of_a_data_set_are_skipped_named_and_limited()
    {
        string table = _scenes.Save("set.tsv", $"filepath\ttitle\n{_scenes.Images}/000000.png\ta\nnone.png\tb\n{_scenes.Images}/000001.png\tc\n{_scenes.Images}/000000.png\td\n{_scenes.Checkpoint}\te\n");
        HimoCall call = Encode(Out("broken"), "--data-images", table, "--batch", "2");
        (string Name, string? Error)[] index = [.. FeatureFolder.ReadIndex(Path.Combine(Out("broken"), "index.jsonl"))];
        HimoCall refused = HimoCall.Run("encode", "--checkpoint", _scenes.Checkpoint, "--data-images", table, "--max-bad-images", "1", "--batch", "2", "--out", Out("refused"));
        Assert.Multiple(() =>
        {
            Assert.That(call.Error, Does.EndWith("features of 2 images; 2 could not be read, named with the reason in index.jsonl\n"));
            Assert.That(Features("broken").Shape, Is.EqualTo(new[] { 2, 16 }));
            Assert.That(index.Select(entry => (Path.GetFileName(entry.Name), entry.Error is null)), Is.EqualTo(new[] { ("000000.png", true), ("none.png", false), ("000001.png", true), ("model.safetensors", false) }));
            Assert.That(index[1].Error, Does.Contain("none.png: cannot be read"));
            Assert.That((refused.Code, File.Exists(Path.Combine(Out("refused"), "features.npy"))), Is.EqualTo((1, false)));
            Assert.That(refused.Error, Does.Contain("more than 1 images cannot be read").And.Contain("--max-bad-images"));
        });
    }

    [Test]
    public void A_killed_run_goes_on_with_the_same_bits()
    {
        _ = Encode(Out("whole"), "--image-folder", _scenes.Images, "--batch", "3");
        byte[] expected = File.ReadAllBytes(Path.Combine(Out("whole"), "features.npy"));
        string index = Path.Combine(Out("killed"), "index.jsonl");
        List<int> reached = [];
        for (int attempt = 0; attempt < TestLength.Pick(3, 20); attempt++)
        {
            if (Directory.Exists(Out("killed")))
            {
                Directory.Delete(Out("killed"), recursive: true);
            }

            int target = 1 + (attempt * 37 % (Scenes - 6)); // batches of 3 leave several to do
            using (Process process = Start("--image-folder", _scenes.Images, "--batch", "3", "--out", Out("killed")))
            {
                SpinWait.SpinUntil(() => process.HasExited || (File.Exists(index) && Lines(index) >= target), TimeSpan.FromSeconds(60));
                process.Kill();
                process.WaitForExit();
            }

            reached.Add(Lines(index));
            _ = Encode(Out("killed"), "--image-folder", _scenes.Images, "--batch", "3");
            Assert.That(File.ReadAllBytes(Path.Combine(Out("killed"), "features.npy")), Is.EqualTo(expected), $"killed after {reached[^1]} images");
            Assert.That(File.ReadAllText(index), Is.EqualTo(File.ReadAllText(Path.Combine(Out("whole"), "index.jsonl"))));
        }

        Assert.That(reached, Has.Some.InRange(1, Scenes - 1), "at least one run was killed in its middle");
    }

    [TestCase(3 * 16 * 4, 0, TestName = "a batch of features more than names")]
    [TestCase(-5, 0, TestName = "features cut")]
    [TestCase(0, -10, TestName = "names cut in a line")]
    [TestCase(7, -1, TestName = "names without their last newline, features with a piece of a row")]
    public void What_a_killed_run_left_behind_is_cut_back(int moreFeatures, int moreNames)
    {
        string folder = Out("cut");
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }

        _ = Encode(folder, "--image-folder", _scenes.Images, "--batch", "3");
        byte[] expected = File.ReadAllBytes(Path.Combine(folder, "features.npy"));
        string names = Path.Combine(folder, "index.jsonl");
        string[] lines = File.ReadAllLines(names);
        byte[] half = [.. expected[..(128 + (6 * 16 * 4))], .. new byte[Math.Max(0, moreFeatures)]];
        File.WriteAllBytes(Path.Combine(folder, "features.npy.partial"), half[..^Math.Max(0, -moreFeatures)]);
        File.Delete(Path.Combine(folder, "features.npy"));
        File.WriteAllText(names, string.Concat(lines[..6].Select(line => line + "\n"))[..^-moreNames]);
        Assert.That(() => FeatureFolder.Open(folder), Throws.TypeOf<UserError>().With.Message.Contains("not complete"));
        _ = Encode(folder, "--image-folder", _scenes.Images, "--batch", "3");
        Assert.That(File.ReadAllBytes(Path.Combine(folder, "features.npy")), Is.EqualTo(expected));
        Assert.That(File.ReadAllLines(names), Is.EqualTo(lines));
    }

    [Test]
    public void Another_job_does_not_go_on_in_the_folder()
    {
        _ = Encode(Out("job"), "--image-folder", _scenes.Images);
        string other = _scenes.SaveModel("other.safetensors", seed: 42);
        Assert.Multiple(() =>
        {
            Assert.That(Encode(Out("job"), "--image-folder", _scenes.Images).Error, Does.EndWith($"features of {Scenes} images\n"), "the same job is done already");
            Refused("another model", "--checkpoint", other, "--image-folder", _scenes.Images);
            Refused("something else", "--checkpoint", _scenes.Checkpoint, "--caption-file", _scenes.Save("one.txt", "a circle ."));
            Refused("another batch size", "--checkpoint", _scenes.Checkpoint, "--image-folder", _scenes.Images, "--batch", "5");
        });

        void Refused(string reason, params string[] arguments)
        {
            HimoCall call = HimoCall.Run(["encode", .. arguments, "--out", Out("job")]);
            Assert.That((call.Code, call.Error), Is.EqualTo((1, call.Error)));
            Assert.That(call.Error, Does.Contain(reason));
        }
    }

    [Test]
    public void Search_finds_what_brute_force_finds()
    {
        _ = Encode(Out("searched"), "--image-folder", _scenes.Images);
        string query = _scenes.Captions[5].Captions[^1];
        using ClipModel model = ClipModel.Load(_scenes.Checkpoint);
        using DisposeScope scope = NewDisposeScope();
        string[] files = [.. Directory.GetFiles(_scenes.Images).Order(StringComparer.Ordinal)];
        float[] scores = model.EncodeImages(files).matmul(model.EncodeTexts([query]).t()).data<float>().ToArray();
        string[] expected = [.. files.Zip(scores).OrderByDescending(pair => pair.Second).Take(4).Select(pair => pair.First)];
        JsonNode found = JsonNode.Parse(Search(query, "--top", "4", "--json").Output)!;
        HimoCall byImage = Search("--image", files[7], "--top", "1");
        Assert.Multiple(() =>
        {
            Assert.That(found["results"]!.AsArray().Select(hit => (string)hit!["image"]!), Is.EqualTo(expected));
            Assert.That(found["results"]!.AsArray().Select(hit => (float)hit!["similarity"]!), Is.EqualTo(scores.OrderDescending().Take(4)).Within(1e-6f));
            Assert.That((string)found["query"]!["text"]!, Is.EqualTo(query));
            Assert.That(byImage.Output, Is.EqualTo($" 1.0000  {files[7]}\n"), "an image is most similar to itself");
            Assert.That(Search("--image", files[7], "--top", "1000").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries), Has.Length.EqualTo(Scenes));
        });

        HimoCall Search(params string[] arguments)
        {
            HimoCall call = HimoCall.Run(["search", .. arguments, "--features", Out("searched"), "--checkpoint", _scenes.Checkpoint]);
            Assert.That(call.Code, Is.Zero, call.Error);
            return call;
        }
    }

    [Test]
    public void Bad_searches_are_named()
    {
        _ = Encode(Out("few"), "--caption-file", _scenes.Save("few.txt", "a circle .\na square .\n"));
        string other = _scenes.SaveModel("other.safetensors", seed: 42);
        string damaged = Out("damaged");
        _ = Encode(damaged, "--caption-file", _scenes.Save("few.txt", "a circle .\na square .\n"));
        File.AppendAllText(Path.Combine(damaged, "index.jsonl"), "{\"name\":\"a third\"}\n");
        Assert.Multiple(() =>
        {
            Fails("either a text or --image", Out("few"), _scenes.Checkpoint);
            Fails("either a text or --image", Out("few"), _scenes.Checkpoint, "a", "--image", "b.png");
            Fails("--top 0", Out("few"), _scenes.Checkpoint, "a", "--top", "0");
            Fails("another model", Out("few"), other, "a circle .");
            Fails("holds no features.npy", _scenes.Folder, _scenes.Checkpoint, "a");
            Fails("names 3 rows", damaged, _scenes.Checkpoint, "a");
        });

        static void Fails(string reason, string features, string checkpoint, params string[] arguments)
        {
            HimoCall call = HimoCall.Run(["search", .. arguments, "--features", features, "--checkpoint", checkpoint]);
            Assert.That((call.Code, call.Output), Is.EqualTo((1, "")));
            Assert.That(call.Error, Does.Contain(reason));
        }
    }

    private NpyArray<float> Features(string name) => NpyFile.Read<float>(Path.Combine(Out(name), "features.npy"));

    private HimoCall Encode(string folder, params string[] arguments)
    {
        HimoCall call = HimoCall.Run(["encode", "--checkpoint", _scenes.Checkpoint, .. arguments, "--out", folder]);
        Assert.That((call.Code, call.Output), Is.EqualTo((0, "")), call.Error);
        return call;
    }

    private Process Start(params string[] arguments)
    {
        ProcessStartInfo start = new(Environment.ProcessPath!, [Path.Combine(AppContext.BaseDirectory, "HiMo.Trainer.dll"), "encode", "--checkpoint", _scenes.Checkpoint, .. arguments]) { RedirectStandardError = true };
        start.Environment["OMP_NUM_THREADS"] = "1";
        return Process.Start(start)!;
    }

    private static int Lines(string path)
    {
        using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using StreamReader reader = new(stream);
        return reader.ReadToEnd().Count(character => character == '\n');
    }
}
