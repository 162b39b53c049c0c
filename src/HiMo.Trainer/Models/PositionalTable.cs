// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>How a text model's positions are stretched to longer captions. Source: Long-CLIP (arXiv:2403.15378), section 3.2.</summary>
internal static class PositionalTable
{
    /// <summary>The first positions, trained best, are kept as they are and stay frozen.</summary>
    public const int Frozen = 20;
}
