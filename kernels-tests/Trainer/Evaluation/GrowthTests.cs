// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>HiMo@2, HiMo@3, HiMo@K and the segments against the authors' numbers.</summary>
public sealed class GrowthTests
{
    [TestCase(2)]
    [TestCase(3)]
    public void Golden_strictly_rising_rows(int captions)
    {
        long[] rising = [.. Rows(captions).Select(row => Growth.IsStrictlyRising(row) ? 1L : 0L)];
        Assert.That(rising, Is.EqualTo(Read<long>($"himo{captions}_ok.npy").Elements));
    }

    [TestCase(4)]
    [TestCase(5)]
    [TestCase(7)]
    public void Golden_correlations(int captions)
    {
        double[] correlations = [.. Rows(captions).Select(row => Growth.Pearson(row))];
        Assert.That(correlations, Is.EqualTo(Read<double>($"himo{captions}_pearson.npy").Elements).Within(1e-14)); // sums of up to 7 terms near 1 in another order
    }

    [Test]
    public void Golden_correlations_of_captions_of_any_number()
    {
        double[] scores = Read<double>("himok_sims.npy").Elements;
        long[] lengths = Read<long>("himok_lengths.npy").Elements;
        List<double> correlations = [];
        int start = 0;
        foreach (int length in lengths)
        {
            correlations.Add(Growth.Pearson(scores.AsSpan(start, length)));
            start += length;
        }

        Assert.Multiple(() =>
        {
            Assert.That(correlations, Is.EqualTo(Read<double>("himok_pearson.npy").Elements).Within(1e-14));
            Assert.That(correlations.Average(), Is.EqualTo(Results().GetProperty("himo@K").GetDouble()).Within(1e-14));
        });
    }

    [TestCase(0.3f)]
    [TestCase(0.1f)]
    [TestCase(0.7f)]
    public void Constant_scores_have_no_trend(float value)
    {
        for (int length = 1; length < 12; length++)
        {
            Assert.That(Growth.Pearson([.. Enumerable.Repeat((double)value, length)]), Is.Zero, $"{length} captions");
        }
    }

    [Test]
    public void Golden_segments()
    {
        using JsonDocument manifest = JsonDocument.Parse(File.ReadAllText(TestData.Get("golden", "metrics", "segments", "manifest.json")));
        Assert.Multiple(() =>
        {
            foreach (JsonElement row in manifest.RootElement.GetProperty("table").EnumerateArray())
            {
                int n = row.GetProperty("n").GetInt32();
                int groups = row.GetProperty("K").GetInt32();
                Assert.That(Segments.Sizes(n, groups), Is.EqualTo(row.GetProperty("sizes").EnumerateArray().Select(size => size.GetInt32())), $"{n} sentences in {groups}");
            }

            JsonElement example = manifest.RootElement.GetProperty("example");
            string[] sentences = [.. example.GetProperty("sentences").EnumerateArray().Select(sentence => sentence.GetString()!)];
            string[] captions = [.. example.GetProperty("cumulative_subtexts").EnumerateArray().Select(caption => caption.GetString()!)];
            Assert.That(Segments.Captions(sentences, example.GetProperty("K").GetInt32()), Is.EqualTo(captions));
            Assert.That(Segments.Captions(Sentences.Split(captions[^1]), 3), Is.EqualTo(captions), "the splitter finds the same sentences");
        });
    }

    [TestCase(1, 2)]
    [TestCase(3, 0)]
    public void Too_few_sentences_are_refused(int sentences, int groups) => Assert.That(() => Segments.Sizes(sentences, groups), Throws.TypeOf<ArgumentOutOfRangeException>());

    [TestCase(2)]
    [TestCase(3)]
    [TestCase(5)]
    public void The_command_gives_the_golden_shares(int captions)
    {
        (int code, JsonObject json) = RetrievalTests.RunJson("metrics", "himo", "--scores", TestData.Get("golden", "metrics", "himo", $"himo{captions}_sims.npy"));
        JsonElement results = Results();
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.Zero);
            if (captions <= 3)
            {
                Assert.That(json.Select(pair => pair.Key), Is.EqualTo(new[] { $"himo@{captions}", "himo@K" }));
                Assert.That((double)json[$"himo@{captions}"]!, Is.EqualTo(results.GetProperty($"himo@{captions}").GetDouble()));
                Assert.That((double)json["himo@K"]!, Is.EqualTo(Rows(captions).Average(row => Growth.Pearson(row))));
            }
            else
            {
                Assert.That(json.Select(pair => pair.Key), Is.EqualTo(new[] { "himo@K" }));
                Assert.That((double)json["himo@K"]!, Is.EqualTo(results.GetProperty($"himo@{captions}_pearson").GetDouble()).Within(1e-14));
            }
        });
    }

    [TestCase("himo", "--scores", new[] { 4 }, "n x K")]
    [TestCase("himo", "--scores", new[] { 4, 1 }, "4 x 1")]
    [TestCase("himo", "--scores", new[] { 0, 3 }, "0 x 3")]
    [TestCase("retrieval", "--similarity", new[] { 2, 3 }, "2 x 3")]
    [TestCase("retrieval", "--similarity", new[] { 0, 0 }, "0 x 0")]
    [TestCase("retrieval", "--similarity", new[] { 2, 2 }, "row 0, column 1 is NaN")]
    [TestCase("himo", "--scores", new[] { 2, 2 }, "row 0, column 1 is NaN")]
    public void The_command_refuses_what_it_cannot_measure(string measure, string option, int[] shape, string reason)
    {
        string path = Path.Combine(Path.GetTempPath(), $"himo-{Guid.NewGuid():N}.npy");
        float[] values = new float[shape.Aggregate(1, (product, size) => product * size)];
        if (values.Length > 1)
        {
            values[1] = float.NaN;
        }

        try
        {
            NpyFile.Write<float>(path, values, shape);
            StringWriter output = new();
            StringWriter error = new();
            int code = CommandRunner.Run(["metrics", measure, option, path], output, error);
            Assert.Multiple(() =>
            {
                Assert.That(code, Is.EqualTo(1));
                Assert.That(output.ToString(), Is.Empty);
                Assert.That(error.ToString(), Does.StartWith($"himo: {path}: ").And.Contain(reason));
            });
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static double[][] Rows(int captions) => [.. Read<double>($"himo{captions}_sims.npy").Elements.Chunk(captions)];

    private static NpyArray<T> Read<T>(string file)
        where T : unmanaged, System.Numerics.INumber<T> => NpyFile.Read<T>(TestData.Get("golden", "metrics", "himo", file));

    private static JsonElement Results() =>
        JsonDocument.Parse(File.ReadAllText(TestData.Get("golden", "metrics", "himo", "manifest.json"))).RootElement.GetProperty("results");
}
