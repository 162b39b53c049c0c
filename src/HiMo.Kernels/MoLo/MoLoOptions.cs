// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>Which side of the component branch is reconstructed from its principal components (the paper's table 5).</summary>
public enum ComponentSource
{
    /// <summary>Images against reconstructed texts u': the paper's loss.</summary>
    Text,

    /// <summary>Reconstructed images v' against reconstructed texts u'; HiDe runs on each side by itself.</summary>
    TextAndImage,

    /// <summary>Reconstructed images v' against texts.</summary>
    Image,
}

/// <summary>Whether reconstructed embeddings are scaled to unit length before the component logits.</summary>
public enum ComponentNormalization
{
    /// <summary>Not scaled: the authors' code.</summary>
    None,

    /// <summary>Divided by their length: the cosine of the paper's text.</summary>
    Cosine,
}

/// <summary>Whether the gradient flows through the principal directions.</summary>
public enum BasisGradient
{
    /// <summary>The exact derivative of the projector; only kept-against-dropped eigenvalue gaps enter.</summary>
    Exact,

    /// <summary>The principal directions are constants; the batch mean is always differentiated.</summary>
    Stopped,
}

/// <summary>
/// The options of HiDe and MoLo; the defaults are those of the authors' code, except
/// <see cref="GatherWithGrad"/>. Source: HiMo-CLIP (arXiv:2511.06653), equations 1 to 4.
/// </summary>
public sealed record MoLoOptions
{
    /// <summary>Share of explained variance that the kept components must reach; in (0, 1].</summary>
    public double Tau { get; init; } = 0.9;

    /// <summary>Weight of the component branch; finite, 0 switches it off.</summary>
    public double Lambda { get; init; } = 1.0;

    /// <summary>Weight of the global branch; finite, 0 switches it off.</summary>
    public double GlobalWeight { get; init; } = 1.0;

    /// <summary>Label smoothing of all four cross entropies; in [0, 1). The authors' code uses 0.1, the paper does not mention it.</summary>
    public double LabelSmoothing { get; init; } = 0.1;

    /// <summary>Which side is reconstructed.</summary>
    public ComponentSource Components { get; init; } = ComponentSource.Text;

    /// <summary>Whether the reconstruction is scaled to unit length.</summary>
    public ComponentNormalization ComponentNormalization { get; init; } = ComponentNormalization.None;

    /// <summary>Whether the gradient flows through the principal directions.</summary>
    public BasisGradient BasisGradient { get; init; } = BasisGradient.Exact;

    /// <summary>
    /// True: both operands of every product carry gradient. False, as the authors trained: the second operand of every
    /// product is a constant, so image-to-text terms move only images and text-to-image terms only texts.
    /// </summary>
    public bool GatherWithGrad { get; init; } = true;

    /// <summary>Whether the component branch uses v' in place of v.</summary>
    internal bool ReconstructsImages => Lambda != 0.0 && Components != ComponentSource.Text;

    /// <summary>Whether the component branch uses u' in place of x.</summary>
    internal bool ReconstructsTexts => Lambda != 0.0 && Components != ComponentSource.Image;

    /// <summary>Checks every value.</summary>
    /// <exception cref="ArgumentException">A value is outside its range; the message names it.</exception>
    public void Validate()
    {
        Guard.That(Tau is > 0.0 and <= 1.0, Tau, "must be in (0, 1]");
        Guard.That(double.IsFinite(Lambda), Lambda, "must be finite");
        Guard.That(double.IsFinite(GlobalWeight), GlobalWeight, "must be finite");
        Guard.That(LabelSmoothing is >= 0.0 and < 1.0, LabelSmoothing, "must be in [0, 1)");
        Guard.That(Enum.IsDefined(Components), Components, "is no ComponentSource");
        Guard.That(Enum.IsDefined(ComponentNormalization), ComponentNormalization, "is no ComponentNormalization");
        Guard.That(Enum.IsDefined(BasisGradient), BasisGradient, "is no BasisGradient");
    }
}
