// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace HiMo.Trainer;

/// <summary>
/// Looks at the headers that stand before a tar's next member: long names and attributes claim a size that .NET's reader allocates before it reads.
/// Source of the layout: POSIX pax, ustar interchange format.
/// </summary>
/// <param name="stream">The open tar; its position stays.</param>
/// <param name="shard">Its path, for messages.</param>
internal sealed class TarHeaderCheck(FileStream stream, string shard)
{
    private const int Block = 512;
    private const int SizeOffset = 124;
    private const int SizeLength = 12;
    private const int TypeOffset = 156;
    private const int MaxMetadata = 1 << 20;

    private readonly byte[] _header = new byte[Block];

    /// <summary>Follows names and attributes up to the header of a member.</summary>
    /// <param name="position">Where the member before ends, or 0.</param>
    /// <exception cref="UserError">One claims more than a mebibyte.</exception>
    public void Check(long position)
    {
        position = Up(position);
        while (position >= 0 && position <= stream.Length - Block && RandomAccess.Read(stream.SafeFileHandle, _header, position) == Block && (char)_header[TypeOffset] is 'x' or 'g' or 'L' or 'K')
        {
            long size = Size();
            if (size is < 0 or > MaxMetadata)
            {
                throw new UserError($"{shard}: a name or attributes at byte {position} claim {size} bytes (at most {MaxMetadata}); it is no tar, or is damaged");
            }

            position += Block + Up(size);
        }
    }

    private static long Up(long bytes) => (bytes + Block - 1) / Block * Block;

    /// <summary>Octal digits, or with the highest bit set a big-endian number; what is neither is left to the reader, which refuses it.</summary>
    private long Size()
    {
        ReadOnlySpan<byte> field = _header.AsSpan(SizeOffset, SizeLength);
        if (field[0] >= 0x80)
        {
            return BinaryPrimitives.ReadInt64BigEndian(field[^8..]);
        }

        string digits = Encoding.Latin1.GetString(field).Trim('\0', ' ');
        return long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out _) && digits.All(digit => digit < '8') ? Convert.ToInt64(digits, 8) : 0;
    }
}
