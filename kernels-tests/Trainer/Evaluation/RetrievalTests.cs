// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Recall against the authors' scripts and against ranks for every tie rule.</summary>
public sealed class RetrievalTests
{
    [TestCase("one2one")]
    [TestCase("one2one_ties")]
    public void Golden_ranks_with_ties_to_the_lower_index(string name)
    {
        NpyArray<float> similarity = Read<float>($"{name}.npy");
        int n = similarity.Shape[0];
        long[] rows = [.. Enumerable.Range(0, n).Select(i => (long)Ranks.Of<float>(similarity.Elements.AsSpan(i * n, n), i))];
        long[] columns = [.. Enumerable.Range(0, n).Select(j => (long)Ranks.Of<float>([.. Enumerable.Range(0, n).Select(i => similarity.Elements[(i * n) + j])], j))];
        Assert.Multiple(() =>
        {
            Assert.That(rows, Is.EqualTo(Read<long>($"{name}.i2t_rank_first.npy").Elements));
            Assert.That(columns, Is.EqualTo(Read<long>($"{name}.t2i_rank_first.npy").Elements));
        });
    }

    [TestCase("one2one", "i2t_lower_index_first", "t2i_lower_index_first")]
    [TestCase("one2one_ties", "i2t_lower_index_first", "t2i_lower_index_first")]
    [TestCase("five", "i2t_optimistic", "t2i_optimistic")] // without ties every rule gives the same
    public void Golden_recalls(string name, string imageRule, string textRule)
    {
        NpyArray<float> similarity = Read<float>($"{name}.npy");
        Retrieval retrieval = Retrieval.Measure<float>(similarity.Elements, similarity.Shape[0], similarity.Shape[1]);
        JsonElement results = Results().GetProperty(name);
        Assert.Multiple(() =>
        {
            AssertRecall(retrieval.ImageToText, results.GetProperty(imageRule));
            AssertRecall(retrieval.TextToImage, results.GetProperty(textRule));
            if (name == "five")
            {
                Assert.That(retrieval.ImageToText.At5, Is.EqualTo(results.GetProperty("coco_script").GetProperty("i2t_R@5").GetDouble()));
                Assert.That(retrieval.TextToImage.At10, Is.EqualTo(results.GetProperty("coco_script").GetProperty("t2i_R@10").GetDouble()));
            }
        });
    }

    [Test]
    public void Ties_among_five_captions_stay_within_the_bounds_of_every_rule()
    {
        NpyArray<float> similarity = Read<float>("five_ties.npy");
        Retrieval retrieval = Retrieval.Measure<float>(similarity.Elements, similarity.Shape[0], similarity.Shape[1]);
        JsonElement results = Results().GetProperty("five_ties");
        Assert.Multiple(() =>
        {
            Within(retrieval.ImageToText, "i2t");
            Within(retrieval.TextToImage, "t2i");
            Assert.That(retrieval.TiedQueries, Is.GreaterThan(0));
        });

        void Within(RecallResult recall, string direction)
        {
            foreach ((double value, string key) in new[] { (recall.At1, "R@1"), (recall.At5, "R@5"), (recall.At10, "R@10") })
            {
                Assert.That(value, Is.InRange(results.GetProperty($"{direction}_pessimistic").GetProperty(key).GetDouble(), results.GetProperty($"{direction}_optimistic").GetProperty(key).GetDouble()));
            }
        }
    }

    [Test]
    public void A_case_by_hand()
    {
        // Image 0 finds its text, image 1 ties with an earlier one, image 2 is second.
        Retrieval retrieval = Retrieval.Measure<double>(new[] { 3.0, 1, 2, 5, 5, 4, 1, 9, 8 }, 3, 3);
        Assert.Multiple(() =>
        {
            Assert.That(retrieval.ImageToText, Is.EqualTo(new RecallResult(1 / 3.0, 1, 1, 5 / 3.0, 2)));
            Assert.That(retrieval.TextToImage, Is.EqualTo(new RecallResult(1 / 3.0, 1, 1, 5 / 3.0, 2))); // columns: 3 5 1 (second), 1 5 9 (second), 2 4 8 (first)
            Assert.That(retrieval.TiedQueries, Is.EqualTo(1));
            Assert.That(retrieval.ToJson().Select(pair => pair.Key), Is.EqualTo(new[]
            {
                "image_to_text_R@1", "image_to_text_R@5", "image_to_text_R@10", "text_to_image_R@1", "text_to_image_R@5", "text_to_image_R@10",
            }));
        });
    }

    [Test]
    public void Bad_similarities_are_refused() => Assert.Multiple(() =>
    {
        Assert.That(() => Retrieval.Measure<float>(new float[6], 2, 2), Throws.ArgumentException.With.Message.Contains("there are 6"));
        Assert.That(() => Retrieval.Measure<float>(new float[6], 4, 6), Throws.ArgumentException);
        Assert.That(() => Retrieval.Measure<float>(Array.Empty<float>(), 0, 0), Throws.ArgumentException);
        Assert.That(() => Retrieval.Measure<float>(new[] { 1, 2, 3, float.NaN }, 2, 2), Throws.ArgumentException.With.Message.Contains("row 1, column 1"));
    });

    [TestCase("one2one")]
    [TestCase("one2one_ties")]
    public void The_command_gives_the_golden_recalls(string name)
    {
        (int code, JsonObject json) = RunJson("metrics", "retrieval", "--similarity", TestData.Get("golden", "metrics", "recall", $"{name}.npy"));
        JsonElement results = Results().GetProperty(name);
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.Zero);
            Assert.That(json, Has.Count.EqualTo(6));
            foreach (string key in new[] { "R@1", "R@5", "R@10" })
            {
                Assert.That((double)json[$"image_to_text_{key}"]!, Is.EqualTo(results.GetProperty("i2t_lower_index_first").GetProperty(key).GetDouble()));
                Assert.That((double)json[$"text_to_image_{key}"]!, Is.EqualTo(results.GetProperty("t2i_lower_index_first").GetProperty(key).GetDouble()));
            }
        });
    }

    internal static (int Code, JsonObject Json) RunJson(params string[] arguments)
    {
        StringWriter output = new();
        StringWriter error = new();
        int code = CommandRunner.Run(arguments, output, error);
        Assert.That(error.ToString(), Is.Empty);
        return (code, JsonNode.Parse(output.ToString())!.AsObject());
    }

    private static void AssertRecall(RecallResult actual, JsonElement expected)
    {
        Assert.That(actual.At1, Is.EqualTo(expected.GetProperty("R@1").GetDouble()));
        Assert.That(actual.At5, Is.EqualTo(expected.GetProperty("R@5").GetDouble()));
        Assert.That(actual.At10, Is.EqualTo(expected.GetProperty("R@10").GetDouble()));
    }

    private static NpyArray<T> Read<T>(string file)
        where T : unmanaged, System.Numerics.INumber<T> => NpyFile.Read<T>(TestData.Get("golden", "metrics", "recall", file));

    private static JsonElement Results() =>
        JsonDocument.Parse(File.ReadAllText(TestData.Get("golden", "metrics", "recall", "manifest.json"))).RootElement.GetProperty("results");
}
