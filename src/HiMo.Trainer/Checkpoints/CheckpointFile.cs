// SPDX-License-Identifier: Apache-2.0
using Microsoft.Win32.SafeHandles;

namespace HiMo.Trainer;

/// <summary>An open file that tensors are read from, piece by piece, at any offset.</summary>
internal sealed class CheckpointFile : IDisposable
{
    private readonly SafeFileHandle _handle;

    /// <summary>Opens a file for reading.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">It is missing, a folder, or may not be read.</exception>
    public CheckpointFile(string path)
    {
        Path = path;
        try
        {
            _handle = File.OpenHandle(path);
            Length = RandomAccess.GetLength(_handle);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            _handle?.Dispose();
            throw new UserError($"{path}: cannot be read ({failure.Message})", failure);
        }
    }

    /// <summary>As the user gave it.</summary>
    public string Path { get; }

    /// <summary>Bytes in the file.</summary>
    public long Length { get; }

    /// <summary>Fills the span from the file.</summary>
    /// <param name="bytes">Receives the content.</param>
    /// <param name="offset">Where it starts in the file.</param>
    /// <param name="what">What is read, for the message.</param>
    /// <exception cref="UserError">The file ends before, or cannot be read.</exception>
    public void Read(Span<byte> bytes, long offset, string what)
    {
        try
        {
            while (bytes.Length > 0)
            {
                int count = RandomAccess.Read(_handle, bytes, offset);
                if (count == 0)
                {
                    throw new UserError($"{Path}: ends at byte {Length} inside {what}; it is truncated, copy or download it again");
                }

                bytes = bytes[count..];
                offset += count;
            }
        }
        catch (IOException failure)
        {
            throw new UserError($"{Path}: cannot be read ({failure.Message})", failure);
        }
    }

    public void Dispose() => _handle.Dispose();
}
