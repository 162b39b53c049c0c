// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.Text;

namespace HiMo.Kernels.Tests.Trainer.Reporting;

/// <summary>A reader of TensorBoard's event files for tests, which shares nothing with the writer: one message, its fields by number.</summary>
internal sealed class EventRecord
{
    private readonly List<(int Field, ulong Number, byte[] Bytes)> _fields = [];

    private EventRecord(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            ulong tag = Varint(ref bytes);
            int length = (tag & 7) switch { 0 => 0, 1 => 8, 5 => 4, 2 => (int)Varint(ref bytes), _ => throw new InvalidDataException($"wire type {tag & 7}") };
            ulong number = (tag & 7) == 0 ? Varint(ref bytes) : 0;
            _fields.Add(((int)(tag >> 3), number, bytes[..length].ToArray()));
            bytes = bytes[length..];
        }
    }

    public static IEnumerable<EventRecord> ReadAll(string path)
    {
        byte[] all = File.ReadAllBytes(path);
        for (int at = 0; at < all.Length;)
        {
            int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(all.AsSpan(at));
            Check(all.AsSpan(at, 8), BinaryPrimitives.ReadUInt32LittleEndian(all.AsSpan(at + 8)));
            Check(all.AsSpan(at + 12, length), BinaryPrimitives.ReadUInt32LittleEndian(all.AsSpan(at + 12 + length)));
            yield return new EventRecord(all.AsSpan(at + 12, length));
            at += length + 16;
        }
    }

    public bool Has(int field) => _fields.Exists(given => given.Field == field);

    /// <summary>A number that is not there is 0, as in protocol buffers.</summary>
    public long Number(int field) => (long)_fields.Find(given => given.Field == field).Number;

    public byte[] Bytes(int field) => _fields.First(given => given.Field == field).Bytes;

    public string Text(int field) => Encoding.UTF8.GetString(Bytes(field));

    public double Double(int field) => BitConverter.ToDouble(Bytes(field));

    public float Float(int field) => BitConverter.ToSingle(Bytes(field));

    public double[] Doubles(int field) => [.. Bytes(field).Chunk(8).Select(value => BitConverter.ToDouble(value))];

    public EventRecord Message(int field) => new(Bytes(field));

    private static ulong Varint(ref ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            byte next = bytes[0];
            bytes = bytes[1..];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
            {
                return value;
            }
        }
    }

    /// <summary>CRC-32C bit by bit: the reflected polynomial 0x82F63B78.</summary>
    private static void Check(ReadOnlySpan<byte> bytes, uint masked)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in bytes)
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
            }
        }

        crc = ~crc;
        uint expected = unchecked(((crc >> 15) | (crc << 17)) + 0xA282EAD8);
        if (masked != expected)
        {
            throw new InvalidDataException($"checksum {masked:x8}, computed {expected:x8}");
        }
    }
}
