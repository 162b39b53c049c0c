// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>The operands of both branches, or the gradients with respect to them: rows x d each.</summary>
/// <param name="Images">v, unit rows.</param>
/// <param name="Texts">x, unit rows.</param>
/// <param name="ComponentImages">What stands for the images in the component branch: v, or v'.</param>
/// <param name="ComponentTexts">What stands for the texts in the component branch: u', or x.</param>
internal sealed record MoLoReferenceOperands(
    ReferenceMatrix Images, ReferenceMatrix Texts, ReferenceMatrix ComponentImages, ReferenceMatrix ComponentTexts)
{
    public static MoLoReferenceOperands Zero(int rows, int columns) =>
        new(new(rows, columns), new(rows, columns), new(rows, columns), new(rows, columns));
}

/// <summary>Losses and gradients of both branches; gradients are those of Loss and are zero where none were asked for.</summary>
/// <param name="Loss">GlobalWeight x Global + Lambda x Component.</param>
/// <param name="Global">Mean of the two global cross entropies; 0 if GlobalWeight is 0.</param>
/// <param name="Component">Mean of the two component cross entropies; 0 if Lambda is 0.</param>
/// <param name="ImageToText">Cross entropy of images against texts.</param>
/// <param name="TextToImage">Cross entropy of texts against images.</param>
/// <param name="ImageToComponent">Cross entropy of component images against component texts.</param>
/// <param name="ComponentToImage">Cross entropy of component texts against component images.</param>
/// <param name="GradLogitScale">dL/d ln s.</param>
/// <param name="Local">Gradients of the local rows as first operands, B x d.</param>
/// <param name="Gathered">Gradients of the gathered rows as second operands, N x d; zero without GatherWithGrad.</param>
internal sealed record MoLoReferenceResult(
    double Loss,
    double Global,
    double Component,
    double ImageToText,
    double TextToImage,
    double ImageToComponent,
    double ComponentToImage,
    double GradLogitScale,
    MoLoReferenceOperands Local,
    MoLoReferenceOperands Gathered);

// The dual contrastive loss.  L = w L_global + lambda L_comp,  each branch 1/2 [ CE(images, texts) + CE(texts, images) ]
// Source     HiMo-CLIP (arXiv:2511.06653), equations 2 to 4; several ranks as in the authors' code: B local rows against N gathered
//            ones, targets offset by rank x B.
// Backward   The first operand of every cross entropy is local, the second gathered; without GatherWithGrad the second is a constant.
//            Cosine divides reconstructed rows by their length, as L2Normalize does, and differentiates that.
// Shapes     local: B x d, gathered: N x d, 0 <= offset <= N - B.
// Precision  float64.
internal static class MoLoReference
{
    public static MoLoReferenceResult Run(
        MoLoReferenceOperands local, MoLoReferenceOperands gathered, int targetOffset, double logitScale, MoLoOptions options, bool gradients)
    {
        double scale = Math.Exp(logitScale);
        MoLoReferenceOperands gradLocal = MoLoReferenceOperands.Zero(local.Images.Rows, local.Images.Columns);
        MoLoReferenceOperands gradGathered = MoLoReferenceOperands.Zero(gathered.Images.Rows, gathered.Images.Columns);
        (double ImagesFirst, double TextsFirst) global = default;
        (double ImagesFirst, double TextsFirst) component = default;
        double gradLogitScale = 0.0;

        if (options.GlobalWeight != 0.0)
        {
            Branch branch = Branch.Run(local.Images, local.Texts, gathered.Images, gathered.Texts, targetOffset, scale, options, gradients);
            global = (branch.ImagesFirst.Loss, branch.TextsFirst.Loss);
            gradLogitScale += options.GlobalWeight * branch.GradLogitScale;
            if (gradients)
            {
                gradLocal = gradLocal with
                {
                    Images = options.GlobalWeight * branch.GradImages,
                    Texts = options.GlobalWeight * branch.GradTexts,
                };
                gradGathered = gradGathered with
                {
                    Images = options.GlobalWeight * branch.GradGatheredImages,
                    Texts = options.GlobalWeight * branch.GradGatheredTexts,
                };
            }
        }

        if (options.Lambda != 0.0)
        {
            bool cosine = options.ComponentNormalization == ComponentNormalization.Cosine;
            bool imageCosine = cosine && options.Components != ComponentSource.Text;
            bool textCosine = cosine && options.Components != ComponentSource.Image;
            Operand localImages = new(local.ComponentImages, imageCosine);
            Operand localTexts = new(local.ComponentTexts, textCosine);
            Operand gatheredImages = new(gathered.ComponentImages, imageCosine);
            Operand gatheredTexts = new(gathered.ComponentTexts, textCosine);
            Branch branch = Branch.Run(
                localImages.Scaled, localTexts.Scaled, gatheredImages.Scaled, gatheredTexts.Scaled, targetOffset, scale, options, gradients);
            component = (branch.ImagesFirst.Loss, branch.TextsFirst.Loss);
            gradLogitScale += options.Lambda * branch.GradLogitScale;
            if (gradients)
            {
                gradLocal = gradLocal with
                {
                    ComponentImages = options.Lambda * localImages.Backward(branch.GradImages),
                    ComponentTexts = options.Lambda * localTexts.Backward(branch.GradTexts),
                };
                gradGathered = gradGathered with
                {
                    ComponentImages = options.Lambda * gatheredImages.Backward(branch.GradGatheredImages),
                    ComponentTexts = options.Lambda * gatheredTexts.Backward(branch.GradGatheredTexts),
                };
            }
        }

        double globalLoss = 0.5 * (global.ImagesFirst + global.TextsFirst);
        double componentLoss = 0.5 * (component.ImagesFirst + component.TextsFirst);
        return new(
            (options.GlobalWeight * globalLoss) + (options.Lambda * componentLoss),
            globalLoss,
            componentLoss,
            global.ImagesFirst,
            global.TextsFirst,
            component.ImagesFirst,
            component.TextsFirst,
            gradLogitScale,
            gradLocal,
            options.GatherWithGrad ? gradGathered : MoLoReferenceOperands.Zero(gathered.Images.Rows, gathered.Images.Columns));
    }

    /// <summary>A component operand, scaled to unit rows where cosines are asked for.</summary>
    private sealed class Operand(ReferenceMatrix rows, bool cosine)
    {
        public ReferenceMatrix Scaled { get; } = cosine ? L2NormalizeReference.Forward(rows) : rows;

        public ReferenceMatrix Backward(ReferenceMatrix gradScaled) =>
            cosine ? L2NormalizeReference.Backward(rows, Scaled, gradScaled) : gradScaled;
    }

    /// <summary>Both directions of one branch, unweighted.</summary>
    private sealed record Branch(CrossEntropyReference ImagesFirst, CrossEntropyReference TextsFirst)
    {
        public double GradLogitScale => 0.5 * (ImagesFirst.GradLogitScale + TextsFirst.GradLogitScale);

        public ReferenceMatrix GradImages => 0.5 * ImagesFirst.GradQueries;

        public ReferenceMatrix GradTexts => 0.5 * TextsFirst.GradQueries;

        public ReferenceMatrix GradGatheredImages => 0.5 * TextsFirst.GradKeys;

        public ReferenceMatrix GradGatheredTexts => 0.5 * ImagesFirst.GradKeys;

        public static Branch Run(
            ReferenceMatrix images,
            ReferenceMatrix texts,
            ReferenceMatrix gatheredImages,
            ReferenceMatrix gatheredTexts,
            int targetOffset,
            double scale,
            MoLoOptions options,
            bool gradients) => new(
                ContrastiveLossReference.Run(images, gatheredTexts, targetOffset, scale, options.LabelSmoothing, gradients),
                ContrastiveLossReference.Run(texts, gatheredImages, targetOffset, scale, options.LabelSmoothing, gradients));
    }
}
