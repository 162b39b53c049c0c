// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.Text;

namespace HiMo.Trainer;

/// <summary>One entry of a zip archive.</summary>
/// <param name="Name">Its path in the archive.</param>
/// <param name="Length">Bytes of its content.</param>
/// <param name="IsStored">Whether the content lies in the archive as it is.</param>
/// <param name="Crc32">Checksum of the content, which some writers leave wrong.</param>
/// <param name="HeaderOffset">Where its local header lies.</param>
internal sealed record ZipEntry(string Name, long Length, bool IsStored, uint Crc32, long HeaderOffset);

/// <summary>
/// The table of contents of a zip archive, with the place of each stored entry, which System.IO.Compression does not tell.
/// Local headers of torch carry no sizes, so only the central directory is believed. Source: PKWARE APPNOTE 6.3.
/// </summary>
internal sealed class ZipIndex
{
    private const uint EndSignature = 0x06054b50;
    private const uint End64Signature = 0x06064b50;
    private const uint Locator64Signature = 0x07064b50;
    private const uint EntrySignature = 0x02014b50;
    private const uint LocalSignature = 0x04034b50;
    private const int EndSize = 22;
    private const int Locator64Size = 20;
    private const int End64Size = 56;
    private const int EntrySize = 46;
    private const int LocalSize = 30;
    private const int MaxDirectory = 64 << 20;
    private const int PieceSize = 1 << 20;

    private readonly CheckpointFile _file;
    private readonly Dictionary<string, ZipEntry> _entries = [];

    /// <summary>Reads the central directory.</summary>
    /// <param name="file">The archive.</param>
    /// <exception cref="UserError">It has none, or a damaged one.</exception>
    public ZipIndex(CheckpointFile file)
    {
        _file = file;
        (long offset, long size, long count) = FindDirectory();
        if (size > MaxDirectory || offset < 0 || size < 0 || offset > file.Length - size || count < 0 || count > size / EntrySize)
        {
            throw Damaged($"its directory of {count} entries cannot lie at bytes {offset} to {offset + size} of {file.Length}");
        }

        byte[] directory = new byte[size];
        file.Read(directory, offset, "the zip directory");
        ReadDirectory(directory, count);
    }

    /// <summary>The entries by name.</summary>
    public IReadOnlyDictionary<string, ZipEntry> Entries => _entries;

    /// <summary>Where the content of an entry starts in the file.</summary>
    /// <param name="entry">A stored entry.</param>
    /// <exception cref="UserError">It is compressed, or its local header is damaged.</exception>
    public long DataOffset(ZipEntry entry)
    {
        if (!entry.IsStored)
        {
            throw new UserError($"{_file.Path}: entry {entry.Name} is compressed, which torch.save never does; save the checkpoint again with torch.save");
        }

        Span<byte> header = stackalloc byte[LocalSize];
        if (entry.HeaderOffset < 0 || entry.HeaderOffset > _file.Length - LocalSize)
        {
            throw Damaged($"entry {entry.Name} cannot lie at byte {entry.HeaderOffset} of {_file.Length}");
        }

        _file.Read(header, entry.HeaderOffset, $"the header of {entry.Name}");
        long start = entry.HeaderOffset + LocalSize + BinaryPrimitives.ReadUInt16LittleEndian(header[26..]) + BinaryPrimitives.ReadUInt16LittleEndian(header[28..]);
        return BinaryPrimitives.ReadUInt32LittleEndian(header) == LocalSignature && start <= _file.Length - entry.Length
            ? start
            : throw Damaged($"entry {entry.Name} of {entry.Length} bytes has no local header at byte {entry.HeaderOffset}, or the file ends inside it");
    }

    /// <summary>Reads a whole entry.</summary>
    /// <param name="entry">A stored entry.</param>
    /// <param name="maxLength">Longest content accepted.</param>
    /// <exception cref="UserError">It is longer, compressed or damaged.</exception>
    public byte[] ReadAll(ZipEntry entry, int maxLength)
    {
        if (entry.Length > maxLength)
        {
            throw new UserError($"{_file.Path}: entry {entry.Name} has {entry.Length} bytes; more than {maxLength} are not plausible");
        }

        long offset = DataOffset(entry);
        byte[] content = new byte[entry.Length];
        _file.Read(content, offset, entry.Name);
        return content;
    }

    /// <summary>Names of the stored entries whose content has not the checksum that the directory gives.</summary>
    /// <exception cref="UserError">An entry cannot be read.</exception>
    public IReadOnlyList<string> FindMismatches()
    {
        byte[] piece = new byte[PieceSize];
        return [.. _entries.Values.Where(entry => entry.IsStored && Checksum(entry, piece) != entry.Crc32).Select(entry => entry.Name)];
    }

    private uint Checksum(ZipEntry entry, byte[] piece)
    {
        long start = DataOffset(entry);
        uint crc = 0;
        for (long done = 0; done < entry.Length; done += piece.Length)
        {
            Span<byte> part = piece.AsSpan(0, (int)Math.Min(piece.Length, entry.Length - done));
            _file.Read(part, start + done, entry.Name);
            crc = Crc32.Append(crc, part);
        }

        return crc;
    }

    private (long Offset, long Size, long Count) FindDirectory()
    {
        int tailSize = (int)Math.Min(_file.Length, EndSize + ushort.MaxValue);
        byte[] tail = new byte[tailSize];
        long tailOffset = _file.Length - tailSize;
        _file.Read(tail, tailOffset, "the end of the archive");
        for (int i = tailSize - EndSize; i >= 0; i--)
        {
            if (BinaryPrimitives.ReadUInt32LittleEndian(tail.AsSpan(i)) == EndSignature)
            {
                ReadOnlySpan<byte> end = tail.AsSpan(i);
                ushort count = BinaryPrimitives.ReadUInt16LittleEndian(end[10..]);
                uint size = BinaryPrimitives.ReadUInt32LittleEndian(end[12..]), offset = BinaryPrimitives.ReadUInt32LittleEndian(end[16..]);
                return count == ushort.MaxValue || size == uint.MaxValue || offset == uint.MaxValue ? FindDirectory64(tailOffset + i) : (offset, size, count);
            }
        }

        throw Damaged("it has no zip directory at its end; it is truncated");
    }

    private (long Offset, long Size, long Count) FindDirectory64(long end)
    {
        Span<byte> locator = stackalloc byte[Locator64Size];
        if (end >= Locator64Size)
        {
            _file.Read(locator, end - Locator64Size, "the zip64 locator");
            long offset = BinaryPrimitives.ReadInt64LittleEndian(locator[8..]);
            if (BinaryPrimitives.ReadUInt32LittleEndian(locator) == Locator64Signature && offset >= 0 && offset <= _file.Length - End64Size)
            {
                Span<byte> record = stackalloc byte[End64Size];
                _file.Read(record, offset, "the zip64 directory record");
                if (BinaryPrimitives.ReadUInt32LittleEndian(record) == End64Signature)
                {
                    return (BinaryPrimitives.ReadInt64LittleEndian(record[48..]), BinaryPrimitives.ReadInt64LittleEndian(record[40..]), BinaryPrimitives.ReadInt64LittleEndian(record[32..]));
                }
            }
        }

        throw Damaged("its zip64 directory is missing");
    }

    private void ReadDirectory(ReadOnlySpan<byte> directory, long count)
    {
        for (long i = 0; i < count; i++)
        {
            if (directory.Length < EntrySize || BinaryPrimitives.ReadUInt32LittleEndian(directory) != EntrySignature)
            {
                throw Damaged($"entry {i} of its directory is malformed");
            }

            int nameLength = BinaryPrimitives.ReadUInt16LittleEndian(directory[28..]), extraLength = BinaryPrimitives.ReadUInt16LittleEndian(directory[30..]);
            int total = EntrySize + nameLength + extraLength + BinaryPrimitives.ReadUInt16LittleEndian(directory[32..]);
            if (directory.Length < total)
            {
                throw Damaged($"entry {i} of its directory is malformed");
            }

            string name = Encoding.UTF8.GetString(directory.Slice(EntrySize, nameLength));
            (long length, long packed, long offset) = Sizes(directory, directory.Slice(EntrySize + nameLength, extraLength), name);
            bool isStored = BinaryPrimitives.ReadUInt16LittleEndian(directory[10..]) == 0 && (directory[8] & 1) == 0 && length == packed;
            if (length < 0 || !_entries.TryAdd(name, new ZipEntry(name, length, isStored, BinaryPrimitives.ReadUInt32LittleEndian(directory[16..]), offset)))
            {
                throw Damaged($"its directory names {name} twice or with an impossible size");
            }

            directory = directory[total..];
        }
    }

    /// <summary>Sizes and offset; those that do not fit 32 bits stand in the zip64 field, in this order.</summary>
    private (long Length, long Packed, long Offset) Sizes(ReadOnlySpan<byte> entry, ReadOnlySpan<byte> extra, string name)
    {
        long packed = BinaryPrimitives.ReadUInt32LittleEndian(entry[20..]), length = BinaryPrimitives.ReadUInt32LittleEndian(entry[24..]), offset = BinaryPrimitives.ReadUInt32LittleEndian(entry[42..]);
        while (extra.Length >= 4)
        {
            int tag = BinaryPrimitives.ReadUInt16LittleEndian(extra), size = BinaryPrimitives.ReadUInt16LittleEndian(extra[2..]);
            if (size > extra.Length - 4)
            {
                break;
            }

            ReadOnlySpan<byte> field = extra.Slice(4, size);
            if (tag == 1)
            {
                length = Widen(length, ref field, name);
                packed = Widen(packed, ref field, name);
                offset = Widen(offset, ref field, name);
            }

            extra = extra[(4 + size)..];
        }

        return (length, packed, offset);
    }

    private long Widen(long value, ref ReadOnlySpan<byte> field, string name)
    {
        if (value != uint.MaxValue)
        {
            return value;
        }

        if (field.Length < 8)
        {
            throw Damaged($"the sizes of {name} are missing");
        }

        long wide = BinaryPrimitives.ReadInt64LittleEndian(field);
        field = field[8..];
        return wide;
    }

    private UserError Damaged(string what) => new($"{_file.Path}: is no intact zip archive: {what}; copy or download it again");
}
