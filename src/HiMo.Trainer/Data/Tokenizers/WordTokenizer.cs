// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// One id per word, for small closed vocabularies. The words travel in the checkpoint's metadata. Text is lower-cased; a word is a run
/// of letters, digits, hyphens and apostrophes, and every other visible character is a word of its own.
/// </summary>
internal sealed class WordTokenizer : ITokenizer
{
    /// <summary>Key of the words in a checkpoint's metadata, joined by newlines in the order of their ids.</summary>
    public const string MetadataKey = "himo.words";

    private const string Pad = "<pad>";
    private const string Start = "<sot>";
    private const string End = "<eot>";

    private readonly Dictionary<string, int> _ids;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _lookup;
    private readonly int _start;
    private readonly int _end;

    /// <summary>A tokenizer for words in the order of their ids.</summary>
    /// <param name="vocabulary">As <see cref="Layout"/> gives it: the padding first, the end token last, all different.</param>
    /// <exception cref="UserError">The special words are missing or misplaced, or a word occurs twice.</exception>
    public WordTokenizer(IReadOnlyList<string> vocabulary)
    {
        // The text encoder takes its output at the first highest id, and the padding must never be that.
        if (vocabulary.Count < 3 || vocabulary[0] != Pad || vocabulary[^1] != End)
        {
            throw new UserError($"the word list of {vocabulary.Count} words must begin with {Pad} and end with {End}, because the text encoder reads its result at the highest id");
        }

        _ids = new Dictionary<string, int>(vocabulary.Count);
        for (int i = 0; i < vocabulary.Count; i++)
        {
            if (!_ids.TryAdd(vocabulary[i], i))
            {
                throw new UserError($"the word list holds '{vocabulary[i]}' twice, at {_ids[vocabulary[i]]} and {i}");
            }
        }

        if (!_ids.TryGetValue(Start, out _start))
        {
            throw new UserError($"the word list of {vocabulary.Count} words lacks {Start}");
        }

        _end = vocabulary.Count - 1;
        _lookup = _ids.GetAlternateLookup<ReadOnlySpan<char>>();
        Vocabulary = vocabulary;
    }

    /// <summary>Every word in the order of its id.</summary>
    public IReadOnlyList<string> Vocabulary { get; }

    /// <inheritdoc/>
    public int VocabSize => Vocabulary.Count;

    /// <summary>The vocabulary of given words: padding, the words in their order, start token, end token.</summary>
    /// <param name="words">Lower-case words and punctuation, without the special ones.</param>
    public static string[] Layout(IEnumerable<string> words) => [Pad, .. words, Start, End];

    /// <summary>The words of a text, lower-cased, punctuation included.</summary>
    /// <param name="text">Any text.</param>
    public static IEnumerable<string> Words(string text)
    {
        string lower = text.ToLowerInvariant();
        for (int at = 0; TryNext(lower, ref at, out Range word);)
        {
            yield return lower[word];
        }
    }

    /// <inheritdoc/>
    /// <exception cref="UserError">A word is not in the vocabulary.</exception>
    public int[] Encode(string text, int context)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(context, 2);
        int[] ids = new int[context];
        ids[0] = _start;
        int used = 1;
        string lower = text.ToLowerInvariant();
        for (int at = 0; used < context - 1 && TryNext(lower, ref at, out Range word);)
        {
            if (!_lookup.TryGetValue(lower.AsSpan()[word], out ids[used++]))
            {
                throw new UserError($"the word '{lower[word]}' is not among the {VocabSize} words of the checkpoint's vocabulary; its captions must come from the data it was made for");
            }
        }

        ids[used] = _end;
        return ids;
    }

    /// <inheritdoc/>
    public int Count(string text) => Words(text).Count() + 2;

    private static bool TryNext(string text, ref int at, out Range word)
    {
        while (at < text.Length && char.IsWhiteSpace(text[at]))
        {
            at++;
        }

        int start = at;
        while (at < text.Length && IsWordCharacter(text[at]))
        {
            at++;
        }

        if (at == start && at < text.Length)
        {
            at++;
        }

        word = start..at;
        return at > start;
    }

    private static bool IsWordCharacter(char character) => char.IsLetterOrDigit(character) || character is '-' or '\'';
}
