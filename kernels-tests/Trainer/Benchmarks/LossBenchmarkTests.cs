// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class LossBenchmarkTests
{
    private static readonly string[] s_forms = ["fused", "plain", "plain_eigh", "fused_stopped", "plain_stopped"];

    [TestCase(128, 512, 83)]
    [TestCase(128, 768, 87)]
    [TestCase(256, 512, 114)]
    [TestCase(1024, 512, 192)]
    [TestCase(1024, 768, 238)]
    [TestCase(4096, 768, 307)]
    public void Features_keep_as_many_components_as_real_captions(int rows, int columns, int expected)
    {
        using DisposeScope scope = NewDisposeScope();
        using MoLoLoss loss = new();
        loss.Warning += _ => { };
        (Tensor images, Tensor texts) = PowerLawFeatures.Create(rows, columns, seed: 1);
        using IDisposable constant = no_grad();
        Assert.That(double.IsFinite(loss.forward(images, texts, tensor(2.6593f)).item<float>()));
        Assert.That(loss.LastResult.M, Is.EqualTo(expected).Within(10).Percent);
    }

    [TestCase(12, 20)]
    [TestCase(20, 12)]
    public void Json_holds_every_field_of_the_contract(int rows, int columns)
    {
        using StringWriter output = new(), error = new();
        int threads = get_num_threads();
        string[] call = ["bench", "loss", "--n", $"{rows}", "--dim", $"{columns}", "--threads", "1", "--repeats", "4", "--seed", "7", "--json"];
        int code = CommandRunner.Run(call, output, error);
        set_num_threads(threads);
        Assert.That(code, Is.Zero, error.ToString());
        Assert.That(error.ToString(), Does.Contain("seed 7"));
        JsonNode json = JsonNode.Parse(output.ToString())!;
        Assert.Multiple(() =>
        {
            Assert.That((int)json["n"]!, Is.EqualTo(rows));
            Assert.That((int)json["dim"]!, Is.EqualTo(columns));
            Assert.That((int)json["threads"]!, Is.EqualTo(1));
            Assert.That((int)json["m"]!, Is.InRange(1, Math.Min(rows - 1, columns)));
            foreach (string form in s_forms)
            {
                Assert.That((double)json[$"{form}_min_ms"]!, Is.GreaterThan(0).And.LessThanOrEqualTo((double)json[$"{form}_ms"]!), form);
            }

            CheckRatio(json, "ratio", "plain", "fused");
            CheckRatio(json, "ratio_eigh", "plain_eigh", "fused");
            CheckRatio(json, "ratio_stopped", "plain_stopped", "fused_stopped");
            Assert.That((string?)json["cpu"], Is.Not.Empty);
            Assert.That((double)json["fma_gflops"]!, Is.GreaterThan(0));
            Assert.That((double)json["mkl_gflops"]!, Is.GreaterThan(0));
        });
    }

    [TestCase("--n", "1")]
    [TestCase("--dim", "0")]
    [TestCase("--threads", "0")]
    [TestCase("--repeats", "-1")]
    public void A_value_out_of_range_is_named(string option, string value)
    {
        using StringWriter output = new(), error = new();
        Assert.That(CommandRunner.Run(["bench", "loss", option, value], output, error), Is.EqualTo(1));
        Assert.That(error.ToString(), Does.Contain(option).And.Contain(value));
    }

    /// <summary>Times are printed to a tenth of a microsecond, ratios to a thousandth.</summary>
    private static void CheckRatio(JsonNode json, string name, string plain, string fused)
    {
        double medians = (double)json[$"{plain}_ms"]! / (double)json[$"{fused}_ms"]!, minima = (double)json[$"{plain}_min_ms"]! / (double)json[$"{fused}_min_ms"]!;
        Assert.That((double)json[name]!, Is.EqualTo(medians).Within(1).Percent, name);
        Assert.That((double)json[$"{name}_min"]!, Is.EqualTo(minima).Within(1).Percent, name);
    }
}
