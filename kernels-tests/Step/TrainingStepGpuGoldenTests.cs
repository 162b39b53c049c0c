// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>
/// The GPU's step, in emulation, against the authors' numbers: the cases that are small enough, one pair of gather and basis each; in long runs all pairs, and lower precisions.
/// </summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class TrainingStepGpuGoldenTests
{
    private const double LossTolerance = 5e-6;
    private const double GradientTolerance = 1e-3;
    private const double LooseLossTolerance = 1e-3;
    private const double LooseGradientTolerance = 5e-2;

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    private static IEnumerable<TestCaseData> SmallCases() =>
        from each in GoldenLoss.All()
        where each.Arguments[0] is "n8_d16" or "n2_d8"
        from precision in TestLength.IsLong ? Enum.GetValues<GpuPrecision>() : [GpuPrecision.Strict]
        where precision == GpuPrecision.Strict || (!TestGpu.IsOpenCl && each.Arguments[0] is "n8_d16")
        select new TestCaseData(each.Arguments[0], each.Arguments[1], precision);

    [TestCaseSource(nameof(SmallCases))]
    public void Golden_losses_and_gradients(string folder, string id, GpuPrecision precision)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, id);
        IGrouping<(bool Gather, BasisGradient Basis), GoldenGradient>[] pairs = [.. golden.Gradients().GroupBy(each => (Gather: each.GatherWithGrad, each.Basis))];
        int one = id.Length % pairs.Length;
        foreach (IGrouping<(bool Gather, BasisGradient Basis), GoldenGradient> pair in TestLength.IsLong && precision == GpuPrecision.Strict ? pairs : pairs[one..(one + 1)])
        {
            IsNear(golden, pair, golden.Options with { GatherWithGrad = pair.Key.Gather, BasisGradient = pair.Key.Basis }, precision);
        }
    }

    private void IsNear(GoldenLoss golden, IEnumerable<GoldenGradient> gradients, MoLoOptions options, GpuPrecision precision)
    {
        (double loss, double gradient) = precision switch
        {
            GpuPrecision.Strict => (LossTolerance, GradientTolerance),
            GpuPrecision.Tf32 => (5e-3, 3e-2),
            _ => (3e-2, 1e-1),
        };
        GpuStepRun run = GpuStepRun.Of(
            _gpu, golden.Images(), golden.Texts(), golden.Rows, golden.Columns, golden.LogitScale, options, TestGpu.Settings with { Precision = precision });

        Assert.Multiple(() =>
        {
            Expect.Loss(run.Summary[0], golden.Total, loss, "total");
            Expect.Loss(run.Summary[1], options.GlobalWeight != 0.0 ? golden.Scalar("loss_global") : 0.0, loss, "global");
            Expect.Loss(run.Summary[2], options.Lambda != 0.0 ? golden.Scalar("loss_comp") : 0.0, loss, "component");
            Expect.LogitScaleGradient(run.Summary[3], golden.GradLogitScale, golden.Total, gradient);

            // Where both sides are reconstructed the authors' m is that of the images, which they decompose last.
            int m = options.Components == ComponentSource.Text ? run.M : run.MImage;
            Assert.That(m, Is.EqualTo(options.Lambda != 0.0 ? golden.Scalar("m") : 0.0), "m");
            foreach (GoldenGradient each in gradients)
            {
                double[] actual = each.Of(Batch.Widen(each.IsImage ? run.GradImages : run.GradTexts), golden.Columns);
                Expect.Gradient(actual, each.Values, gradient, $"{each.Name}, {options.GatherWithGrad}, {options.BasisGradient}");
            }
        });
    }

    // e^100 is beyond float32.
    private static IEnumerable<string> DegenerateNames() => GoldenDegenerate.Names.Where(name => name != "log_scale_100");

    [TestCaseSource(nameof(DegenerateNames))]
    public void Golden_degenerate_input(string name)
    {
        GoldenDegenerate golden = GoldenDegenerate.Open(name);
        Comparable rule = golden.Comparable;
        bool gather = name.Length % 2 == 0;
        BasisGradient basis = name.Length % 3 == 0 ? BasisGradient.Stopped : BasisGradient.Exact;
        MoLoOptions options = golden.Options with { GatherWithGrad = gather, BasisGradient = basis };
        GpuStepRun run = GpuStepRun.Of(_gpu, golden.Images(), golden.Texts(), golden.Rows, golden.Columns, golden.LogitScale, options);
        bool loosely = rule.HasFlag(Comparable.SingleLoosely);
        bool onlyFinite = loosely && basis == BasisGradient.Stopped && name.StartsWith("tiny_variance", StringComparison.Ordinal);
        double lossTolerance = loosely ? LooseLossTolerance : LossTolerance;
        double gradientTolerance = loosely ? LooseGradientTolerance : GradientTolerance;
        Assert.Multiple(() =>
        {
            Assert.That(run.Summary[..5].Concat(run.GradImages).Concat(run.GradTexts).All(float.IsFinite), "finite");
            if (rule.HasFlag(Comparable.M))
            {
                Assert.That(run.M, Is.EqualTo(golden.Scalar("m")), "m");
            }

            if (rule.HasFlag(Comparable.GlobalLoss))
            {
                Expect.Loss(run.Summary[1], golden.Scalar("loss_global"), lossTolerance, "global");
            }

            if (rule.HasFlag(Comparable.ComponentLoss))
            {
                Expect.Loss(run.Summary[2], golden.Scalar("loss_comp"), lossTolerance, "component");
                double size = Math.Max(golden.Scalar("total"), golden.Rows > 1 ? 0.0 : 1.0); // one row has loss 0
                Expect.LogitScaleGradient(run.Summary[3], golden.Scalar("grad_log_scale"), size, gradientTolerance);
            }

            if (rule.HasFlag(Comparable.GradImages) && !onlyFinite)
            {
                Expect.Gradient(Batch.Widen(run.GradImages), golden.GradImages(gather), gradientTolerance, "image gradient");
            }

            if (basis == BasisGradient.Stopped && rule.HasFlag(Comparable.GradTextsStopped))
            {
                Expect.Gradient(Batch.Widen(run.GradTexts), golden.GradTextsStopped(gather), gradientTolerance, "text gradient, basis stopped");
            }

            if (basis == BasisGradient.Exact && (rule.HasFlag(Comparable.GradTextsExact) || rule.HasFlag(Comparable.GradTextsLoosely)))
            {
                double tolerance = rule.HasFlag(Comparable.GradTextsLoosely) ? LooseGradientTolerance : gradientTolerance;
                Expect.Gradient(Batch.Widen(run.GradTexts), golden.GradTextsExact(gather), tolerance, "text gradient");
            }
        });
    }
}
