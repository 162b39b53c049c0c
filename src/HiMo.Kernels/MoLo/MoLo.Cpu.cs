// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// The dual contrastive loss on float32 views, computed by the float64 reference. The caller has checked every argument.
internal sealed class MoLoCpu(MoLoOptions options, int threads) : IDisposable
{
    public int Threads { get; } = threads;

    public MoLoResult Run(
        MoLoFeatures local, MoLoFeatures gathered, int targetOffset, double logitScale, MoLoGradients gradLocal, MoLoGradients gradGathered)
    {
        bool gradients = IsWanted(gradLocal) || IsWanted(gradGathered);
        MoLoReferenceResult result = MoLoReference.Run(Widen(local), Widen(gathered), targetOffset, logitScale, options, gradients);
        Narrow(result.Local, gradLocal);
        Narrow(result.Gathered, gradGathered);
        return new MoLoResult
        {
            Loss = result.Loss,
            Global = result.Global,
            Component = result.Component,
            M = 0,
            ExplainedVariance = 0.0,
            GradLogitScale = result.GradLogitScale,
        };
    }

    public void Dispose()
    {
    }

    private static bool IsWanted(MoLoGradients gradients) =>
        !gradients.Images.IsEmpty || !gradients.Texts.IsEmpty || !gradients.ComponentImages.IsEmpty || !gradients.ComponentTexts.IsEmpty;

    private MoLoReferenceOperands Widen(MoLoFeatures features)
    {
        ReferenceMatrix images = ReferenceMatrix.Widen(features.Images);
        ReferenceMatrix texts = ReferenceMatrix.Widen(features.Texts);
        return new(
            images,
            texts,
            options.ReconstructsImages ? ReferenceMatrix.Widen(features.ComponentImages) : images,
            options.ReconstructsTexts ? ReferenceMatrix.Widen(features.ComponentTexts) : texts);
    }

    private void Narrow(MoLoReferenceOperands gradients, MoLoGradients wanted)
    {
        ReferenceMatrix images = options.ReconstructsImages ? gradients.Images : gradients.Images + gradients.ComponentImages;
        ReferenceMatrix texts = options.ReconstructsTexts ? gradients.Texts : gradients.Texts + gradients.ComponentTexts;
        Narrow(images, wanted.Images);
        Narrow(texts, wanted.Texts);
        Narrow(gradients.ComponentImages, wanted.ComponentImages);
        Narrow(gradients.ComponentTexts, wanted.ComponentTexts);
    }

    private static void Narrow(ReferenceMatrix gradient, MatrixView wanted)
    {
        if (!wanted.IsEmpty)
        {
            gradient.Narrow(wanted);
        }
    }
}
