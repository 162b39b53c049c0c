// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>The dictionary in a .npy file, for example <c>{'descr': '&lt;f4', 'fortran_order': False, 'shape': (8, 16), }</c>.</summary>
internal static partial class NpyHeader
{
    /// <summary>Type and shape; the keys may stand in any order, as the format allows.</summary>
    /// <param name="text">The header.</param>
    /// <param name="path">Its file, for messages.</param>
    /// <exception cref="UserError">The header is not such a dictionary, in Fortran order, or of a type that is not read.</exception>
    public static (string Type, int[] Shape) Parse(string text, string path)
    {
        Match descriptor = Descriptor().Match(text);
        Match order = Order().Match(text);
        Match shape = Shape().Match(text);
        if (!descriptor.Success || !order.Success || !shape.Success || !Dictionary().IsMatch(text))
        {
            throw new UserError($"{path}: its .npy header is not the usual dictionary of descr, fortran_order and shape: {Shorten(text)}");
        }

        if (order.Groups[1].Value == "True")
        {
            throw new UserError($"{path}: is in Fortran order; save numpy.ascontiguousarray(x) instead");
        }

        string type = descriptor.Groups[1].Value;
        if (type is not ("<f4" or "<f8" or "<i8" or "<i4" or "|u1"))
        {
            throw new UserError($"{path}: holds type '{Shorten(type)}'; readable are '<f4', '<f8', '<i8', '<i4' and '|u1' (little-endian)");
        }

        return (type[1..], Sizes(shape.Groups[1].Value, path));
    }

    private static int[] Sizes(string text, string path)
    {
        string[] parts = text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        int[] sizes = new int[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            if (!int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out sizes[i]))
            {
                throw new UserError($"{path}: a dimension of '{Shorten(parts[i])}' in its .npy header is not a size from 0 to {int.MaxValue}");
            }
        }

        return sizes;
    }

    private static string Shorten(string text)
    {
        string printable = Unprintable().Replace(text.Trim(), "?");
        return printable.Length <= 100 ? printable : printable[..100] + "...";
    }

    [GeneratedRegex(@"'descr'\s*:\s*'([^']*)'")]
    private static partial Regex Descriptor();

    [GeneratedRegex(@"'fortran_order'\s*:\s*(True|False)")]
    private static partial Regex Order();

    [GeneratedRegex(@"'shape'\s*:\s*\(([^()]*)\)")]
    private static partial Regex Shape();

    [GeneratedRegex(@"^\s*\{.*\}\s*$", RegexOptions.Singleline)]
    private static partial Regex Dictionary();

    [GeneratedRegex(@"[^\x20-\x7E]")]
    private static partial Regex Unprintable();
}
