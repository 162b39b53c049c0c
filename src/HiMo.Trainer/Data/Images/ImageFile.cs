// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using SkiaSharp;

namespace HiMo.Trainer;

/// <summary>
/// Decodes JPEG, PNG and WebP to the pixels that Pillow gives: no EXIF rotation, no colour management, alpha not premultiplied.
/// 16-bit PNGs and CMYK JPEGs come as Skia converts them.
/// </summary>
internal static class ImageFile
{
    /// <summary>Larger images are refused before they are decoded.</summary>
    public const long MaxPixels = 25_000_000;

    private const long MaxBytes = 512L << 20;
    private const int PngDepthOffset = 24; // in the header chunk, which must come first
    private const int PngTypeOffset = 25;

    private static readonly SKEncodedImageFormat[] s_formats = [SKEncodedImageFormat.Jpeg, SKEncodedImageFormat.Png, SKEncodedImageFormat.Webp];

    /// <summary>Reads an image.</summary>
    /// <param name="path">The file.</param>
    /// <param name="rgbFirst">Forgets alpha, palette and bilevel, as Pillow's convert("RGB") right after opening.</param>
    /// <exception cref="UserError">The file is missing, damaged, too large, or of another format.</exception>
    public static Raster Decode(string path, bool rgbFirst)
    {
        using SKData data = SKData.CreateCopy(ReadAll(path));
        return Decode(data, path, rgbFirst);
    }

    /// <summary>The same for encoded bytes.</summary>
    /// <param name="encoded">A whole image file.</param>
    /// <param name="name">For messages.</param>
    /// <param name="rgbFirst">As above.</param>
    /// <exception cref="UserError">As above.</exception>
    public static Raster Decode(ReadOnlySpan<byte> encoded, string name, bool rgbFirst)
    {
        using SKData data = SKData.CreateCopy(encoded);
        return Decode(data, name, rgbFirst);
    }

    /// <summary>Fails where <see cref="Decode(string, bool)"/> would.</summary>
    /// <param name="path">The file.</param>
    /// <param name="decode">Whether damage behind the header is looked for as well.</param>
    /// <exception cref="UserError">The file is missing, of another format, or too large; with <paramref name="decode"/> also if damaged.</exception>
    public static void Check(string path, bool decode)
    {
        using SKData data = SKData.CreateCopy(ReadAll(path));
        if (decode)
        {
            Decode(data, path, rgbFirst: true);
        }
        else
        {
            using SKCodec codec = Open(data, path);
        }
    }

    private static SKCodec Open(SKData data, string name)
    {
        SKCodec? codec = SKCodec.Create(data);
        if (codec is null || !s_formats.Contains(codec.EncodedFormat))
        {
            string found = codec?.EncodedFormat.ToString() ?? $"{data.Size} bytes of an unknown format, or damaged";
            codec?.Dispose();
            throw new UserError($"{name}: is no readable image ({found}); JPEG, PNG and WebP are read");
        }

        (int width, int height) = (codec.Info.Width, codec.Info.Height);
        if ((long)width * height > MaxPixels)
        {
            codec.Dispose();
            throw new UserError($"{name}: {width} x {height} pixels are more than the {MaxPixels / 1_000_000} million that are decoded; scale it down");
        }

        return codec;
    }

    private static unsafe Raster Decode(SKData data, string name, bool rgbFirst)
    {
        using SKCodec codec = Open(data, name);
        (int width, int height) = (codec.Info.Width, codec.Info.Height);

        // Without a colour space in the request, profiles in the file change nothing; Unpremul keeps the colours under small alpha.
        SKImageInfo info = new(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul, colorspace: null);
        byte[] pixels = new byte[info.BytesSize64];
        SKCodecResult result;
        fixed (byte* target = pixels)
        {
            result = codec.GetPixels(info, (nint)target);
        }

        // Skia fills up a JPEG that ends early and calls that a success.
        bool cut = codec.EncodedFormat == SKEncodedImageFormat.Jpeg && !ReachesEndOfJpeg(data.AsSpan());
        if (result != SKCodecResult.Success || cut)
        {
            throw new UserError($"{name}: cannot be decoded ({(cut ? "it ends early" : result.ToString())}); the file is truncated or damaged");
        }

        if (rgbFirst)
        {
            return new Raster(width, height, pixels, HasAlpha: false, NearestOnly: false);
        }

        // Skia does not tell palette and bilevel PNGs from others, so the header is read.
        ReadOnlySpan<byte> file = data.AsSpan();
        bool png = codec.EncodedFormat == SKEncodedImageFormat.Png;
        (int depth, int type) = png ? (file[PngDepthOffset], file[PngTypeOffset]) : (8, -1);
        return new Raster(
            width, height, pixels,
            HasAlpha: png ? type is 4 or 6 : codec.Info.AlphaType != SKAlphaType.Opaque,
            NearestOnly: type == 3 || (type == 0 && depth == 1));
    }

    /// <summary>Walks the markers of a JPEG up to the end-of-image marker.</summary>
    private static bool ReachesEndOfJpeg(ReadOnlySpan<byte> file)
    {
        const byte Prefix = 0xFF;
        const byte EndOfImage = 0xD9;
        int at = 2;
        while (at + 1 < file.Length)
        {
            byte marker = file[at + 1];
            if (file[at] != Prefix || marker is 0 or Prefix or (>= 0xD0 and <= 0xD7))
            {
                at += file[at] == Prefix && marker != Prefix ? 2 : 1; // compressed data, where a 0xFF is followed by 0 or a restart number
            }
            else if (marker == EndOfImage)
            {
                return true;
            }
            else
            {
                at += at + 3 < file.Length ? 2 + BinaryPrimitives.ReadUInt16BigEndian(file[(at + 2)..]) : 2;
            }
        }

        return false;
    }

    /// <summary>The bytes of an image, not decoded.</summary>
    /// <param name="path">A file, or a member of a tar (<see cref="TarMember"/>).</param>
    /// <exception cref="UserError">It is missing, or its size is not plausible.</exception>
    public static byte[] ReadAll(string path)
    {
        TarMember? member = TarMember.Parse(path);
        try
        {
            using FileStream stream = TextFile.Open(member?.Tar ?? path);
            (long offset, long length) = member is null ? (0, stream.Length) : (member.Offset, member.Length);
            if (length is 0 or > MaxBytes || length > stream.Length - offset)
            {
                throw new UserError($"{path}: {length} bytes are not plausible for an image (1 to {MaxBytes}, within the file)");
            }

            byte[] bytes = new byte[length];
            stream.Position = offset;
            stream.ReadExactly(bytes);
            return bytes;
        }
        catch (IOException failure)
        {
            throw new UserError($"{path}: cannot be read ({failure.Message})", failure);
        }
    }
}
