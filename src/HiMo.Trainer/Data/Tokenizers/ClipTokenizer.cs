// SPDX-License-Identifier: Apache-2.0
using Microsoft.ML.Tokenizers;

namespace HiMo.Trainer;

/// <summary>CLIP's byte-pair tokenizer: cleaning (<see cref="CaptionText"/>), pieces (<see cref="ClipWords"/>), merges by Microsoft.ML.Tokenizers.</summary>
internal sealed class ClipTokenizer : ITokenizer
{
    private readonly BpeTokenizer _merger;
    private readonly int _start;
    private readonly int _end;

    /// <summary>A tokenizer over a vocabulary.</summary>
    /// <param name="vocabulary">From one of the files that <see cref="ClipVocabulary"/> reads.</param>
    public ClipTokenizer(ClipVocabulary vocabulary)
    {
        _start = vocabulary.Start;
        _end = vocabulary.End;
        VocabSize = vocabulary.Ids.Count;
        _merger = BpeTokenizer.Create(new BpeOptions(vocabulary.Ids)
        {
            Merges = vocabulary.Merges,
            EndOfWordSuffix = ClipVocabulary.EndOfWord,
            ByteLevel = true, // the default loses the bytes of everything that is not ASCII
            PreTokenizer = new ClipWords(),
            SpecialTokens = new Dictionary<string, int> { [ClipWords.StartText] = _start, [ClipWords.EndText] = _end },
        });
    }

    /// <inheritdoc/>
    public int VocabSize { get; }

    /// <summary>The ids of the whole text with start and end tokens.</summary>
    /// <param name="text">A caption.</param>
    public int[] EncodeWhole(string text) => [_start, .. _merger.EncodeToIds(CaptionText.Clean(text)), _end];

    /// <inheritdoc/>
    public int[] Encode(string text, int context)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 2);
        int[] ids = EncodeWhole(text);
        bool cut = ids.Length > context;
        Array.Resize(ref ids, context);
        if (cut)
        {
            ids[^1] = _end;
        }

        return ids;
    }

    /// <inheritdoc/>
    public int Count(string text) => _merger.CountTokens(CaptionText.Clean(text)) + 2;
}
