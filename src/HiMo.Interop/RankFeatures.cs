// SPDX-License-Identifier: Apache-2.0
using static TorchSharp.torch;

namespace HiMo.Interop;

/// <summary>The operands of one rank's loss, each R x d: its own rows, or the rows gathered from all ranks.</summary>
/// <param name="Images">Unit image rows.</param>
/// <param name="Texts">Unit text rows.</param>
/// <param name="ComponentTexts">u', see <see cref="HiDeComponents"/>; null where the options do not reconstruct texts.</param>
/// <param name="ComponentImages">v' alike; null where the options do not reconstruct images.</param>
public sealed record RankFeatures(Tensor Images, Tensor Texts, Tensor? ComponentTexts = null, Tensor? ComponentImages = null);
