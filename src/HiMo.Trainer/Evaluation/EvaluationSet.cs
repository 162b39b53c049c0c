// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Images with growing captions to measure a model on; the images are looked at when the set is made, so that no evaluation of a run fails on one.</summary>
internal sealed class EvaluationSet
{
    private EvaluationSet(string source, IReadOnlyList<GrowingCaption> captions, bool rgbFirst, int unreadable)
    {
        (Source, Captions, RgbFirst, Unreadable) = (source, captions, rgbFirst, unreadable);
    }

    /// <summary>The path it was read from.</summary>
    public string Source { get; }

    /// <summary>One per image.</summary>
    public IReadOnlyList<GrowingCaption> Captions { get; }

    /// <summary>Whether images are converted to RGB before they are resized.</summary>
    public bool RgbFirst { get; }

    /// <summary>Images that could not be read and are left out with their captions.</summary>
    public int Unreadable { get; }

    /// <summary>Reads a data folder's evaluation split, or any file in HiMo-Docci's layout.</summary>
    /// <param name="path">See <see cref="GrowingCaptions.Load"/>.</param>
    /// <param name="images">Folder of the images, or null for the set's usual one.</param>
    /// <exception cref="UserError">A file is missing or damaged.</exception>
    public static EvaluationSet Load(string path, string? images = null)
    {
        List<GrowingCaption> captions = GrowingCaptions.Load(path, images);
        return ReadableImages.Failures(captions, caption => caption.ImagePath, decode: false).FirstOrDefault(failure => failure is not null) is { } failure
            ? throw new UserError(failure.Message, failure)
            : new EvaluationSet(path, captions, rgbFirst: true, unreadable: 0); // as the authors' HiMo@K script
    }

    /// <summary>Takes pairs of training data, whose captions grow sentence by sentence; those whose image cannot be read are left out.</summary>
    /// <param name="source">Path of the data.</param>
    /// <param name="pairs">At least one.</param>
    /// <exception cref="UserError">No image can be read.</exception>
    public static EvaluationSet Of(string source, CaptionDataset pairs)
    {
        (IReadOnlyList<CaptionRecord> readable, int unreadable) = ReadableImages.Of([.. Enumerable.Range(0, pairs.Count).Select(i => pairs[i])], record => record.ImagePath, source);
        return new EvaluationSet(source, [.. readable.Select(Growing)], rgbFirst: false, unreadable); // as in training

        static GrowingCaption Growing(CaptionRecord record)
        {
            List<string> sentences = Sentences.Split(record.Caption);
            return new GrowingCaption(record.ImagePath, record.ImagePath, Segments.Captions(sentences, sentences.Count));
        }
    }
}
