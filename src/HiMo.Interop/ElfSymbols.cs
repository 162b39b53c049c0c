// SPDX-License-Identifier: Apache-2.0
// The dynamic symbols of a 64-bit little-endian ELF file, read without loading it: what it needs of other libraries, and what it offers.
// Layout     ELF header: section table at 0x28 (8 bytes), size of an entry at 0x3a, their number at 0x3c.
//            Section header: type at 4, file offset at 24, size at 32, linked section (its strings) at 40.
//            Symbol (24 bytes): name in the strings at 0, binding in the high half of the byte at 4, section at 6 (0: undefined).
//            Version of a symbol (2 bytes each, same order): 0 local, 1 without version, higher: of a named version.
// Source     System V ABI, "Symbol Table"; Linux Standard Base Core, "Symbol Versioning".
using System.Buffers.Binary;
using System.Text;

namespace HiMo.Interop;

internal static class ElfSymbols
{
    private const int SectionHeaderSize = 64;
    private const int SymbolSize = 24;
    private const uint DynamicSymbols = 11;
    private const uint SymbolVersions = 0x6fffffff;
    private const int GlobalBinding = 1;
    private const ushort LastWithoutVersion = 1;

    /// <summary>Symbols that a library needs and that have no version: those of the C and C++ runtimes have one.</summary>
    /// <param name="path">A shared library.</param>
    /// <exception cref="InvalidDataException">The file is not of this form.</exception>
    public static HashSet<string> Needed(string path) =>
        [.. Read(path).Where(symbol => symbol.Section == 0 && symbol.Binding == GlobalBinding && symbol.Version <= LastWithoutVersion).Select(symbol => symbol.Name)];

    /// <summary>Symbols that a library needs and none of the others offers, in the order of their names.</summary>
    /// <param name="path">A shared library.</param>
    /// <param name="others">The libraries that shall offer them; those that do not exist offer nothing.</param>
    /// <exception cref="InvalidDataException">A file is not of this form.</exception>
    public static string[] Missing(string path, IEnumerable<string> others)
    {
        HashSet<string> missing = Needed(path);
        foreach (string other in others.Where(File.Exists))
        {
            missing.ExceptWith(Read(other).Where(symbol => symbol.Section != 0).Select(symbol => symbol.Name));
        }

        return [.. missing.Order(StringComparer.Ordinal)];
    }

    private static List<Symbol> Read(string path)
    {
        using FileStream file = File.OpenRead(path);
        byte[] start = Bytes(file, 0, 64);
        if (!start.AsSpan(0, 6).SequenceEqual("\u007fELF\u0002\u0001"u8) || UInt16(start, 0x3a) != SectionHeaderSize)
        {
            throw new InvalidDataException($"{path} is not a 64-bit little-endian ELF file.");
        }

        byte[] sections = Bytes(file, Int64(start, 0x28), UInt16(start, 0x3c) * (long)SectionHeaderSize);
        byte[]? Content(uint type) => Section(type) is int found ? ContentOf(found) : null;
        int? Section(uint type)
        {
            for (int header = 0; header < sections.Length; header += SectionHeaderSize)
            {
                if (UInt32(sections, header + 4) == type)
                {
                    return header;
                }
            }

            return null;
        }

        byte[] ContentOf(int header) => Bytes(file, Int64(sections, header + 24), Int64(sections, header + 32));
        if (Section(DynamicSymbols) is not int table)
        {
            throw new InvalidDataException($"{path} has no dynamic symbols.");
        }

        long linked = UInt32(sections, table + 40) * (long)SectionHeaderSize;
        byte[] symbols = ContentOf(table), names = linked < sections.Length ? ContentOf((int)linked) : [];
        byte[]? versions = Content(SymbolVersions);
        List<Symbol> result = new(symbols.Length / SymbolSize);
        for (int i = 0; (i + 1) * SymbolSize <= symbols.Length; i++)
        {
            int symbol = i * SymbolSize;
            result.Add(new Symbol(
                Name(names, UInt32(symbols, symbol)), symbols[symbol + 4] >> 4, UInt16(symbols, symbol + 6), versions is null ? LastWithoutVersion : UInt16(versions, 2 * i)));
        }

        return result;
    }

    private static string Name(byte[] names, uint start)
    {
        int length = start < names.Length ? Array.IndexOf(names, (byte)0, (int)start) - (int)start : -1;
        return length >= 0 ? Encoding.UTF8.GetString(names, (int)start, length) : throw new InvalidDataException($"No symbol name ends behind offset {start} of {names.Length} bytes.");
    }

    private static byte[] Bytes(FileStream file, long start, long length)
    {
        if (start < 0 || length < 0 || start > file.Length - length || length > Array.MaxLength)
        {
            throw new InvalidDataException($"{length} bytes from {start} on lie outside {file.Name} of {file.Length} bytes.");
        }

        byte[] bytes = new byte[length];
        file.Position = start;
        file.ReadExactly(bytes);
        return bytes;
    }

    private static ushort UInt16(byte[] bytes, int start) => BinaryPrimitives.ReadUInt16LittleEndian(At(bytes, start, 2));

    private static uint UInt32(byte[] bytes, int start) => BinaryPrimitives.ReadUInt32LittleEndian(At(bytes, start, 4));

    private static long Int64(byte[] bytes, int start) => BinaryPrimitives.ReadInt64LittleEndian(At(bytes, start, 8));

    private static ReadOnlySpan<byte> At(byte[] bytes, int start, int length) =>
        start <= bytes.Length - length ? bytes.AsSpan(start, length) : throw new InvalidDataException($"ELF offset {start} lies outside a section of {bytes.Length} bytes.");

    private readonly record struct Symbol(string Name, int Binding, ushort Section, ushort Version);
}
