// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>
/// Sentences of a caption. A sentence ends at full stops, exclamation or question marks, with the quotes and brackets that close on them,
/// where white space or the end follows; so <c>3.5</c> is whole and an abbreviation with a space behind ends a sentence. The paper does not
/// say how it splits; this rule is ours.
/// </summary>
internal static partial class Sentences
{
    /// <summary>The sentences in order, without the white space between them; none are empty.</summary>
    /// <param name="caption">Any text.</param>
    public static List<string> Split(string caption)
    {
        List<string> sentences = [];
        int start = 0;
        foreach (ValueMatch end in Ends().EnumerateMatches(caption))
        {
            Add(caption[start..(end.Index + end.Length)]);
            start = end.Index + end.Length;
        }

        Add(caption[start..]);
        return sentences;

        void Add(string part)
        {
            string trimmed = part.Trim();
            if (trimmed.Length > 0)
            {
                sentences.Add(trimmed);
            }
        }
    }

    [GeneratedRegex("""[.!?]+["'\u201d\u2019)\]]*(?=\s|$)""")]
    private static partial Regex Ends();
}
