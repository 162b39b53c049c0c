// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>The operands of <see cref="MoLo"/>: matching rows of images and texts, and of what stands for them in the component branch.</summary>
public readonly ref struct MoLoFeatures
{
    /// <summary>Image features v, rows x d, unit rows.</summary>
    public required ReadOnlyMatrixView Images { get; init; }

    /// <summary>Text features x, rows x d, unit rows.</summary>
    public required ReadOnlyMatrixView Texts { get; init; }

    /// <summary>Reconstructed images v', rows x d, as HiDe gives them; empty where the options do not reconstruct images.</summary>
    public ReadOnlyMatrixView ComponentImages { get; init; }

    /// <summary>Reconstructed texts u', rows x d, as HiDe gives them; empty where the options do not reconstruct texts.</summary>
    public ReadOnlyMatrixView ComponentTexts { get; init; }
}

/// <summary>Receives the gradients with respect to a <see cref="MoLoFeatures"/>; an empty view means: not wanted.</summary>
public readonly ref struct MoLoGradients
{
    /// <summary>dL/dv, rows x d: the global branch, and the component branch where images are not reconstructed.</summary>
    public MatrixView Images { get; init; }

    /// <summary>dL/dx, rows x d: the global branch, and the component branch where texts are not reconstructed.</summary>
    public MatrixView Texts { get; init; }

    /// <summary>dL/dv', rows x d; goes back through HiDe. Empty where images are not reconstructed.</summary>
    public MatrixView ComponentImages { get; init; }

    /// <summary>dL/du', rows x d; goes back through HiDe. Empty where texts are not reconstructed.</summary>
    public MatrixView ComponentTexts { get; init; }
}
