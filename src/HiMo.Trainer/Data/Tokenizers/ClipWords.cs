// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;
using Microsoft.ML.Tokenizers;

namespace HiMo.Trainer;

/// <summary>
/// Cuts cleaned text into the pieces that byte pairs are merged within: special tokens, English contractions, runs of letters, single
/// digits, runs of anything else visible. It goes by code point, as Python does; a .NET regular expression sees halves of the characters
/// beyond U+FFFF, and the package's own splitter takes special tokens out first, which changes "!&lt;|endoftext|&gt;".
/// Source: openai/CLIP clip/simple_tokenizer.py, the pattern.
/// </summary>
internal sealed class ClipWords : PreTokenizer
{
    /// <summary>Marks the start of a text.</summary>
    public const string StartText = "<|startoftext|>";

    /// <summary>Marks the end of a text.</summary>
    public const string EndText = "<|endoftext|>";

    /// <summary>
    /// The one mark whose other case is a letter (iota): ignoring case, the authors' pattern finds it in none of its classes and drops it.
    /// </summary>
    private const int IotaSubscript = 0x345;

    private static readonly string[] s_fixedPieces = [StartText, EndText, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    private enum Kind
    {
        Dropped,
        Letter,
        Number,
        Other,
    }

    /// <inheritdoc/>
    public override IEnumerable<(int Offset, int Length)> PreTokenize(string text)
    {
        for (int at = 0; at < text.Length;)
        {
            (Kind kind, int length) = Next(text, at);
            if (kind != Kind.Dropped)
            {
                length = FixedPiece(text, at) ?? (kind == Kind.Number ? length : Run(text, at, kind));
                yield return (at, length);
            }

            at += length;
        }
    }

    /// <inheritdoc/>
    public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => PreTokenize(text.ToString());

    private static int? FixedPiece(string text, int at)
    {
        if (text[at] is '<' or '\'')
        {
            foreach (string piece in s_fixedPieces)
            {
                if (at + piece.Length <= text.Length && Same(text.AsSpan(at, piece.Length), piece))
                {
                    return piece.Length;
                }
            }
        }

        return null;
    }

    /// <summary>Equality without regard to case; Python's holds the long s for an s as well.</summary>
    private static bool Same(ReadOnlySpan<char> text, string piece)
    {
        for (int i = 0; i < piece.Length; i++)
        {
            char character = text[i] == '\u017F' ? 's' : char.ToLowerInvariant(text[i]);
            if (character != piece[i])
            {
                return false;
            }
        }

        return true;
    }

    private static int Run(string text, int start, Kind wanted)
    {
        int at = start;
        while (at < text.Length && Next(text, at) is (Kind kind, int length) && kind == wanted)
        {
            at += length;
        }

        return at - start;
    }

    private static (Kind Kind, int Length) Next(string text, int at)
    {
        _ = Rune.DecodeFromUtf16(text.AsSpan(at), out Rune rune, out int length);
        Kind kind = Rune.IsWhiteSpace(rune) || rune.Value == IotaSubscript ? Kind.Dropped : Rune.GetUnicodeCategory(rune) switch
        {
            <= UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
        return (kind, length);
    }
}
