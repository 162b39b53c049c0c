// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// How the products of the contrastive loss are computed on a GPU. HiDe's products and eigensystem are float32 in each of them, so that
/// m is the same.
/// </summary>
internal enum GpuPrecision
{
    /// <summary>The error of float32: three tf32 products.</summary>
    Strict,

    /// <summary>Operands rounded to tf32 (2^-11), sums in float32.</summary>
    Tf32,

    /// <summary>Operands rounded to bf16 (2^-8), sums in float32.</summary>
    Bf16,
}
