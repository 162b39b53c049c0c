// SPDX-License-Identifier: Apache-2.0
using System.Text;

namespace HiMo.Trainer;

/// <summary>Opens text files so that every failure is a <see cref="UserError"/>.</summary>
internal static class TextFile
{
    /// <summary>Opens for sequential reading.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">It is missing or not readable.</exception>
    public static FileStream Open(string path)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1 << 16, FileOptions.SequentialScan);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new UserError($"{path}: cannot be read ({failure.Message})", failure);
        }
    }

    /// <summary>Opens strict UTF-8 text; a byte order mark is skipped.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">It is missing or not readable.</exception>
    public static StreamReader OpenText(string path) =>
        new(Open(path), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true), detectEncodingFromByteOrderMarks: true);
}
