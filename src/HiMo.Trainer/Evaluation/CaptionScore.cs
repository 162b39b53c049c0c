// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>How similar one image is to a caption that grows: HiMo@K's measure of a single image.</summary>
/// <param name="Image">The image file.</param>
/// <param name="Captions">From the shortest to the whole one.</param>
/// <param name="Similarity">Cosine of the image with each caption.</param>
/// <param name="Truncated">Captions longer than the context, which are cut.</param>
internal sealed record CaptionScore(string Image, IReadOnlyList<string> Captions, double[] Similarity, int Truncated)
{
    /// <summary>Correlation of the similarities with 1, 2, ..., K; 0 for a single caption.</summary>
    public double Pearson => Growth.Pearson(Similarity);

    /// <summary>Whether each caption is more similar than the one before.</summary>
    public bool Rises => Growth.IsStrictlyRising(Similarity);

    /// <summary>The captions to measure: several texts as they are; one text of several sentences as its first, its first two, ..., all.</summary>
    /// <param name="texts">At least one.</param>
    /// <exception cref="UserError">A text is blank.</exception>
    public static IReadOnlyList<string> Grow(IReadOnlyList<string> texts)
    {
        if (texts.Any(string.IsNullOrWhiteSpace))
        {
            throw new UserError("a text is blank; give a caption, or several that grow");
        }

        List<string> sentences = Sentences.Split(texts[0]);
        return texts.Count > 1 || sentences.Count < 2 ? texts : Segments.Captions(sentences, sentences.Count);
    }

    /// <summary>Encodes and compares.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="image">A JPEG, PNG or WebP file.</param>
    /// <param name="captions">From <see cref="Grow"/>.</param>
    /// <exception cref="UserError">The image cannot be read, or a word is unknown.</exception>
    public static CaptionScore Measure(ClipModel model, ITokenizer tokenizer, string image, IReadOnlyList<string> captions)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor feature = FeatureEncoder.Images(model, [image], rgbFirst: true); // as the authors' HiMo@K script
        (Tensor texts, int truncated) = FeatureEncoder.Texts(model, tokenizer, captions);
        return new CaptionScore(image, captions, [.. texts.matmul(feature.t()).data<float>().Select(value => (double)value)], truncated);
    }

    /// <summary>The similarities, and for several captions <c>himo@K</c> and <c>rises</c>.</summary>
    public JsonObject ToJson()
    {
        JsonObject json = new()
        {
            ["image"] = Image,
            ["captions"] = new JsonArray([.. Captions.Zip(Similarity, (text, similarity) => new JsonObject { ["text"] = text, ["similarity"] = similarity })]),
            ["truncated_captions"] = Truncated,
        };
        if (Captions.Count > 1)
        {
            json["himo@K"] = Pearson;
            json["rises"] = Rises;
        }

        return json;
    }
}
