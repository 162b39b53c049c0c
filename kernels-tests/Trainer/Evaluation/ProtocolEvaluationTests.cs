// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The published sets' layouts: the same scenes in each must give the same recalls.</summary>
public sealed class ProtocolEvaluationTests
{
    private const int Scenes = 20;

    private SceneModel _scenes = null!;
    private string[] _captions = [];
    private JsonObject _expected = [];

    private string Images => _scenes.Images;

    [OneTimeSetUp]
    public void MakeModelAndScenes()
    {
        _scenes = new SceneModel(Scenes, seed: 8);
        _captions = [.. _scenes.Captions.Select(caption => caption.Captions[^1])];
        _expected = EvalCommand.Run(_scenes.Checkpoint, _scenes.Data, null, null, CancellationToken.None);
    }

    [OneTimeTearDown]
    public void DeleteScenes() => _scenes.Dispose();

    [Test]
    public void ShareGpt4V()
    {
        string file = Save("share/captions.json", JsonSerializer.Serialize(_captions.Select((caption, i) => new
        {
            id = $"{i}",
            image = Image(i),
            conversations = new[] { new { value = "<image>" }, new { value = caption } },
        })));
        AssertSameRecall(Run(Protocol.Sharegpt4v, file, Images));

        // Users lack some of its images.
        string apart = Directory.CreateDirectory(Path.Combine(_scenes.Folder, "some")).FullName;
        foreach (int i in Enumerable.Range(2, Scenes - 2))
        {
            File.Copy(Path.Combine(Images, Image(i)), Path.Combine(apart, Image(i)), overwrite: true);
        }

        JsonObject some = Run(Protocol.Sharegpt4v, file, apart);
        Assert.That(((int)some["images"]!, (int)some["texts"]!, (int)some["skipped_images"]!), Is.EqualTo((Scenes - 2, Scenes - 2, 2)));
    }

    [Test]
    public void Urban1k()
    {
        for (int i = 0; i < Scenes; i++)
        {
            Save($"urban/caption/{i}.txt", $"{_captions[i]}\nA second line is not read.\n");
            Directory.CreateDirectory(Path.Combine(_scenes.Folder, "urban", "image"));
            File.Copy(Path.Combine(Images, Image(i)), Path.Combine(_scenes.Folder, "urban", "image", $"{i}.jpg"), overwrite: true);
        }

        AssertSameRecall(Run(Protocol.Urban1k, Path.Combine(_scenes.Folder, "urban"), null));
        Assert.That(RetrievalSets.Load(Protocol.Urban1k, Path.Combine(_scenes.Folder, "urban"), null).Images.Select(Path.GetFileName), Is.EqualTo(Enumerable.Range(0, Scenes).Select(i => $"{i}.jpg")), "2 before 10");
    }

    [Test]
    public void Docci()
    {
        string[] lines =
        [
            """{"example_id":"train_00000","split":"train","image_file":"none.jpg","description":"not of the test split"}""",
            .. _captions.Select((caption, i) => JsonSerializer.Serialize(new { example_id = $"test_{i:D5}", split = "test", image_file = Image(i), description = $" {caption}\n" })),
        ];
        AssertSameRecall(Run(Protocol.Docci, Save("docci/docci_descriptions.jsonlines", string.Join('\n', lines)), Images));
    }

    [Test]
    public void Long_dci()
    {
        string file = Save("dci/dci_long.csv", "filepath\ttitle\n" + string.Concat(_captions.Select((caption, i) => $"{Image(i)}\t\"{caption}\"\n")));
        JsonObject result = Run(Protocol.LongDci, Path.GetDirectoryName(file)!, Images);
        AssertSameRecall(result);
        Assert.That(((int)result["images"]!, (int)result["texts"]!, (int)result["truncated_captions"]!), Is.EqualTo((Scenes, Scenes, 0)));
    }

    [Test]
    public void Any_pairs_with_columns_of_any_name()
    {
        string file = Save("own/pairs.csv", "picture,words\n" + string.Concat(_captions.Select((caption, i) => $"{Image(i)},\"{caption}\"\n")));
        HimoCall call = HimoCall.Run("eval", "--checkpoint", _scenes.Checkpoint, "--protocol", "pairs", "--data", file, "--images", Images, "--image-column", "picture", "--caption-column", "words", "--json");
        Assert.That(call.Code, Is.Zero, call.Error);
        JsonObject result = JsonNode.Parse(call.Output)!.AsObject();
        AssertSameRecall(result);
        string[] Texts(JsonObject json) => [.. json["failures"]!.AsArray().Select(failure => $"{failure!["rank"]} {failure["text"]} {Path.GetFileName((string)failure["image"]!)} {Path.GetFileName((string)failure["first"]!["image"]!)}")];
        Assert.That(Texts(result), Is.Not.Empty.And.EqualTo(Texts(_expected)), "and the same failures");

        // A page of it and of another set by the same model.
        foreach ((string set, JsonObject measured) in new[] { ("pairs", result), ("growing", _expected) })
        {
            measured["checkpoint"] = "mine.pt";
            Save($"page/{set}/eval.json", measured.ToJsonString());
        }

        string page = Path.Combine(_scenes.Folder, "page.html");
        call = HimoCall.Run("report", Path.Combine(_scenes.Folder, "page", "pairs"), Path.Combine(_scenes.Folder, "page", "growing"), "--out", page);
        Assert.That((call.Code, call.Error), Is.EqualTo((0, "")));
        Assert.That(File.ReadAllText(page), Does.Contain(">mine, pairs</th>").And.Contain(">mine, growing</th>").And.Contain("<th scope=\"row\">text to image</th>"));
    }

    [Test]
    public void Coco_takes_the_first_five_captions_in_file_order()
    {
        object[] images = [.. Enumerable.Range(0, Scenes).Reverse().Select(i => new { id = i, file_name = Image(i) })];
        object[] annotations = [.. Enumerable.Range(0, 6 * Scenes).Select(i => new { image_id = i % Scenes, id = i, caption = i / Scenes == 5 ? "a sixth one" : _captions[i % Scenes] })];
        string file = Save("coco/captions_val2017.json", JsonSerializer.Serialize(new { images, annotations }));
        RetrievalSet set = RetrievalSets.Load(Protocol.Coco, file, Images);
        Assert.Multiple(() =>
        {
            Assert.That(set.Images.Select(Path.GetFileName), Is.EqualTo(Enumerable.Range(0, Scenes).Select(Image)), "by id");
            Assert.That(set.Captions, Is.EqualTo(_captions.SelectMany(caption => Enumerable.Repeat(caption, 5))));
            Assert.That(set.PerImage, Is.EqualTo(5));
            Assert.That(set.RgbFirst, "as the authors");
        });
        AssertSameRecall(Run(Protocol.Coco, file, Images));
    }

    [Test]
    public void Karpathys_test_split()
    {
        object[] images =
        [
            new { filepath = "", filename = "none.png", split = "restval", sentences = new[] { new { raw = "of no test" } } },
            .. Enumerable.Range(0, Scenes).Select(i => new { filepath = "images", filename = Image(i), split = "test", sentences = Enumerable.Range(0, 6).Select(k => new { raw = k == 5 ? "a sixth one" : _captions[i] }) }),
        ];
        AssertSameRecall(Run(Protocol.Karpathy, Save("karpathy/dataset_coco.json", JsonSerializer.Serialize(new { images })), Path.GetDirectoryName(Images)));
    }

    [Test]
    public void Flickr30k()
    {
        string file = Save("flickr/results_20130124.token", string.Concat(Enumerable.Range(0, 5 * Scenes).Select(i => $"{Image(i / 5)}#{i % 5}\t{_captions[i / 5]}\n")));
        AssertSameRecall(Run(Protocol.Flickr30k, file, Images));

        // Kaggle's copy, with its one malformed line.
        string[] lines = [.. Enumerable.Range(0, 5 * Scenes).Select(i => i == 7 ? $"{Image(1)}| 2   {_captions[1]}" : $"{Image(i / 5)}| {i % 5}| {_captions[i / 5]}")];
        RetrievalSet kaggle = RetrievalSets.Load(Protocol.Flickr30k, Save("kaggle/results.csv", "image_name| comment_number| comment\n" + string.Join('\n', lines)), Images), token = RetrievalSets.Load(Protocol.Flickr30k, file, Images);
        Assert.That((kaggle.Images, kaggle.Captions), Is.EqualTo((token.Images, token.Captions)));
    }

    [Test]
    public void HiMo_docci_skips_and_counts_missing_and_broken_images()
    {
        string lines = File.ReadAllText(Path.Combine(_scenes.Data, "eval", "captions.jsonl"));
        string file = Save("himo/himo_docci_data.json", lines + "{\"img_path\":\"none.jpg\",\"caption\":[\"a .\"]}\n{\"img_path\":\"../../../model.safetensors\",\"caption\":[\"a .\"]}\n");
        JsonObject result = Run(Protocol.HimoDocci, file, Images);
        Assert.Multiple(() =>
        {
            foreach (string measure in new[] { "himo@2", "himo@3", "himo@K" })
            {
                Assert.That((double)result[measure]!, Is.EqualTo((double)_expected["himo"]![measure]!).Within(1e-5), measure);
            }

            Assert.That(((int)result["images"]!, (int)result["skipped_images"]!), Is.EqualTo((Scenes, 2)));
            Assert.That(result["completeness"]!["similarity"]!.AsArray().Select(value => (double)value!), Is.EqualTo(_expected["completeness"]!["similarity"]!.AsArray().Select(value => (double)value!)).Within(1e-5), "the curve of figures 1 and 3");
            Assert.That((string?)result["examples"]![0]!["image"], Is.EqualTo(Image(0)), "and the pictures of 4 and 5");
            Assert.That(() => Run(Protocol.HimoDocci, file, "/nowhere"), Throws.TypeOf<UserError>().With.Message.Contains("--images"));
        });
    }

    [Test]
    public void Cola()
    {
        string[][] pairs = [.. Enumerable.Range(0, Scenes / 2).Select(i => new[] { $"https://a.b/c/{Image(2 * i)}", _captions[2 * i], $"https://a.b/c/{Image((2 * i) + 1)}", _captions[(2 * i) + 1] })];
        JsonObject result = Run(Protocol.Cola, Save("cola/x.json", JsonSerializer.Serialize(pairs)), Images);
        Assert.Multiple(() =>
        {
            Assert.That((int)result["pairs"]!, Is.EqualTo(Scenes / 2));
            Assert.That((double)result["accuracy"]!, Is.InRange(0, 1));

            // s(first image, first caption), s(first, second), s(second, first), s(second, second)
            Assert.That(ProtocolEvaluation.ColaAccuracy([3, 1, 2, 2]), Is.EqualTo(1), "each caption prefers its own image");
            Assert.That(ProtocolEvaluation.ColaAccuracy([3, 2, 2, 2]), Is.Zero, "equal is not preferred");
            Assert.That(ProtocolEvaluation.ColaAccuracy([2, 1, 3, 4]), Is.Zero, "the first caption prefers the second image");
            Assert.That(ProtocolEvaluation.ColaAccuracy([3, 1, 2, 2, 0, 0, 0, 0]), Is.EqualTo(0.5));
        });
    }

    [Test]
    public void The_program_prints_a_table_of_a_protocol()
    {
        string file = Save("dci2/dci_long.csv", "filepath\ttitle\n" + string.Concat(_captions.Select((caption, i) => $"{Image(i)}\t{caption}\n")));
        StringWriter output = new();
        int code = CommandRunner.Run(["eval", "--checkpoint", _scenes.Checkpoint, "--data", file, "--protocol", "long-dci", "--images", Images], output, new StringWriter());
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.Zero);
            Assert.That(output.ToString(), Does.Match(@"image to text R@1, %\s+\d+\.\d\s+\d+\.\d to \d+\.\d").And.Contain("text to image median rank"));
        });
    }

    [TestCase("sharegpt4v", "[]", "holds no caption")]
    [TestCase("karpathy", "{}", "has no list images")]
    [TestCase("karpathy", "{\"images\":[]}", "no image of the split 'test'")]
    [TestCase("karpathy", "{\"images\":[{\"split\":\"test\",\"filename\":\"a.png\",\"sentences\":[{\"raw\":\"x\"}]}]}", "a.png has 1 sentences")]
    [TestCase("docci", "{\"split\":\"test\",\"description\":\"x\"}", "line 1 has no image_file")]
    [TestCase("docci", "{\"split\":\"test\",\"image_file\":\"x\"}", "line 1 has no description")]
    [TestCase("docci", "{\"split\"", "line 1: is no JSON")]
    [TestCase("docci", "{\"split\":\"train\",\"image_file\":\"x\",\"description\":\"x\"}", "holds no caption")]
    [TestCase("long-dci", "path,title\n", "no column 'filepath'")]
    [TestCase("coco", "[]", "no lists images and annotations")]
    [TestCase("coco", "{\"images\":[{\"id\":1}],\"annotations\":[]}", "no file_name")]
    [TestCase("coco", "{\"images\":[{\"file_name\":\"x\"}],\"annotations\":[]}", "no whole number 'id'")]
    [TestCase("coco", "{\"images\":[],\"annotations\":[]}", "lists no image")]
    [TestCase("coco", "{\"images\":[{\"id\":0,\"file_name\":\"x\"}],\"annotations\":[]}", "image 0 has 0 captions")]
    [TestCase("coco", "{\"images\":[],\"annotations\":[{\"image_id\":3,\"caption\":\"x\"}]}", "image 3, which is not listed")]
    [TestCase("coco", "{\"images\":", "is damaged")]
    [TestCase("flickr30k", "a.jpg#0\tx\na.jpg#2\ty\n", "line 2 is not caption 1")]
    [TestCase("flickr30k", "a.jpg#0\tx\nb.jpg#1\ty\n", "line 2 is not caption 1")]
    [TestCase("flickr30k", "a.jpg#0 x\n", "line 1 is not caption 0")]
    [TestCase("flickr30k", "a.jpg#0\tx\n", "truncated")]
    [TestCase("flickr30k", "", "truncated")]
    [TestCase("himo-docci", "{}", "line 1: needs img_path")]
    [TestCase("cola", "[[\"a\",\"b\",\"c\"]]", "entry 0 is not")]
    [TestCase("cola", "{}", "no array of quadruples")]
    [TestCase("cola", "[]", "holds no pair")]
    [TestCase("long-dci", "filepath\ttitle\nnone.png\ta circle .\n", "none.png: cannot be read")]
    public void Bad_files_are_refused(string protocol, string content, string reason)
    {
        string file = Save("bad/x.json", content);
        StringWriter output = new();
        StringWriter error = new();
        int code = CommandRunner.Run(["eval", "--checkpoint", _scenes.Checkpoint, "--data", file, "--protocol", protocol], output, error);
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(error.ToString(), Does.Contain(reason));
            Assert.That(error.ToString().TrimEnd(), Does.Not.Contain("\n"));
            Assert.That(output.ToString(), Is.Empty);
        });
    }

    [Test]
    public void Missing_folders_are_named() => Assert.Multiple(() =>
    {
        Assert.That(() => RetrievalSets.Load(Protocol.Urban1k, "/nowhere", null), Throws.TypeOf<UserError>().With.Message.Contains("/nowhere"));
        Assert.That(() => RetrievalSets.Load(Protocol.Coco, _scenes.Folder, null), Throws.TypeOf<UserError>().With.Message.Contains("captions_val2017.json"));
    });

    private static string Image(int index) => $"{index:D6}.png";

    private JsonObject Run(Protocol protocol, string path, string? images) =>
        EvalCommand.Run(_scenes.Checkpoint, path, null, null, CancellationToken.None, protocol, images);

    private void AssertSameRecall(JsonObject result) => Assert.Multiple(() =>
    {
        foreach (string key in new[] { "image_to_text_R@1", "image_to_text_R@5", "image_to_text_R@10", "text_to_image_R@1", "text_to_image_R@5", "text_to_image_R@10" })
        {
            bool five = (int)result["texts"]! == 5 * Scenes && key is "image_to_text_R@5" or "image_to_text_R@10";
            Assert.That((double)result[key]!, five ? Is.LessThanOrEqualTo(1) : Is.EqualTo((double)_expected["retrieval"]!["full"]![key]!), key);
        }
    });

    private string Save(string name, string content) => _scenes.Save(name, content);
}
