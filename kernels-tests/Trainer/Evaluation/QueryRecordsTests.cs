// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>What <c>eval --records</c> writes says the same as the measures.</summary>
public sealed class QueryRecordsTests
{
    private const int Scenes = 8;

    private SceneModel _scenes = null!;

    [OneTimeSetUp]
    public void MakeScenes() => _scenes = new SceneModel(Scenes, seed: 31);

    [OneTimeTearDown]
    public void DeleteScenes() => _scenes.Dispose();

    [Test]
    public void Retrieval_records_give_its_recalls()
    {
        List<GrowingCaption> captions = _scenes.Captions;
        string file = _scenes.Save("dci_long.csv", "filepath\ttitle\n" + string.Concat(captions.Select(caption => $"{Path.GetFileName(caption.ImagePath)}\t{caption.Captions[^1]}\n")));
        (JsonNode result, JsonNode[] records) = Run("long-dci", file, "--images", _scenes.Images);
        JsonNode[] images = records[..Scenes], texts = records[Scenes..];
        Assert.Multiple(() =>
        {
            Assert.That(records, Has.Length.EqualTo(2 * Scenes));
            Assert.That(images.Select(record => (string)record["query"]!["image"]!), Is.EqualTo(captions.Select(caption => caption.ImagePath)));
            Assert.That(texts.Select(record => (string)record["query"]!["text"]!), Is.EqualTo(captions.Select(caption => caption.Captions[^1])));
            Assert.That(images.Select(record => (string)record["answer"]!["text"]!), Is.EqualTo(captions.Select(caption => caption.Captions[^1])));
            foreach (int k in new[] { 1, 5 })
            {
                Assert.That(images.Average(record => (int)record["rank"]! <= k ? 1.0 : 0.0), Is.EqualTo((double)result[$"image_to_text_R@{k}"]!));
                Assert.That(texts.Average(record => (int)record["rank"]! <= k ? 1.0 : 0.0), Is.EqualTo((double)result[$"text_to_image_R@{k}"]!));
            }

            foreach (JsonNode record in records)
            {
                double[] scores = [.. record["best"]!.AsArray().Select(candidate => (double)candidate!["score"]!)];
                Assert.That(scores, Has.Length.EqualTo(QueryRecords.Kept).And.Ordered.Descending);
                int rank = (int)record["rank"]!;
                Assert.That(rank > QueryRecords.Kept || scores[rank - 1] == (double)record["answer"]!["score"]!, "the answer stands at its rank");
            }
        });
    }

    [TestCase("growing")]
    [TestCase("himo-docci")]
    public void Growing_records_give_HiMo_at_K(string protocol)
    {
        (JsonNode result, JsonNode[] records) = Run(protocol, _scenes.Data);
        double expected = (double)(result["himo"] ?? result)["himo@K"]!;
        Assert.That(records.Average(record => (double)record["himo@K"]!), Is.EqualTo(expected).Within(1e-12));
        Assert.That(records.Select(record => record["captions"]!.AsArray().Count), Is.EqualTo(_scenes.Captions.Select(caption => caption.Captions.Length)));
    }

    [Test]
    public void Cola_records_give_its_accuracy()
    {
        List<GrowingCaption> captions = _scenes.Captions;
        string[][] pairs = [.. Enumerable.Range(0, Scenes / 2).Select(i => new[] { captions[2 * i], captions[(2 * i) + 1] }.SelectMany(caption => new[] { Path.GetFileName(caption.ImagePath), caption.Captions[^1] }).ToArray())];
        (JsonNode result, JsonNode[] records) = Run("cola", _scenes.Save("cola.json", JsonSerializer.Serialize(pairs)), "--images", _scenes.Images);
        Assert.That(records.Average(record => (bool)record["right"]! ? 1.0 : 0.0), Is.EqualTo((double)result["accuracy"]!));
    }

    [Test]
    public void Float16_gives_scores_that_it_can_hold()
    {
        List<GrowingCaption> captions = _scenes.Captions;
        string file = _scenes.Save("dci_long.csv", "filepath\ttitle\n" + string.Concat(captions.Select(caption => $"{Path.GetFileName(caption.ImagePath)}\t{caption.Captions[^1]}\n")));
        (_, JsonNode[] full) = Run("long-dci", file, "--images", _scenes.Images);
        (JsonNode result, JsonNode[] half) = Run("long-dci", file, "--images", _scenes.Images, "--parity", "f16");
        float[] fullScores = [.. full.Select(record => (float)record["answer"]!["score"]!)], halfScores = [.. half.Select(record => (float)record["answer"]!["score"]!)];
        Assert.Multiple(() =>
        {
            Assert.That(halfScores, Is.EqualTo(halfScores.Select(score => (float)(Half)score)), "float16 values");
            Assert.That(fullScores, Is.Not.EqualTo(fullScores.Select(score => (float)(Half)score)));
            Assert.That(halfScores, Is.EqualTo(fullScores).Within(4e-3f), "a few roundings of 2^-11 away");
            Assert.That((string)result["parity"]!, Is.EqualTo("f16"));
            Assert.That(HimoCall.Run("eval", "--checkpoint", _scenes.Checkpoint, "--data", _scenes.Data, "--parity", "f16").Error, Does.Contain("growing is no protocol of the authors"));
        });
    }

    [Test]
    public void Nothing_is_written_where_the_evaluation_fails()
    {
        string records = Path.Combine(_scenes.Folder, "failed.jsonl");
        HimoCall call = HimoCall.Run("eval", "--checkpoint", _scenes.Checkpoint, "--protocol", "coco", "--data", _scenes.Data, "--records", records);
        Assert.That((call.Code, File.Exists(records), Directory.GetFiles(_scenes.Folder, "*.tmp").Length), Is.EqualTo((1, false, 0)));
    }

    [TestCase(new[] { 1f, 3f, 2f }, 2, new[] { 1, 2 })]
    [TestCase(new[] { 1f, 3f, 3f, 3f }, 2, new[] { 1, 2 })]
    [TestCase(new[] { 1f, 2f }, 5, new[] { 1, 0 })]
    [TestCase(new[] { 1f }, 0, new int[0])]
    [TestCase(new float[0], 3, new int[0])]
    public void The_highest_scores_stand_first_and_equal_ones_in_order(float[] scores, int count, int[] expected) =>
        Assert.That(QueryHits.Highest(scores, count), Is.EqualTo(expected));

    private (JsonNode Result, JsonNode[] Records) Run(string protocol, string data, params string[] more)
    {
        string records = Path.Combine(_scenes.Folder, "records.jsonl");
        HimoCall call = HimoCall.Run(["eval", "--checkpoint", _scenes.Checkpoint, "--protocol", protocol, "--data", data, .. more, "--records", records, "--json"]);
        Assert.That(call.Code, Is.Zero, call.Error);
        return (JsonNode.Parse(call.Output)!, [.. File.ReadLines(records).Select(line => JsonNode.Parse(line)!)]);
    }
}
