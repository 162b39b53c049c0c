// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Turns a caption into the ids that the text encoder reads. Start and end tokens are included, and the end token has the highest id of all.</summary>
internal interface ITokenizer
{
    /// <summary>Ids lie in [0, VocabSize).</summary>
    int VocabSize { get; }

    /// <summary>
    /// Start token, the text, end token, then zeros up to <paramref name="context"/>. A longer text is cut so that the end token comes last.
    /// </summary>
    /// <param name="text">A caption; may be empty.</param>
    /// <param name="context">Length of the result, at least 2.</param>
    int[] Encode(string text, int context);

    /// <summary>How many ids the whole text takes, start and end tokens included; above the context it is cut.</summary>
    /// <param name="text">A caption.</param>
    int Count(string text);
}
