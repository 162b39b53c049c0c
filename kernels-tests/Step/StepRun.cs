// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests;

/// <summary>One call of <see cref="TrainingStep"/> on arrays, with outputs that begin as NaN.</summary>
internal sealed record StepRun(MoLoResult Result, float[] GradImages, float[] GradTexts, float[] Spectrum)
{
    public static StepRun Of(
        float[] images, float[] texts, int rows, int columns, double logitScale, MoLoOptions options, int threads = 2, bool gradImages = true, bool gradTexts = true)
    {
        using TrainingStep step = new(options, threads);
        return Of(step, images, texts, rows, columns, logitScale, gradImages, gradTexts);
    }

    public static StepRun Of(
        TrainingStep step, float[] images, float[] texts, int rows, int columns, double logitScale, bool gradImages = true, bool gradTexts = true)
    {
        float[] imageGradient = Poisoned(gradImages ? images.Length : 0);
        float[] textGradient = Poisoned(gradTexts ? texts.Length : 0);
        MoLoResult result = step.Run(
            new ReadOnlyMatrixView(images, rows, columns),
            new ReadOnlyMatrixView(texts, rows, columns),
            logitScale,
            gradImages ? new MatrixView(imageGradient, rows, columns) : default,
            gradTexts ? new MatrixView(textGradient, rows, columns) : default);
        return new StepRun(result, imageGradient, textGradient, step.Spectrum.ToArray());
    }

    public bool IsFinite() =>
        double.IsFinite(Result.Loss) && double.IsFinite(Result.Global) && double.IsFinite(Result.Component) && double.IsFinite(Result.GradLogitScale)
        && GradImages.All(float.IsFinite) && GradTexts.All(float.IsFinite) && Spectrum.All(float.IsFinite);

    private static float[] Poisoned(int length)
    {
        float[] values = new float[length];
        Array.Fill(values, float.NaN);
        return values;
    }
}
