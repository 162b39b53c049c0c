// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>Which part of C a product has to fill.</summary>
internal enum GemmTriangle
{
    /// <summary>All of it.</summary>
    Full,

    /// <summary>The elements on and below the diagonal of a square C; those above may be written or left.</summary>
    Lower,
}
