// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// How the GPU's matrix units take the operands of the large products; sums are float32 throughout, and HiDe is float32 in every
/// precision, so that m never depends on it.
/// </summary>
public enum GpuPrecision
{
    /// <summary>The error of float32, by three tf32 products.</summary>
    Strict,

    /// <summary>Operands rounded to tf32, 2^-11 relative.</summary>
    Tf32,

    /// <summary>Operands rounded to bf16, 2^-8 relative.</summary>
    Bf16,
}
