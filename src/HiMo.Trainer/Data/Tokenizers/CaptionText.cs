// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>
/// What CLIP does to a caption before it is tokenised: HTML references resolved twice, white space collapsed, lower case as Python makes it.
/// The repairs of the ftfy package are not made. Source: openai/CLIP clip/simple_tokenizer.py.
/// </summary>
internal static partial class CaptionText
{
    private const char CapitalSigma = '\u03A3';
    private const char SmallSigma = '\u03C3';
    private const char FinalSigma = '\u03C2';

    /// <summary>The cleaned text.</summary>
    /// <param name="text">A caption as a file holds it.</param>
    public static string Clean(string text) =>
        Lower(Strip(WhiteSpace().Replace(Strip(HtmlText.Unescape(HtmlText.Unescape(text))), " ")));

    /// <summary>Python's strip: the four separators from U+001C on count as white space here, though not in <c>\s</c>.</summary>
    private static string Strip(string text)
    {
        int start = 0;
        int end = text.Length;
        while (start < end && IsStripped(text[start]))
        {
            start++;
        }

        while (end > start && IsStripped(text[end - 1]))
        {
            end--;
        }

        return text[start..end];

        static bool IsStripped(char character) => char.IsWhiteSpace(character) || character is >= '\u001C' and <= '\u001F';
    }

    /// <summary>Unicode's full lower-casing, where .NET maps single characters only: two of its rules give something else.</summary>
    private static string Lower(string text)
    {
        string lower = text.Replace("\u0130", "i\u0307").ToLowerInvariant();
        if (!text.Contains(CapitalSigma))
        {
            return lower;
        }

        StringBuilder result = new(text.Replace("\u0130", "i\u0307"));
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = result[i] != CapitalSigma ? lower[i] : IsFinal(lower, i) ? FinalSigma : SmallSigma;
        }

        return result.ToString();
    }

    /// <summary>A sigma at the end of a word: a cased letter before it, none behind it, ignorable characters in between skipped.</summary>
    private static bool IsFinal(string text, int at)
    {
        int before = at;
        int behind = at + 1;
        bool casedBefore = false;
        while (before > 0 && Rune.DecodeLastFromUtf16(text.AsSpan(0, before), out Rune rune, out int length) == System.Buffers.OperationStatus.Done)
        {
            before -= length;
            if (!IsIgnorable(rune))
            {
                casedBefore = IsCased(rune);
                break;
            }
        }

        while (behind < text.Length && Rune.DecodeFromUtf16(text.AsSpan(behind), out Rune rune, out int length) == System.Buffers.OperationStatus.Done)
        {
            behind += length;
            if (!IsIgnorable(rune))
            {
                return casedBefore && !IsCased(rune);
            }
        }

        return casedBefore;
    }

    /// <summary>Unicode's Cased: letters with case, and the signs that look like them (ordinals, Roman numerals, circled and squared letters).</summary>
    private static bool IsCased(Rune rune) => Rune.GetUnicodeCategory(rune)
            is UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
        || rune.Value is 0xAA or 0xBA or (>= 0x2160 and <= 0x217F) or (>= 0x24B6 and <= 0x24E9)
            or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189);

    /// <summary>Unicode's Case_Ignorable: marks, format characters, modifiers, and the punctuation that stands inside words.</summary>
    private static bool IsIgnorable(Rune rune) => Rune.GetUnicodeCategory(rune)
            is UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark or UnicodeCategory.Format
            or UnicodeCategory.ModifierLetter or UnicodeCategory.ModifierSymbol
        || rune.Value is '\'' or '.' or ':' or 0xB7 or 0x387 or 0x55F or 0x5F4 or 0x2018 or 0x2019 or 0x2024 or 0x2027
            or 0xFE13 or 0xFE52 or 0xFE55 or 0xFF07 or 0xFF0E or 0xFF1A;

    [GeneratedRegex(@"\s+")]
    private static partial Regex WhiteSpace();
}
