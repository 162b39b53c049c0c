// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Writes files so that a reader sees the old content or the new one, never half of it.</summary>
internal static class AtomicFile
{
    /// <summary>Writes beside <paramref name="path"/> and renames; missing folders are created.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="write">Writes the content; if it throws, nothing is left behind.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        string full = Path.GetFullPath(path);
        string temporary = $"{full}.{Environment.ProcessId}.{Guid.NewGuid():N}.tmp";
        try
        {
            _ = Directory.CreateDirectory(Path.GetDirectoryName(full)!);
            using (FileStream stream = new(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, full, overwrite: true);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or ArgumentOutOfRangeException { ParamName: "value" })
        {
            // The last kind is what .NET makes of a file beyond the system's largest size (EFBIG).
            // The user knows nothing of the name beside it.
            throw new UserError($"{path}: cannot be written ({failure.Message.Replace(temporary, full, StringComparison.Ordinal)})", failure);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>Writes UTF-8 text without a byte order mark.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="text">Its whole content.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public static void WriteText(string path, string text) => Write(path, stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(text)));
}
