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
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new UserError($"{path.Replace('\0', '?')}: cannot be read ({failure.Message})", failure);
        }
    }

    /// <summary>The whole of a UTF-8 file.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">It is missing, not readable, or not UTF-8.</exception>
    public static string ReadAll(string path)
    {
        using StreamReader reader = OpenText(path);
        try
        {
            return reader.ReadToEnd();
        }
        catch (Exception failure) when (failure is IOException or DecoderFallbackException)
        {
            throw new UserError($"{path}: cannot be read as UTF-8 ({failure.Message})", failure);
        }
    }

    /// <summary>The full path of a name in a data file. A name that no file can have stays as it is, so that it fails where it is opened, like any other missing file.</summary>
    /// <param name="name">Relative or absolute.</param>
    /// <param name="root">What it is relative to, absolute.</param>
    public static string Resolve(string name, string root) => name.Contains('\0') ? Path.Combine(root, name) : Path.GetFullPath(name, root);

    /// <summary>Opens strict UTF-8 text; a byte order mark is skipped.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">It is missing or not readable.</exception>
    public static StreamReader OpenText(string path) =>
        new(Open(path), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true), detectEncodingFromByteOrderMarks: true);

    /// <summary>The lines of a UTF-8 file, without their ends (LF or CRLF).</summary>
    /// <param name="path">The file.</param>
    /// <param name="maxLength">A longer line is refused before it fills memory.</param>
    /// <exception cref="UserError">The file is missing, unreadable, not UTF-8, or has a longer line.</exception>
    public static IEnumerable<string> Lines(string path, int maxLength)
    {
        using StreamReader reader = OpenText(path);
        StringBuilder line = new();
        int number = 1;
        for (int next = Read(reader, path, number); next >= 0; next = Read(reader, path, number))
        {
            if (next == '\n')
            {
                yield return Finish(line);
                number++;
            }
            else if (line.Append((char)next).Length > maxLength)
            {
                throw new UserError($"{path}: line {number} is longer than {maxLength} characters; is this the right file?");
            }
        }

        if (line.Length > 0)
        {
            yield return Finish(line);
        }
    }

    private static string Finish(StringBuilder line)
    {
        string text = line.Length > 0 && line[^1] == '\r' ? line.ToString(0, line.Length - 1) : line.ToString();
        line.Clear();
        return text;
    }

    private static int Read(StreamReader reader, string path, int line)
    {
        try
        {
            return reader.Read();
        }
        catch (DecoderFallbackException failure)
        {
            throw new UserError($"{path}: is not UTF-8 in or after line {line}", failure);
        }
        catch (IOException failure)
        {
            throw new UserError($"{path}: cannot be read ({failure.Message})", failure);
        }
    }
}
