// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Decoded 8-bit pixels, four channels each: gray images have equal colours, opaque ones alpha 255.</summary>
/// <param name="Width">Pixels per row.</param>
/// <param name="Height">Rows.</param>
/// <param name="Rgba">Red, green, blue, alpha (not premultiplied), row by row.</param>
/// <param name="HasAlpha">Pillow's modes LA and RGBA: resized premultiplied.</param>
/// <param name="NearestOnly">Pillow's modes P and 1: resized to the nearest pixel whatever filter is asked for.</param>
internal sealed record Raster(int Width, int Height, byte[] Rgba, bool HasAlpha, bool NearestOnly)
{
    /// <summary>Bytes per pixel.</summary>
    public const int Channels = 4;

    /// <summary>Colours times alpha / 255, rounded as Pillow's RGBA to RGBa does.</summary>
    public static void Premultiply(Span<byte> pixels)
    {
        for (int i = 0; i < pixels.Length; i += Channels)
        {
            int alpha = pixels[i + 3];
            for (int channel = i; channel < i + 3; channel++)
            {
                int product = (pixels[channel] * alpha) + 128;
                pixels[channel] = (byte)(((product >> 8) + product) >> 8);
            }
        }
    }

    /// <summary>The way back, truncated and clipped as Pillow does; alpha 0 and 255 leave the colours alone.</summary>
    public static void Unpremultiply(Span<byte> pixels)
    {
        for (int i = 0; i < pixels.Length; i += Channels)
        {
            int alpha = pixels[i + 3];
            for (int channel = i; channel < i + 3 && alpha is not (0 or 255); channel++)
            {
                pixels[channel] = (byte)Math.Min(255, 255 * pixels[channel] / alpha);
            }
        }
    }
}
