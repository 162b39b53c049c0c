// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.RegularExpressions;
using AngleSharp.Html;

namespace HiMo.Trainer;

/// <summary>
/// HTML character references as Python's html.unescape resolves them: all names of HTML5, the old ones without semicolon and as
/// prefixes too, numbers with the standard's replacements. .NET's WebUtility knows neither the other names nor the lenient forms.
/// </summary>
internal static partial class HtmlText
{
    private const string Replacement = "\uFFFD";

    /// <summary>What the numbers 128 to 159 mean in old pages: the Windows code page 1252; unassigned ones stay control characters.</summary>
    private const string Windows1252 =
        "\u20ac\u0081\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u008d\u017d\u008f" +
        "\u0090\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u009d\u017e\u0178";

    /// <summary>The text with its references resolved once.</summary>
    /// <param name="text">Any text.</param>
    public static string Unescape(string text) => text.Contains('&') ? Reference().Replace(text, Resolve) : text;

    private static string Resolve(Match match)
    {
        string name = match.Groups[1].Value;
        if (name[0] == '#')
        {
            return FromNumber(name);
        }

        // The whole name, then ever shorter prefixes of at least two letters.
        for (int length = name.Length; length >= Math.Min(2, name.Length); length--)
        {
            if (HtmlEntityProvider.Resolver.GetSymbol(name[..length]) is { } symbol)
            {
                return symbol + name[length..];
            }
        }

        return match.Value;
    }

    private static string FromNumber(string reference)
    {
        ReadOnlySpan<char> digits = reference.AsSpan(1).TrimEnd(';');
        bool hexadecimal = digits[0] is 'x' or 'X';
        BigInteger number = hexadecimal
            ? BigInteger.Parse(string.Concat("0", digits[1..]), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)
            : BigInteger.Parse(digits, NumberStyles.None, CultureInfo.InvariantCulture);
        if (number > 0x10FFFF || number.IsZero || (number >= 0xD800 && number <= 0xDFFF))
        {
            return Replacement;
        }

        int code = (int)number;
        return code switch
        {
            '\r' => "\r",
            >= 0x80 and <= 0x9F => Windows1252[code - 0x80].ToString(),
            (>= 1 and <= 8) or (>= 0xB and <= 0x1F and not 0xC) or 0x7F or (>= 0xFDD0 and <= 0xFDEF) => "",
            _ when (code & 0xFFFE) == 0xFFFE => "",
            _ => new Rune(code).ToString(),
        };
    }

    [GeneratedRegex(@"&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")]
    private static partial Regex Reference();
}
