// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using System.Xml.Linq;
using HiMo.Trainer;
using NUnit.Framework;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>Every benchmark on tiny sizes, in this process: what it prints, not how fast it is.</summary>
internal sealed class BenchmarkCommandTests
{
    [Test]
    public void Hide_compares_before_it_times()
    {
        JsonNode json = Json("hide", "--groups", "3", "--n", "12", "--dim", "20", "--threads", "2", "--seconds", "0");
        Assert.That(Column(json, "form"), Is.EqualTo(new[] { "fused, batched", "plain loop, SVD", "plain loop, eigh" }));
        Assert.That(Numbers(json, "min_ms"), Is.All.GreaterThan(0.0));
        Assert.That(Numbers(json, "ratio")[0], Is.EqualTo(1.0));
    }

    [Test]
    public void Threads_leave_libtorch_out_where_there_are_more_than_processors()
    {
        int many = 2 * Environment.ProcessorCount;
        JsonNode json = Json("threads", "--sizes", "12,20,24,16", "--threads", $"1,{many}", "--seconds", "0");
        Assert.That(Column(json, "threads"), Is.EqualTo(new[] { "1", $"{many}", "1", $"{many}" }));
        Assert.That(Numbers(json, "fused_ms"), Is.All.GreaterThan(0.0));
        Assert.That(json["rows"]!.AsArray().Select(row => row!["eigh_ms"] is null), Is.EqualTo(new[] { false, true, false, true }));
    }

    [Test]
    public void Roofline_has_every_operator_below_the_machines_rate()
    {
        JsonNode json = Json("roofline", "--sizes", "24,40,40,24", "--threads", "1", "--seconds", "0");
        Assert.That(json["rows"]!.AsArray(), Has.Count.EqualTo(20));
        Assert.That(Column(json, "op"), Does.Contain("eigensystem").And.Contain("whole step"));
        Assert.That(Numbers(json, "ms"), Is.All.GreaterThan(0.0));
        foreach (JsonNode? row in json["rows"]!.AsArray())
        {
            Assert.That((double)row!["gflops"]!, Is.EqualTo((double)row["mflop"]! / (double)row["ms"]!).Within(1).Percent);
            Assert.That((double)row["share"]!, Is.EqualTo((double)row["gflops"]! / (double)row["limit_gflops"]!).Within(1).Percent);
        }
    }

    [Test]
    public void Scale_measures_every_form_and_fits_exponents()
    {
        JsonNode json = Json("scale", "--in-process", "--sizes", "20,40,80", "--dim", "16", "--plain-up-to", "40", "--threads", "1");
        Assert.That(Column(json, "form"), Is.EqualTo(new[] { "fused", "fused", "fused", "svd", "svd", "eigh", "eigh" }));
        Assert.That(Numbers(json, "seconds"), Is.All.GreaterThan(0.0));
        Assert.That((double)json["fused_time_exponent"]!, Is.Not.NaN);
    }

    [Test]
    public void Scale_gives_every_size_a_process_of_its_own()
    {
        JsonNode json = Json("scale", "--sizes", "2048", "--dim", "64", "--plain-up-to", "0", "--threads", "2");
        Assert.That(Column(json, "form"), Is.EqualTo(new[] { "fused" }));

        // Five matrices of N x d, two of N x m, two tiles of 4 MiB.
        Assert.That(Numbers(json, "peak_mib")[0], Is.InRange(4.0, 64.0));
    }

    [Test]
    public void Accuracy_is_no_worse_than_twice_the_better_plain_form()
    {
        JsonNode json = Json("accuracy", "--spectra", "16", "--golden", "no-such-folder");
        Assert.That(Column(json, "family").Distinct(), Is.SupersetOf(new[] { "power law", "flat", "clustered" }));
        foreach (JsonNode? row in json["rows"]!.AsArray())
        {
            Assert.That(row!["fused_max"], Is.Not.Null, $"{row}");
            if (!((string)row["family"]!).StartsWith("near-tie", StringComparison.Ordinal))
            {
                Expect.AtMost((double)row["fused_max"]!, 2e-4, $"{row["family"]}, {row["quantity"]}");
            }
        }
    }

    [Test]
    public void Accuracy_reads_the_stored_batches()
    {
        JsonNode json = Json("accuracy", "--spectra", "4", "--golden", TestData.Get("golden", "loss"), "--max-rows", "8");
        Assert.That(Column(json, "family"), Does.Contain("golden").And.Contain("golden, degenerate"));
        Assert.That((int)json["not_finite"]!, Is.Positive, "repeated eigenvalues");
        Assert.That(json["rows"]!.AsArray().Select(row => row!["fused_max"]), Is.All.Not.Null);
    }

    [Test]
    public void Chart_shows_every_size_of_the_table()
    {
        string folder = Directory.CreateTempSubdirectory("himo-chart-").FullName;
        try
        {
            string results = Path.Combine(folder, "loss.json"), chart = Path.Combine(folder, "loss.svg");
            JsonArray rows = [];
            foreach ((int n, double svd) in new[] { (128, 7.0), (4096, 0.5) })
            {
                rows.Add(new JsonObject
                {
                    ["n"] = n, ["dim"] = 512, ["m"] = 83, ["threads"] = 2, ["cpu"] = "A & B", ["fma_gflops"] = 233.0, ["mkl_gflops"] = 200.0,
                    ["fused_min_ms"] = 1.0, ["plain_min_ms"] = svd, ["plain_eigh_min_ms"] = 2.0,
                });
            }

            File.WriteAllText(results, rows.ToJsonString());
            _ = Run("chart", "--results", results, "--out", chart);
            string[] texts = [.. XDocument.Load(chart).Descendants().Where(element => element.Name.LocalName == "text").Select(element => element.Value)];
            Assert.That(texts, Has.Some.Contains("A & B").And.Some.Contains("128 x 512").And.Some.Contains("4096 x 512"));
            Assert.That(texts, Has.Some.Contains("7.00 ms (7.0x)").And.Some.Contains("0.50 ms (0.5x)"), "a form that is faster than the fused one stays in");
            File.WriteAllText(results, "[]");
            using StringWriter output = new(), error = new();
            Assert.That(CommandRunner.Run(["bench", "chart", "--results", results, "--out", chart], output, error), Is.EqualTo(1));
            Assert.That(error.ToString(), Does.Contain("bench table --json"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [TestCase("scale", "--sizes", "1")]
    [TestCase("threads", "--threads", "0")]
    [TestCase("hide", "--groups", "0")]
    [TestCase("roofline", "--sizes", "12,x")]
    [TestCase("accuracy", "--spectra", "1")]
    public void A_value_out_of_range_is_named(string command, string option, string value)
    {
        using StringWriter output = new(), error = new();
        Assert.That(CommandRunner.Run(["bench", command, option, value], output, error), Is.EqualTo(1));
        Assert.That(error.ToString(), Does.Contain(option).And.Contain(value));
    }

    private static JsonNode Json(params string[] call) => JsonNode.Parse(Run([.. call, "--json"]))!;

    private static string Run(params string[] call)
    {
        using StringWriter output = new(), error = new();
        int threads = get_num_threads();
        int code = CommandRunner.Run(["bench", .. call], output, error);
        set_num_threads(threads);
        Assert.That(code, Is.Zero, error.ToString());
        return output.ToString();
    }

    private static string[] Column(JsonNode json, string key) => [.. json["rows"]!.AsArray().Select(row => row![key]!.ToString())];

    private static double[] Numbers(JsonNode json, string key) => [.. json["rows"]!.AsArray().Select(row => (double)row![key]!)];
}
