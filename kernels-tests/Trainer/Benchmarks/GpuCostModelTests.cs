// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class GpuCostModelTests
{
    [Test]
    public void Launches_are_those_of_the_step_and_products_are_counted_by_their_sizes()
    {
        List<KernelCost> costs = new GpuCostModel(GpuModel.H200, kept: 57, groups: 1).Predict(new MatrixShape(128, 768), new MoLoOptions(), GpuPrecision.Strict);
        KernelCost gram = costs.Single(cost => cost.Kernel.Contains("GramLeft"));
        KernelCost eigen = costs.Single(cost => cost.Kernel.Contains("Eigen"));
        Assert.Multiple(() =>
        {
            Assert.That(costs.Sum(cost => cost.Launches), Is.LessThanOrEqualTo(12));
            Assert.That(gram.Flops, Is.EqualTo(3 * 2.0 * 128 * 128 * 768));
            Assert.That(gram.Bytes, Is.EqualTo(3 * 4.0 * ((2 * 128 * 768) + (128 * 128))));
            Assert.That(eigen.Limit, Is.EqualTo("chain of dependent steps"));
            Assert.That(costs.Select(cost => cost.Seconds), Is.All.GreaterThan(GpuModel.LaunchGap).And.All.LessThan(1e-3));
            Assert.That(costs.Sum(cost => cost.Exponentials), Is.GreaterThan(6.0 * 128 * 128));
        });
    }

    [Test]
    public void Groups_fill_the_device_before_they_take_longer()
    {
        double one = Seconds(1), many = Seconds(64), more = Seconds(1280);
        Assert.That(many, Is.GreaterThan(one).And.LessThan(16 * one));
        Assert.That(more, Is.GreaterThan(10 * many));

        static double Seconds(int groups) =>
            new GpuCostModel(GpuModel.H200, 57, groups).Predict(new MatrixShape(128, 768), new MoLoOptions(), GpuPrecision.Strict).Sum(cost => cost.Seconds);
    }

    [Test]
    public void The_contrastive_products_of_many_rows_are_those_of_the_floor()
    {
        // 8 N^2 (d + m + 1): one pass forward, and again, dV and dU backward, in d and in m + 1 columns.
        const double Rows = 8192, Width = 768, Kept = 345;
        List<KernelCost> costs = new GpuCostModel(GpuModel.H200, (int)Kept, 1).Predict(new MatrixShape((int)Rows, (int)Width), new MoLoOptions(), GpuPrecision.Bf16);
        double contrastive = costs.Where(cost => cost.Kernel.EndsWith("Bf16Precision>", StringComparison.Ordinal)).Sum(cost => cost.Flops);
        Assert.That(contrastive, Is.EqualTo(8.0 * Rows * Rows * (Width + Kept + 1)));
    }

    [Test]
    public void The_command_prints_every_kernel_the_assumptions_and_a_total()
    {
        HimoCall text = HimoCall.Run("bench", "predict", "--n", "300", "--dim", "100", "--device", "h100");
        JsonElement one = Predict("--n", "300", "--dim", "300", "--kept", "20");
        JsonElement sharing = Predict("--n", "300", "--dim", "300", "--kept", "20", "--groups", "3");
        JsonElement tall = Predict("--n", "300", "--dim", "100", "--kept", "20");
        JsonElement serial = Predict("--n", "300", "--dim", "100", "--kept", "20", "--groups", "3");
        Assert.Multiple(() =>
        {
            Assert.That((text.Code, text.Error), Is.EqualTo((0, "")));
            Assert.That(text.Output, Does.StartWith("1 x (300 x 100), m = 45, strict\nassumed: h100, bf16 790").And.Contain("LogitPassGpu.Kernel<StrictPrecision>"));
            Assert.That(sharing.GetProperty("configuration").GetString(), Is.EqualTo("3 x (300 x 300), m = 20, strict"));
            Assert.That(Total(sharing, "launches"), Is.EqualTo(Total(one, "launches")));
            Assert.That(Total(sharing, "flops"), Is.EqualTo(3 * Total(one, "flops")));
            Assert.That(Total(serial, "launches"), Is.EqualTo(3 * Total(tall, "launches")));
            Assert.That(Total(serial, "flops"), Is.EqualTo(3 * Total(tall, "flops")));
            Assert.That(
                Total(sharing, "microseconds"),
                Is.EqualTo(sharing.GetProperty("kernels").EnumerateArray().Sum(kernel => kernel.GetProperty("microseconds").GetDouble())).Within(1e-6));
        });

        static JsonElement Predict(params string[] options)
        {
            HimoCall call = HimoCall.Run(["bench", "predict", .. options, "--json"]);
            Assert.That((call.Code, call.Error), Is.EqualTo((0, "")));
            return JsonDocument.Parse(call.Output).RootElement;
        }

        static double Total(JsonElement prediction, string what) => prediction.GetProperty("total").GetProperty(what).GetDouble();
    }

    [TestCase("--n", "0")]
    [TestCase("--groups", "0")]
    [TestCase("--kept", "129")]
    public void Sizes_that_cannot_be_are_named(string option, string value)
    {
        HimoCall call = HimoCall.Run("bench", "predict", option, value);
        Assert.That((call.Code, call.Output), Is.EqualTo((1, "")));
        Assert.That(call.Error, Does.StartWith($"himo: {option} must be ").And.Contain($"it is {value}"));
    }
}
