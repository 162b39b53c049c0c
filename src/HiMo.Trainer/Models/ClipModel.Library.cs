// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

public sealed partial class ClipModel
{
    private const int FilesAtOnce = 64;

    /// <summary>The file that the model was loaded from, or null.</summary>
    private string? _source;

    private (string? Vocabulary, ITokenizer Tokenizer)? _lastTokenizer;

    /// <summary>Decodes, preprocesses and encodes image files; the features are made unit vectors.</summary>
    /// <param name="files">JPEG, PNG or WebP files, at least one.</param>
    /// <returns>n x e on the CPU, rows of length 1, so that products with those of <see cref="EncodeTexts"/> are cosines.</returns>
    /// <exception cref="UserError">A file cannot be read or decoded; the message names it.</exception>
    /// <example>
    /// <code>
    /// using ClipModel model = ClipModel.Load("model.safetensors");
    /// using torch.Tensor images = model.EncodeImages(["street.jpg", "beach.jpg"]);
    /// using torch.Tensor texts = model.EncodeTexts(["a dog", "a dog that runs along a beach at dusk"]);
    /// using torch.Tensor cosines = images.matmul(texts.t());
    /// </code>
    /// </example>
    public Tensor EncodeImages(IReadOnlyList<string> files)
    {
        ArgumentOutOfRangeException.ThrowIfZero(files.Count);
        using DisposeScope scope = NewDisposeScope();
        ImagePreprocessor preprocessor = new(Config.ImageResolution);
        List<Tensor> parts = [];
        foreach (string[] part in files.Chunk(FilesAtOnce))
        {
            float[] pixels = new float[part.Length * preprocessor.ValuesPerImage];
            preprocessor.Load(part, pixels);
            parts.Add(FeatureEncoder.Images(this, pixels));
        }

        return cat(parts).MoveToOuterDisposeScope();
    }

    /// <summary>Tokenizes and encodes texts; the features are made unit vectors. Texts longer than the context are cut.</summary>
    /// <param name="texts">At least one text.</param>
    /// <param name="vocabulary">
    /// CLIP's vocabulary, a file or a folder with one; null takes the checkpoint's own words, else HIMO_VOCAB, else the checkpoint's folder.
    /// </param>
    /// <returns>n x e on the CPU, rows of length 1.</returns>
    /// <exception cref="UserError">No vocabulary is found, or a text has a word that a word list lacks.</exception>
    public Tensor EncodeTexts(IReadOnlyList<string> texts, string? vocabulary = null)
    {
        ArgumentOutOfRangeException.ThrowIfZero(texts.Count);
        if (_lastTokenizer is not { } last || last.Vocabulary != vocabulary)
        {
            _lastTokenizer = last = (vocabulary, Tokenizers.For(Metadata, vocabulary, _source));
        }

        return FeatureEncoder.Texts(this, last.Tokenizer, texts).Features;
    }
}
