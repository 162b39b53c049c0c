// SPDX-License-Identifier: Apache-2.0
using System.Text;

namespace HiMo.Trainer;

/// <summary>Many records in memory as UTF-8, in large blocks: about the size of their text in the file, where strings would take more than twice that.</summary>
internal sealed class CaptionStore
{
    private const int FirstBlockBytes = 1 << 16;
    private const int LargestBlockBytes = 1 << 24;

    private readonly List<byte[]> _blocks = [];
    private readonly List<Place> _places = [];
    private int _used; // of the last block

    private readonly record struct Place(int Block, int Start, int ImageBytes, int CaptionBytes);

    /// <summary>Number of records.</summary>
    public int Count => _places.Count;

    /// <summary>A record as it was added.</summary>
    /// <param name="index">From 0 to <see cref="Count"/> - 1.</param>
    public CaptionRecord this[int index]
    {
        get
        {
            Place place = _places[index];
            ReadOnlySpan<byte> bytes = _blocks[place.Block].AsSpan(place.Start, place.ImageBytes + place.CaptionBytes);
            return new CaptionRecord(Encoding.UTF8.GetString(bytes[..place.ImageBytes]), Encoding.UTF8.GetString(bytes[place.ImageBytes..]));
        }
    }

    /// <summary>Adds a record.</summary>
    /// <param name="record">Text without halves of surrogate pairs, as every reader of UTF-8 gives it.</param>
    public void Add(CaptionRecord record)
    {
        (int image, int caption) = (Encoding.UTF8.GetByteCount(record.ImagePath), Encoding.UTF8.GetByteCount(record.Caption));
        int bytes = checked(image + caption);
        if (_blocks.Count == 0 || bytes > _blocks[^1].Length - _used)
        {
            int size = _blocks.Count == 0 ? FirstBlockBytes : (int)Math.Min(2L * _blocks[^1].Length, LargestBlockBytes);
            _blocks.Add(new byte[Math.Max(bytes, size)]);
            _used = 0;
        }

        Span<byte> target = _blocks[^1].AsSpan(_used, bytes);
        _ = Encoding.UTF8.GetBytes(record.ImagePath, target);
        _ = Encoding.UTF8.GetBytes(record.Caption, target[image..]);
        _places.Add(new Place(_blocks.Count - 1, _used, image, caption));
        _used += bytes;
    }
}
