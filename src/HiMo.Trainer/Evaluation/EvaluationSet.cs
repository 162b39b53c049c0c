// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Images with growing captions, ready for a model: read and preprocessed once, however often a run evaluates.</summary>
internal sealed class EvaluationSet
{
    private EvaluationSet(string source, IReadOnlyList<GrowingCaption> captions, float[] images)
    {
        Source = source;
        Captions = captions;
        Images = images;
    }

    /// <summary>The path it was read from.</summary>
    public string Source { get; }

    /// <summary>One per image.</summary>
    public IReadOnlyList<GrowingCaption> Captions { get; }

    /// <summary>n x 3 x size x size, normalised.</summary>
    public float[] Images { get; }

    /// <summary>Reads a data folder's evaluation split, or any file in HiMo-Docci's layout.</summary>
    /// <param name="path">See <see cref="GrowingCaptions.Load"/>.</param>
    /// <param name="imageSize">The model's resolution.</param>
    /// <param name="cancel">Stops between images.</param>
    /// <param name="images">Folder of the images, or null for the set's usual one.</param>
    /// <exception cref="UserError">A file is missing or damaged.</exception>
    public static EvaluationSet Load(string path, int imageSize, CancellationToken cancel = default, string? images = null)
    {
        List<GrowingCaption> captions = GrowingCaptions.Load(path, images);
        ImagePreprocessor preprocessor = new(imageSize, rgbFirst: true); // as the authors' HiMo@K script
        float[] pixels = new float[(long)captions.Count * preprocessor.ValuesPerImage];
        preprocessor.Load([.. captions.Select(caption => caption.ImagePath)], pixels, cancel);
        return new EvaluationSet(path, captions, pixels);
    }
}
