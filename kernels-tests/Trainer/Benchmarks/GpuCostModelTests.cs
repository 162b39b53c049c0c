// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class GpuCostModelTests : FolderTests
{
    // Runs of which at least a fifth is what was measured. Of the others nothing can be said before they are profiled again.
    private static readonly string[] s_compared = ["128,768,strict,64", "128,768,hide,64", "1024,768", "8192,768,tf32", "8192,768,bf16", "65536,768,bf16"];

    private static readonly string s_measured = Path.Combine(TestData.RepositoryRoot, "perf", "results", "gpu");

    [Test]
    public void Launches_are_those_of_the_step_and_products_are_counted_by_their_sizes()
    {
        List<KernelCost> costs = Predict("128,768", kept: 57);
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

        static double Seconds(int groups) => Predict($"128,768,strict,{groups}", 57).Sum(cost => cost.Seconds);
    }

    [TestCase("8192,768,bf16", "Warpgroup")]
    [TestCase("8192,768,tf32", "Tf32Precision>")]
    public void The_contrastive_products_of_many_rows_are_those_of_the_floor(string text, string precision)
    {
        // 8 N^2 (d + m + 1): one pass forward, and again, dV and dU backward, in d and in m + 1 columns.
        const double Rows = 8192, Width = 768, Kept = 345;
        double contrastive = Predict(text, (int)Kept).Where(cost => cost.Kernel.Contains(precision)).Sum(cost => cost.Flops);
        Assert.That(contrastive, Is.EqualTo(8.0 * Rows * Rows * (Width + Kept + 1)));
    }

    [TestCase("128,768", 89, 0.35)]
    [TestCase("1024,768", 246, 4.0)]
    [TestCase("8192,768,bf16", 346, 6.0)]
    public void The_model_says_that_the_times_asked_for_are_met(string text, int kept, double milliseconds) =>
        Assert.That(1e3 * Predict(text, kept).Sum(cost => cost.Seconds), Is.LessThan(milliseconds));

    [Test]
    public void The_model_says_that_the_contrastive_part_of_many_rows_reaches_half_of_what_products_do()
    {
        List<KernelCost> contrastive = Predict("65536,768,bf16", 368).FindAll(cost => cost.Kernel.Contains("Warpgroup"));
        Assert.That(contrastive.Sum(cost => cost.Flops) / contrastive.Sum(cost => cost.Seconds), Is.GreaterThan(0.5 * GpuModel.H200.Bf16));
    }

    [Test]
    public void Every_measured_run_is_predicted_within_a_quarter()
    {
        GpuModelCheck check = GpuModelCheck.Of(GpuModel.H200, GpuMeasurements.Read(s_measured)); // fails where launches are not those of a profile
        Assert.That(check.Cases, Has.Count.GreaterThanOrEqualTo(11));
        Assert.That(check.Cases.Where(each => !each.IsChanged && !(each.Ratio is > 0.75 and < 1.25)), Is.Empty);
    }

    [Test]
    public void What_is_the_same_of_every_profiled_run_adds_up_within_a_quarter()
    {
        GpuModelCheck check = GpuModelCheck.Of(GpuModel.H200, GpuMeasurements.Read(s_measured));
        (string Key, double Predicted, double Measured, double OfRun)[] runs = [.. check.Kernels.Where(each => !each.IsFirst).GroupBy(each => each.Case)
            .Select(run => (run.Key, run.Sum(each => each.Predicted), run.Sum(each => each.Measured), run.First().OfRun))];
        Assert.That(runs.Where(run => run.Measured >= 0.2 * run.OfRun).Select(run => run.Key), Is.EquivalentTo(s_compared), "where too little is the same, profile again");
        Assert.That(runs.Where(run => s_compared.Contains(run.Key) && !(run.Predicted / run.Measured is > 0.75 and < 1.25)), Is.Empty);
    }

    [Test]
    public void Every_kernel_that_takes_a_notable_part_of_a_run_is_predicted_within_two_fifths()
    {
        GpuModelCheck check = GpuModelCheck.Of(GpuModel.H200, GpuMeasurements.Read(s_measured));
        Assert.That(check.Kernels.Where(each => each.IsNotable).Select(each => each.Case).Distinct(), Is.SupersetOf(s_compared.Except(["1024,768"]))); // of which every kernel that takes so much has changed
        Assert.That(check.Kernels.Where(each => each.IsNotable && !each.IsFirst && !(each.Ratio is > 0.6 and < 1.4)), Is.Empty);
    }

    [Test]
    public void Runs_with_kernels_that_are_others_since_have_no_ratio()
    {
        CopyMeasured();
        string list = Path.Combine(Folder, "changed.txt");
        File.Delete(list);
        // N <= d: a step's launches, and HiDe's, are others than when they were measured. For N > d one kernel stores what it stored twice as large, and is another by its name alone.
        string profile = Path.Combine(Folder, "profile.txt");
        File.WriteAllText(profile, File.ReadAllText(profile).Replace("DoubledResult", "StridedMatrix"));
        File.WriteAllText(
            list, "GpuGemm.Kernel<FeatureLeft,\tof the test\nGpuGemm.Kernel<StridedMatrix,StridedMatrix,StridedMatrix,LargeTile,\tof 64\nGpuGemm.Kernel<StridedMatrix,SymmetrizedOperand,\tof it too\n");
        GpuModelCheck check = GpuModelCheck.Of(GpuModel.H200, GpuMeasurements.Read(Folder));
        Assert.That(check.Cases.Where(each => each.IsChanged).Select(each => each.Case), Is.EquivalentTo(check.Cases.Select(each => each.Case).Where(text => text.StartsWith("128,", StringComparison.Ordinal))));
        Assert.That(check.Kernels.Select(each => each.Kernel), Has.Some.Contains("GramLeft").And.Some.Contains("Warpgroup").And.None.Contains("FeatureLeft"));
        Assert.That(check.ToMarkdown(), Does.Contain(" | changed since |\n").And.EndWith("- `GpuGemm.Kernel<StridedMatrix,SymmetrizedOperand,`: of it too\n"));
        File.WriteAllText(list, "no tab\n");
        Assert.That(() => GpuMeasurements.Read(Folder), Throws.TypeOf<UserError>().With.Message.Contains("changed.txt: 'no tab' must be"));
    }

    [Test]
    public void The_check_prints_both_tables()
    {
        HimoCall call = HimoCall.Run("bench", "predict", "--check", "--results", s_measured);
        Assert.That((call.Code, call.Error), Is.EqualTo((0, "")));
        Assert.That(call.Output, Does.StartWith("| N, d, precision, groups | m | launches |").And.Contain("\n| 128,768,hide,64 | 89 | 10 |").And.Contain("| WarpgroupGradientGpu.ProductKernel | 2 |"));
    }

    [Test]
    public void Measurements_that_cannot_be_used_are_named()
    {
        Assert.That(Error(), Does.Contain("--results is ").And.Contain("'bench gpu --profile'"));
        CopyMeasured();
        string profile = Path.Combine(Folder, "profile.txt");
        string text = File.ReadAllText(profile);
        File.WriteAllText(profile, text.Replace("1  GpuGemm.Kernel<GramLeft,", "2  GpuGemm.Kernel<GramLeft,"));
        Assert.That(Error(), Does.Contain("The profile of 128,768 is of other launches"));
        File.WriteAllText(profile, text + " three words\n");
        Assert.That(Error(), Does.Contain("profile.txt: ' three words' is not"));

        string Error()
        {
            HimoCall call = HimoCall.Run("bench", "predict", "--check", "--results", Folder);
            Assert.That((call.Code, call.Output), Is.EqualTo((1, "")));
            return call.Error;
        }
    }

    [Test]
    public void The_command_prints_every_kernel_the_assumptions_and_a_total()
    {
        HimoCall text = HimoCall.Run("bench", "predict", "--n", "300", "--dim", "100", "--device", "h100");
        HimoCall hide = HimoCall.Run("bench", "predict", "--n", "30", "--hide", "--kept", "12");
        JsonElement one = Predict("--n", "300", "--dim", "300", "--kept", "20");
        JsonElement sharing = Predict("--n", "300", "--dim", "300", "--kept", "20", "--groups", "3");
        JsonElement tall = Predict("--n", "300", "--dim", "100", "--kept", "20");
        JsonElement serial = Predict("--n", "300", "--dim", "100", "--kept", "20", "--groups", "3");
        Assert.Multiple(() =>
        {
            Assert.That((text.Code, text.Error), Is.EqualTo((0, "")));
            Assert.That(text.Output, Does.StartWith("1 x (300 x 100), m = 45, strict\nassumed: h100, bf16 790").And.Contain("LogitPassGpu.Kernel<StrictPrecision>"));
            Assert.That(hide.Output, Does.StartWith("1 x (30 x 768), m = 12, HiDe alone\n").And.Contain("RowGradientLeft").And.Not.Contain("Loss"));
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

    private void CopyMeasured()
    {
        foreach (string file in Directory.GetFiles(s_measured))
        {
            File.Copy(file, Path.Combine(Folder, Path.GetFileName(file)));
        }
    }

    private static List<KernelCost> Predict(string text, int kept) => new GpuCostModel(GpuModel.H200, kept).Predict(GpuCase.Parse(text));
}
