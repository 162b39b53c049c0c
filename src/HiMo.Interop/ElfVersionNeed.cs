// SPDX-License-Identifier: Apache-2.0
// The table of symbol versions that a 64-bit little-endian ELF file needs (section type SHT_GNU_verneed).
// Layout     ELF header: section table at 0x28 (8 bytes), size of an entry at 0x3a, their number at 0x3c.
//            Section header: type at 4, file offset at 24, linked section (its strings) at 40, number of records at 44.
//            Verneed, one per library: number of versions at 2, first version at 8, next library at 12 (relative).
//            Vernaux, one per version: flags at 4, name in the strings at 8, next version at 12 (relative).
// Source     Linux Standard Base Core, "Symbol Versioning"; System V ABI, "Sections".
using System.Buffers.Binary;
using System.Text;

namespace HiMo.Interop;

internal static class ElfVersionNeed
{
    private const uint VersionNeedSection = 0x6ffffffe;
    private const byte WeakFlag = 2;

    /// <summary>Marks the need for one symbol version as weak: a library that lacks it is then accepted.</summary>
    /// <param name="file">The whole file; one byte of it changes.</param>
    /// <param name="version">For example <c>GLIBCXX_3.4.32</c>; must be needed exactly once.</param>
    /// <exception cref="InvalidDataException">The file is not of this form: a library that is half understood must not be loaded.</exception>
    public static void MakeWeak(Span<byte> file, string version)
    {
        if (!At(file, 0, 6).SequenceEqual("\u007fELF\u0002\u0001"u8))
        {
            throw new InvalidDataException("Not a 64-bit little-endian ELF file.");
        }

        long table = Int64(file, 0x28);
        int headerSize = UInt16(file, 0x3a);
        int found = 0;
        for (int i = 0; i < UInt16(file, 0x3c); i++)
        {
            long header = table + ((long)i * headerSize);
            if (UInt32(file, header + 4) == VersionNeedSection)
            {
                long linked = table + (UInt32(file, header + 40) * (long)headerSize);
                found += MarkSection(file, Int64(file, header + 24), UInt32(file, header + 44), Int64(file, linked + 24), version);
            }
        }

        if (found != 1)
        {
            throw new InvalidDataException($"The ELF file needs {version} {found} times, expected once.");
        }
    }

    private static int MarkSection(Span<byte> file, long library, uint libraries, long strings, string version)
    {
        int found = 0;
        for (; libraries > 0; libraries--)
        {
            long need = library + UInt32(file, library + 8);
            for (int left = UInt16(file, library + 2); left > 0; left--)
            {
                if (IsName(file, strings + UInt32(file, need + 8), version))
                {
                    At(file, need + 4, 1)[0] |= WeakFlag;       // little-endian: the low byte of the flags
                    found++;
                }

                need += UInt32(file, need + 12);
            }

            library += UInt32(file, library + 12);
        }

        return found;
    }

    private static bool IsName(Span<byte> file, long start, string name)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(name + '\0');
        return start <= file.Length - bytes.Length && At(file, start, bytes.Length).SequenceEqual(bytes);
    }

    private static ushort UInt16(Span<byte> file, long start) => BinaryPrimitives.ReadUInt16LittleEndian(At(file, start, 2));

    private static uint UInt32(Span<byte> file, long start) => BinaryPrimitives.ReadUInt32LittleEndian(At(file, start, 4));

    private static long Int64(Span<byte> file, long start) => BinaryPrimitives.ReadInt64LittleEndian(At(file, start, 8));

    private static Span<byte> At(Span<byte> file, long start, int length) =>
        start >= 0 && start <= file.Length - length
            ? file.Slice((int)start, length)
            : throw new InvalidDataException($"ELF offset {start} lies outside the file of {file.Length} bytes.");
}
