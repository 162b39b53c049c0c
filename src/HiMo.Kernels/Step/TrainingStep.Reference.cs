// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>What the reference step gives.</summary>
/// <param name="Result">Losses, m, explained variance, the temperature's gradient.</param>
/// <param name="GradImages">dL/dimages, N x d, row-major; empty without gradients.</param>
/// <param name="GradTexts">dL/dtexts, N x d, row-major; empty without gradients.</param>
/// <param name="Spectrum">Text eigenvalues, descending, min(N,d) (the images' where only those are reconstructed); empty where lambda is 0.</param>
internal sealed record ReferenceStep(MoLoResult Result, double[] GradImages, double[] GradTexts, double[] Spectrum);

// The whole objective in float64: L2Normalize, HiDe on the sides that are reconstructed, MoLo, and back.
// Source     HiMo-CLIP (arXiv:2511.06653), equations 1 to 4, and the authors' code.
// Shapes     images, texts: N x d as the encoders give them, finite; N >= 1, d >= 1. Logit scale -100 to 300.
// Limits     Where the loss gives a branch no weight, the branch is not computed: its loss and m are 0.
internal static class TrainingStepReference
{
    public const double MinLogitScale = -100.0;
    public const double MaxLogitScale = 300.0;

    public static ReferenceStep Run(
        ReadOnlySpan<double> images,
        ReadOnlySpan<double> texts,
        int rows,
        int columns,
        double logitScale,
        MoLoOptions options,
        bool gradients = true)
    {
        options.Validate();
        Guard.That(rows >= 1, rows, "must be 1 or more");
        Guard.That(columns >= 1, columns, "must be 1 or more");
        Guard.That(images.Length == (long)rows * columns, images.Length, "must be rows x columns", nameof(images));
        Guard.That(texts.Length == (long)rows * columns, texts.Length, "must be rows x columns", nameof(texts));
        Guard.That(logitScale is >= MinLogitScale and <= MaxLogitScale, logitScale, "must be from -100 to 300");
        Guard.Finite(images, columns);
        Guard.Finite(texts, columns);
        ReferenceMatrix v0 = new(images, rows, columns);
        ReferenceMatrix u0 = new(texts, rows, columns);
        ReferenceMatrix v = L2NormalizeReference.Forward(v0);
        ReferenceMatrix x = L2NormalizeReference.Forward(u0);
        HiDeReferenceState? imageState = options.ReconstructsImages ? HiDeReference.Forward(v, options.Tau) : null;
        HiDeReferenceState? textState = options.ReconstructsTexts ? HiDeReference.Forward(x, options.Tau) : null;

        MoLoReferenceOperands operands = new(v, x, imageState?.Components ?? v, textState?.Components ?? x);
        MoLoReferenceResult loss = MoLoReference.Run(operands, operands, 0, logitScale, options, gradients);
        MoLoResult result = new()
        {
            Loss = loss.Loss,
            Global = loss.Global,
            Component = loss.Component,
            M = textState?.Result.M ?? 0,
            MImage = imageState?.Result.M ?? 0,
            ExplainedVariance = (textState ?? imageState)?.Result.ExplainedVariance ?? 0.0,
            RelativeGap = (textState ?? imageState)?.Result.RelativeGap ?? double.PositiveInfinity,
            Warnings = (textState?.Result.Warnings ?? HiDeWarnings.None) | (imageState?.Result.Warnings ?? HiDeWarnings.None),
            GradLogitScale = loss.GradLogitScale,
        };
        double[] spectrum = (textState ?? imageState)?.Values ?? [];
        if (!gradients)
        {
            return new(result, [], [], spectrum);
        }

        // With one process the gathered rows are the local ones, so both shares reach them.
        ReferenceMatrix gradV = Through(
            loss.Local.Images + loss.Gathered.Images, loss.Local.ComponentImages + loss.Gathered.ComponentImages, imageState, options.BasisGradient);
        ReferenceMatrix gradX = Through(
            loss.Local.Texts + loss.Gathered.Texts, loss.Local.ComponentTexts + loss.Gathered.ComponentTexts, textState, options.BasisGradient);
        return new(
            result,
            L2NormalizeReference.Backward(v0, v, gradV).Elements,
            L2NormalizeReference.Backward(u0, x, gradX).Elements,
            spectrum);
    }

    // The gradient of a side's unit rows: what reaches them directly, and what reaches them through the component branch's operand.
    private static ReferenceMatrix Through(ReferenceMatrix direct, ReferenceMatrix component, HiDeReferenceState? state, BasisGradient basis) =>
        direct + (state is null ? component : HiDeReference.Backward(state, component, basis));
}
