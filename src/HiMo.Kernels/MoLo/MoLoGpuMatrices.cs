// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// The operands of <see cref="MoLo"/> in device memory, or what receives the gradients with respect to them, rows x d each. The default value
/// is empty; as gradients it means: not wanted.
/// </summary>
public readonly record struct MoLoGpuMatrices
{
    /// <summary>Image features v, unit rows.</summary>
    public GpuMatrix Images { get; init; }

    /// <summary>Text features x, unit rows.</summary>
    public GpuMatrix Texts { get; init; }

    /// <summary>Reconstructed images v', as HiDe gives them; empty where the options do not reconstruct images.</summary>
    public GpuMatrix ComponentImages { get; init; }

    /// <summary>Reconstructed texts u', as HiDe gives them; empty where the options do not reconstruct texts.</summary>
    public GpuMatrix ComponentTexts { get; init; }
}
