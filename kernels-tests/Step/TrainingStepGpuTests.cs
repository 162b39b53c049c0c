// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

[TestFixture]
internal sealed class TrainingStepGpuTests
{
    private const double LossTolerance = 5e-6;
    private const double GradientTolerance = 1e-3;

    private static readonly GpuStepSettings s_small = new() { EigenThreads = 64 };

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = Gpu.OpenEmulated(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [TestCase(2, 3, BasisGradient.Stopped, true, 0.0, 0.9, 2.0)]
    [TestCase(3, 8, BasisGradient.Exact, false, 0.1, 0.6, 4.6)]
    [TestCase(9, 17, BasisGradient.Exact, true, 0.1, 0.8, 3.0)]
    [TestCase(9, 17, BasisGradient.Stopped, false, 0.2, 0.8, 3.0)]
    [TestCase(17, 20, BasisGradient.Exact, true, 0.0, 1.0, -1.0)]
    public void Agrees_with_the_reference(int n, int d, BasisGradient basis, bool gather, double smoothing, double tau, double logitScale)
    {
        MoLoOptions options = new()
        {
            Tau = tau, Lambda = 0.7, GlobalWeight = 1.3, LabelSmoothing = smoothing, BasisGradient = basis, GatherWithGrad = gather,
        };
        float[] images = Features(n, d, 1);
        float[] texts = Features(n, d, 2);
        ReferenceStep expected = TrainingStepReference.Run(Widen(images), Widen(texts), n, d, (float)logitScale, options);

        (float[] summary, float[] gradImages, float[] gradTexts, int m) = Run(images, texts, n, d, logitScale, options);

        Assert.Multiple(() =>
        {
            Assert.That(m, Is.EqualTo(expected.Result.M));
            Expect.Loss(summary[0], expected.Result.Loss, LossTolerance, "loss");
            Expect.Loss(summary[1], expected.Result.Global, LossTolerance, "global");
            Expect.Loss(summary[2], expected.Result.Component, LossTolerance, "component");
            Expect.LogitScaleGradient(summary[3], expected.Result.GradLogitScale, expected.Result.Loss, GradientTolerance);
            Expect.Gradient(Widen(gradImages), expected.GradImages, GradientTolerance, "gradient of the images");
            Expect.Gradient(Widen(gradTexts), expected.GradTexts, GradientTolerance, "gradient of the texts");
        });
    }

    [Test]
    public void One_row_has_nothing_to_tell_apart()
    {
        (float[] summary, float[] gradImages, float[] gradTexts, int m) = Run([0.5f, 2.0f], [3.0f, 1.0f], 1, 2, 4.0, new MoLoOptions());

        Assert.Multiple(() =>
        {
            Assert.That(m, Is.EqualTo(1));
            Assert.That(summary[..4], Is.All.Zero);
            Assert.That(gradImages.Concat(gradTexts), Is.All.EqualTo(0.0f).Within(1e-6f));
        });
    }

    [Test]
    public void Step_is_at_most_twelve_launches_without_host_work_and_repeats_bit_for_bit()
    {
        float[] images = Features(5, 8, 3);
        float[] texts = Features(5, 8, 4);
        using TrainingStepGpu step = new(_gpu, new MatrixShape(5, 8), new MoLoOptions(), s_small);
        (float[] firstSummary, float[] firstImages, float[] firstTexts) = RunWith(step, images, texts, 5, 8, 2.0, () => { });

        (float[] summary, float[] gradImages, float[] gradTexts) = RunWith(step, images, texts, 5, 8, 2.0, _gpu.Log.Reset);

        Assert.Multiple(() =>
        {
            Assert.That(_gpu.Log.Launches, Has.Count.EqualTo(12));
            Assert.That(_gpu.Log.Allocations, Is.Zero);
            Assert.That(_gpu.Log.HostCopies + _gpu.Log.Synchronizations, Is.Zero);
            Assert.That(summary, Is.EqualTo(firstSummary));
            Assert.That(gradImages, Is.EqualTo(firstImages));
            Assert.That(gradTexts, Is.EqualTo(firstTexts));
        });
    }

    private static float[] Features(int n, int d, int seed)
    {
        Random random = new((100 * n) + d + (1000 * seed));
        return [.. Enumerable.Range(0, n * d).Select(i => (float)((random.NextDouble() - 0.4) / Math.Sqrt((i % d) + 1)))];
    }

    private static double[] Widen(float[] values) => [.. values.Select(value => (double)value)];

    private (float[] Summary, float[] GradImages, float[] GradTexts, int M) Run(float[] images, float[] texts, int n, int d, double logitScale, MoLoOptions options)
    {
        using TrainingStepGpu step = new(_gpu, new MatrixShape(n, d), options, s_small);
        (float[] summary, float[] gradImages, float[] gradTexts) = RunWith(step, images, texts, n, d, logitScale, () => { });
        int[] kept = new int[1];
        step.Kept.CopyToCPU(_gpu.Accelerator.DefaultStream, kept);
        return (summary, gradImages, gradTexts, kept[0]);
    }

    private (float[] Summary, float[] GradImages, float[] GradTexts) RunWith(
        TrainingStepGpu step, float[] images, float[] texts, int n, int d, double logitScale, Action before)
    {
        using MemoryBuffer1D<float, Stride1D.Dense> v = _gpu.Accelerator.Allocate1D(images);
        using MemoryBuffer1D<float, Stride1D.Dense> u = _gpu.Accelerator.Allocate1D(texts);
        using MemoryBuffer1D<float, Stride1D.Dense> scale = _gpu.Accelerator.Allocate1D(new[] { (float)logitScale });
        float[] unset = [.. Enumerable.Repeat(float.NaN, (n * d) + 8)];
        using MemoryBuffer1D<float, Stride1D.Dense> gradV = _gpu.Accelerator.Allocate1D(unset);
        using MemoryBuffer1D<float, Stride1D.Dense> gradU = _gpu.Accelerator.Allocate1D(unset);
        using MemoryBuffer1D<float, Stride1D.Dense> summary = _gpu.Accelerator.Allocate1D(unset[..StepSummary.Length]);
        before();
        step.Run(_gpu.Accelerator.DefaultStream, new StepBuffers<float>
        {
            Images = v.View.BaseView, Texts = u.View.BaseView, LogitScale = scale.View.BaseView, GradImages = gradV.View.BaseView, GradTexts = gradU.View.BaseView,
            Summary = summary.View.BaseView,
        });
        _gpu.Accelerator.Synchronize();
        float[] images2 = gradV.GetAsArray1D();
        float[] texts2 = gradU.GetAsArray1D();
        Assert.That(images2[^8..].Concat(texts2[^8..]), Is.All.NaN, "guard behind the gradients");
        return (summary.GetAsArray1D(), images2[..^8], texts2[..^8]);
    }
}
