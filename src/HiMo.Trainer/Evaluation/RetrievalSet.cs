// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Images with their captions, as a retrieval protocol defines them.</summary>
/// <param name="Images">Image files in the protocol's order.</param>
/// <param name="Captions">As many captions for every image, those of one image behind each other.</param>
/// <param name="RgbFirst">Whether images are converted to RGB before they are resized.</param>
internal sealed record RetrievalSet(IReadOnlyList<string> Images, IReadOnlyList<string> Captions, bool RgbFirst = false)
{
    /// <summary>Captions of each image.</summary>
    public int PerImage => Captions.Count / Images.Count;
}
