// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>What one evaluation of the loss gives besides the feature gradients. A value, so that a training step allocates nothing.</summary>
public readonly record struct MoLoResult
{
    /// <summary>An empty result; every required member has to be set.</summary>
    public MoLoResult()
    {
    }

    /// <summary>GlobalWeight x Global + Lambda x Component, in nats.</summary>
    public required double Loss { get; init; }

    /// <summary>InfoNCE between images and full texts, before its weight; 0 if GlobalWeight is 0.</summary>
    public required double Global { get; init; }

    /// <summary>InfoNCE of the component branch, before lambda; 0 if Lambda is 0.</summary>
    public required double Component { get; init; }

    /// <summary>Number m of kept principal components of the texts; 0 where the texts are not reconstructed.</summary>
    public required int M { get; init; }

    /// <summary>Number of kept principal components of the images; 0 where the images are not reconstructed.</summary>
    public int MImage { get; init; }

    /// <summary>Share of the texts' variance that the m components explain, 0 to 1 (of the images' where only those are reconstructed).</summary>
    public required double ExplainedVariance { get; init; }

    /// <summary>
    /// (lambda_m - lambda_{m+1}) / lambda_1 at the cut of the text spectrum; infinity where nothing is dropped. Small gaps make
    /// the exact basis gradient ill-conditioned.
    /// </summary>
    public double RelativeGap { get; init; } = double.PositiveInfinity;

    /// <summary>What this batch did to HiDe that its user should know; None where nothing is reconstructed.</summary>
    public HiDeWarnings Warnings { get; init; }

    /// <summary>Derivative of the loss with respect to the logit scale in log domain; 0 where no gradient was asked for.</summary>
    public double GradLogitScale { get; init; }
}
