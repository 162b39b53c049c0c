// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;

namespace HiMo.Trainer;

/// <summary>
/// NumPy's array format, versions 1 and 2: little-endian f4, f8, i8, i4 and u1 in C order. A header is believed only as far as
/// the file's length confirms it, so no malformed file makes this allocate more than its own size.
/// </summary>
internal static class NpyFile
{
    private const int MaxHeader = 1 << 16;
    private const int ChunkBytes = 1 << 20;

    private static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    /// <summary>
    /// Reads a whole file. T is float or double for f4 and f8 (converted as needed, f8 to float by rounding), long or int for
    /// integers that fit whatever their value, byte for u1.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">The file is missing, malformed, or holds a type that T cannot take.</exception>
    public static NpyArray<T> Read<T>(string path)
        where T : unmanaged, INumber<T>
    {
        try
        {
            using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1 << 16);
            (string type, int[] shape) = ReadHeader(stream, path);
            T[] elements = type switch
            {
                "f4" when IsFloat<T>() => ReadElements<float, T>(stream, shape, path),
                "f8" when IsFloat<T>() => ReadElements<double, T>(stream, shape, path),
                "i8" when typeof(T) == typeof(long) => ReadElements<long, T>(stream, shape, path),
                "i4" when typeof(T) == typeof(long) || typeof(T) == typeof(int) => ReadElements<int, T>(stream, shape, path),
                "u1" when !IsFloat<T>() => ReadElements<byte, T>(stream, shape, path),
                _ => throw new UserError($"{path}: holds {type}, wanted {Wanted<T>()}; convert it with numpy's astype"),
            };
            return new NpyArray<T>(elements, shape, type);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new UserError($"{path}: cannot be read ({failure.Message})", failure);
        }
    }

    /// <summary>Writes a file of version 1.0, complete or not at all.</summary>
    /// <param name="path">The file to create or replace; missing folders are created.</param>
    /// <param name="elements">All values in C order.</param>
    /// <param name="shape">Their shape.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public static void Write<T>(string path, ReadOnlyMemory<T> elements, params int[] shape)
        where T : unmanaged, INumber<T>
    {
        long count = shape.Aggregate(1L, (product, size) => product * size);
        if (count != elements.Length)
        {
            throw new ArgumentException($"shape {string.Join(" x ", shape)} is {count} elements, given are {elements.Length}", nameof(shape));
        }

        byte[] header = Header(Descriptor<T>(), shape);
        AtomicFile.Write(path, stream =>
        {
            stream.Write(header);
            int step = ChunkBytes / Marshal.SizeOf<T>();
            for (int start = 0; start < elements.Length; start += step)
            {
                stream.Write(MemoryMarshal.AsBytes(elements.Span.Slice(start, Math.Min(step, elements.Length - start))));
            }
        });
    }

    /// <summary>Type, shape, and where the data start.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">The file is missing or malformed.</exception>
    public static (string Type, int[] Shape, long DataStart) ReadHeader(string path)
    {
        using FileStream stream = TextFile.Open(path);
        (string type, int[] shape) = ReadHeader(stream, path);
        return (type, shape, stream.Position);
    }

    /// <summary>The header of n x e float32 values; of the same length for every n, so that it can be written when n is known.</summary>
    /// <param name="rows">n.</param>
    /// <param name="columns">e.</param>
    public static byte[] Float32Header(int rows, int columns) => Header(Descriptor<float>(), [rows, columns]);

    private static bool IsFloat<T>() => typeof(T) == typeof(float) || typeof(T) == typeof(double);

    private static string Wanted<T>() =>
        IsFloat<T>() ? "f4 or f8" : typeof(T) == typeof(long) ? "i8, i4 or u1" : typeof(T) == typeof(int) ? "i4 or u1" : "u1";

    private static string Descriptor<T>() => Type.GetTypeCode(typeof(T)) switch
    {
        TypeCode.Single => "<f4",
        TypeCode.Double => "<f8",
        TypeCode.Int64 => "<i8",
        TypeCode.Int32 => "<i4",
        TypeCode.Byte => "|u1",
        _ => throw new NotSupportedException($"{typeof(T)} has no place in these .npy files"),
    };

    private static (string Type, int[] Shape) ReadHeader(FileStream stream, string path)
    {
        Span<byte> start = stackalloc byte[8];
        if (stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) < start.Length || !start.StartsWith(Magic))
        {
            throw new UserError($"{path}: is no .npy file (its first bytes are not \\x93NUMPY)");
        }

        int version = start[6];
        if (version is not (1 or 2))
        {
            throw new UserError($"{path}: .npy format version {version}.{start[7]}, readable are 1.0 and 2.0");
        }

        Span<byte> lengthBytes = stackalloc byte[version == 1 ? 2 : 4];
        ReadAll(stream, lengthBytes, path, "header");
        long length = version == 1 ? BinaryPrimitives.ReadUInt16LittleEndian(lengthBytes) : BinaryPrimitives.ReadUInt32LittleEndian(lengthBytes);
        if (length > MaxHeader)
        {
            throw new UserError($"{path}: a .npy header of {length} bytes is not plausible (at most {MaxHeader}); the file is damaged");
        }

        byte[] bytes = new byte[length];
        ReadAll(stream, bytes, path, "header");
        return NpyHeader.Parse(Encoding.Latin1.GetString(bytes), path);
    }

    private static T[] ReadElements<TStored, T>(FileStream stream, int[] shape, string path)
        where TStored : unmanaged, INumber<TStored>
        where T : unmanaged, INumber<T>
    {
        Int128 count = 1;
        foreach (int size in shape)
        {
            // The product of many sizes passes any integer; beyond this bound its value no longer matters.
            count = Int128.Min(count * size, (Int128)long.MaxValue);
        }

        int width = Marshal.SizeOf<TStored>();
        long available = stream.Length - stream.Position;
        if (count * width != available)
        {
            string verdict = count * width > available ? "truncated" : "followed by something else";
            throw new UserError($"{path}: the header announces {string.Join(" x ", shape)} values of {width} bytes, the file holds {available} bytes of data; it is {verdict}");
        }

        if (count > Array.MaxLength)
        {
            throw new UserError($"{path}: {count} values are more than one array holds ({Array.MaxLength})");
        }

        T[] elements = new T[(int)count];
        TStored[] chunk = new TStored[Math.Min(elements.Length, ChunkBytes / width)];
        for (int start = 0; start < elements.Length; start += chunk.Length)
        {
            Span<TStored> part = chunk.AsSpan(0, Math.Min(chunk.Length, elements.Length - start));
            ReadAll(stream, MemoryMarshal.AsBytes(part), path, "data");
            for (int i = 0; i < part.Length; i++)
            {
                elements[start + i] = T.CreateTruncating(part[i]);
            }
        }

        return elements;
    }

    private static void ReadAll(Stream stream, Span<byte> bytes, string path, string what)
    {
        if (stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) < bytes.Length)
        {
            throw new UserError($"{path}: ends inside its {what}; it is truncated");
        }
    }

    private static byte[] Header(string descriptor, int[] shape)
    {
        string sizes = string.Concat(shape.Select(size => $"{size}, ")).TrimEnd();
        string text = $"{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({(shape.Length > 1 ? sizes.TrimEnd(',') : sizes)}), }}";
        const int Prefix = 10;
        int padded = (Prefix + text.Length + 1 + 63) / 64 * 64; // data starts at a multiple of 64, the last byte before it is a newline
        byte[] header = new byte[padded];
        Magic.CopyTo(header);
        header[6] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(header.AsSpan(8), (ushort)(padded - Prefix));
        _ = Encoding.Latin1.GetBytes((text.PadRight(padded - Prefix - 1) + "\n").AsSpan(), header.AsSpan(Prefix));
        return header;
    }
}
