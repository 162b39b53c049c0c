// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Images with their captions, as a retrieval protocol defines them.</summary>
/// <param name="Images">Image files in the protocol's order.</param>
/// <param name="Captions">As many captions for every image, those of one image behind each other.</param>
/// <param name="RgbFirst">Whether images are converted to RGB before they are resized.</param>
internal sealed record RetrievalSet(IReadOnlyList<string> Images, IReadOnlyList<string> Captions, bool RgbFirst = false)
{
    /// <summary>Images that were left out with their captions.</summary>
    public int Unreadable { get; private init; }

    /// <summary>Captions of each image.</summary>
    public int PerImage => Captions.Count / Images.Count;

    /// <summary>The set without the images that cannot be read, for sets of which users lack some.</summary>
    /// <param name="source">The set, for messages.</param>
    /// <exception cref="UserError">No image can be read.</exception>
    public RetrievalSet Readable(string source)
    {
        (IReadOnlyList<int> kept, int unreadable) = ReadableImages.Of([.. Enumerable.Range(0, Images.Count)], i => Images[i], source);
        return new RetrievalSet([.. kept.Select(i => Images[i])], [.. kept.SelectMany(i => Captions.Skip(i * PerImage).Take(PerImage))], RgbFirst) { Unreadable = unreadable };
    }
}
