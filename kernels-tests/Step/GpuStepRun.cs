// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>One call of <see cref="TrainingStepGpu"/> on arrays, with outputs and a workspace that begin as NaN and guards behind every array.</summary>
internal sealed record GpuStepRun(float[] Summary, float[] GradImages, float[] GradTexts, int[] Kept)
{
    private const int Guard = 8;

    /// <summary>m of the first group's texts.</summary>
    public int M => Kept[0];

    /// <summary>m of the first group's images.</summary>
    public int MImage => Kept[1];

    public static GpuStepRun Of(Gpu gpu, float[] images, float[] texts, int n, int d, double logitScale, MoLoOptions options, GpuStepSettings? settings = null)
    {
        settings ??= TestGpu.Settings;
        using WatchedMemory memory = new(gpu);
        using TrainingStepGpu step = new(gpu, new MatrixShape(n, d), options, settings);
        memory.Fill();
        step.Kept.MemSetToZero(gpu.Accelerator.DefaultStream); // as the step itself leaves it for sides that are not reconstructed
        GpuStepRun run = Of(gpu, step, images, texts, logitScale, () => { }, settings.Groups);
        memory.Check();
        return run;
    }

    public static GpuStepRun Of(Gpu gpu, TrainingStepGpu step, float[] images, float[] texts, double logitScale, Action before, int groups = 1)
    {
        using MemoryBuffer1D<float, Stride1D.Dense> v = gpu.Accelerator.Allocate1D(images);
        using MemoryBuffer1D<float, Stride1D.Dense> u = gpu.Accelerator.Allocate1D(texts);
        using MemoryBuffer1D<float, Stride1D.Dense> scale = gpu.Accelerator.Allocate1D(new[] { (float)logitScale });
        float[] unset = [.. Enumerable.Repeat(float.NaN, images.Length + Guard)];
        using MemoryBuffer1D<float, Stride1D.Dense> gradV = gpu.Accelerator.Allocate1D(unset);
        using MemoryBuffer1D<float, Stride1D.Dense> gradU = gpu.Accelerator.Allocate1D(unset);
        float[] noNumbers = [.. Enumerable.Repeat(float.NaN, (groups * StepSummary.Length) + Guard)];
        using MemoryBuffer1D<float, Stride1D.Dense> summary = gpu.Accelerator.Allocate1D(noNumbers);
        before();
        step.Run(gpu.Accelerator.DefaultStream, new StepBuffers<float>
        {
            Images = v.View.BaseView, Texts = u.View.BaseView, LogitScale = scale.View.BaseView, GradImages = gradV.View.BaseView, GradTexts = gradU.View.BaseView,
            Summary = summary.View.BaseView,
        });
        gpu.Accelerator.Synchronize();
        float[] imageGradient = gradV.GetAsArray1D();
        float[] textGradient = gradU.GetAsArray1D();
        float[] numbers = summary.GetAsArray1D();
        Assert.That(imageGradient[^Guard..].Concat(textGradient[^Guard..]).Concat(numbers[^Guard..]), Is.All.NaN, "guards behind the outputs");
        int[] kept = new int[2 * groups];
        step.Kept.CopyToCPU(gpu.Accelerator.DefaultStream, kept);
        return new(numbers[..^Guard], imageGradient[..^Guard], textGradient[..^Guard], kept);
    }

    /// <summary>What belongs to one of some groups.</summary>
    public GpuStepRun Part(int group, int groups)
    {
        int length = GradImages.Length / groups;
        Range matrix = (group * length)..((group + 1) * length);
        return new(
            Summary[(group * StepSummary.Length)..((group + 1) * StepSummary.Length)], GradImages[matrix], GradTexts[matrix], Kept[(2 * group)..(2 * (group + 1))]);
    }

    /// <summary>Compares with the reference; the temperature's gradient relative to a loss of at least so much, because that of one row is 0.</summary>
    public void IsNear(ReferenceStep expected, double lossTolerance, double gradientTolerance, double leastLoss = 0.0) => Assert.Multiple(() =>
    {
        Assert.That(M, Is.EqualTo(expected.Result.M), "m of the texts");
        Assert.That(MImage, Is.EqualTo(expected.Result.MImage), "m of the images");
        Expect.Loss(Summary[0], expected.Result.Loss, lossTolerance, "loss");
        Expect.Loss(Summary[1], expected.Result.Global, lossTolerance, "global");
        Expect.Loss(Summary[2], expected.Result.Component, lossTolerance, "component");
        Expect.LogitScaleGradient(Summary[3], expected.Result.GradLogitScale, Math.Max(expected.Result.Loss, leastLoss), gradientTolerance);
        Expect.Gradient(Batch.Widen(GradImages), expected.GradImages, gradientTolerance, "gradient of the images");
        Expect.Gradient(Batch.Widen(GradTexts), expected.GradTexts, gradientTolerance, "gradient of the texts");
        Assert.That(Summary[4], Is.EqualTo(expected.Result.ExplainedVariance).Within(1e-5), "explained variance");
    });
}
