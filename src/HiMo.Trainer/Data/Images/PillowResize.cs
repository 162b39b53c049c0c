// SPDX-License-Identifier: Apache-2.0
// Resize and centre crop of 8-bit pixels, bit for bit as Pillow and torchvision do it for CLIP.
// Source      Pillow src/libImaging/Resample.c (bicubic, a = -0.5, support scaled by the reduction, so antialiased) and Geometry.c
//             (nearest); torchvision Resize and CenterCrop; openai/CLIP clip/clip.py.
// Equation    out[x] = (sum_k w[x,k] in[k] + 2^21) >> 22, clamped to 0..255; w rounded half away from zero to 22 fraction bits.
//             First along rows, rounded to 8 bits, then along columns; a direction whose size stays is left alone.
// Mapping     only the pixels that the crop keeps, and the rows these need, are computed; the four channels of a pixel fill one vector.
// Precision   integers; weights in double as in Pillow, so every bit agrees.
// Limits      the longer side after the resize is at most 1,000,000.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace HiMo.Trainer;

/// <summary>Pillow's bicubic resize of the shorter side, then torchvision's centre crop.</summary>
internal static class PillowResize
{
    private const int Channels = Raster.Channels;
    private const int FractionBits = 22;
    private const long MaxSide = 1_000_000;

    /// <summary>The crop as RGBA, size x size x 4; alpha is what the resize made of it.</summary>
    /// <param name="image">Decoded pixels; not changed.</param>
    /// <param name="size">Side of the result, at least 1.</param>
    /// <param name="name">The image's name, for messages.</param>
    /// <exception cref="UserError">The image is so long that its resized side passes the limit.</exception>
    public static byte[] ResizeAndCrop(Raster image, int size, string name)
    {
        long shorter = Math.Min(image.Width, image.Height);
        long width = image.Width > image.Height ? (long)size * image.Width / shorter : size;
        long height = image.Width > image.Height ? size : (long)size * image.Height / shorter;
        if (Math.Max(width, height) > MaxSide)
        {
            throw new UserError($"{name}: {image.Width} x {image.Height} pixels would be resized to {width} x {height}; the longer side is limited to {MaxSide}");
        }

        Axis columns = new(image.Width, (int)width, Crop((int)width, size), size);
        Axis rows = new(image.Height, (int)height, Crop((int)height, size), size);
        return columns.IsUnchanged && rows.IsUnchanged ? Cut(image.Rgba, image.Width, columns, rows)
            : image.NearestOnly ? Nearest(image, columns, rows)
            : Bicubic(image, columns, rows);
    }

    private static int Crop(int from, int size) => (int)Math.Round((from - size) / 2.0, MidpointRounding.ToEven);

    private static byte[] Cut(ReadOnlySpan<byte> pixels, int width, Axis columns, Axis rows)
    {
        byte[] result = new byte[rows.Count * columns.Count * Channels];
        for (int row = 0; row < rows.Count; row++)
        {
            pixels.Slice((((row + rows.First) * width) + columns.First) * Channels, columns.Count * Channels).CopyTo(result.AsSpan(row * columns.Count * Channels));
        }

        return result;
    }

    private static byte[] Nearest(Raster image, Axis columns, Axis rows)
    {
        ReadOnlySpan<int> pixels = MemoryMarshal.Cast<byte, int>(image.Rgba);
        int[] fromColumn = columns.NearestPositions();
        int[] fromRow = rows.NearestPositions();
        int[] result = new int[rows.Count * columns.Count];
        for (int row = 0; row < rows.Count; row++)
        {
            for (int column = 0; column < columns.Count; column++)
            {
                result[(row * columns.Count) + column] = pixels[(fromRow[row] * image.Width) + fromColumn[column]];
            }
        }

        return MemoryMarshal.AsBytes(result.AsSpan()).ToArray();
    }

    private static byte[] Bicubic(Raster image, Axis columns, Axis rows)
    {
        (int firstRow, int lastRow) = rows.SourceRange();
        int needed = lastRow - firstRow;
        byte[] source = image.Rgba.AsSpan(firstRow * image.Width * Channels, needed * image.Width * Channels).ToArray();
        if (image.HasAlpha)
        {
            Raster.Premultiply(source);
        }

        byte[] narrowed = new byte[needed * columns.Count * Channels];
        columns.FilterRows(MemoryMarshal.Cast<byte, int>(source), MemoryMarshal.Cast<byte, int>(narrowed.AsSpan()), image.Width, needed);
        byte[] result = new byte[rows.Count * columns.Count * Channels];
        rows.FilterColumns(MemoryMarshal.Cast<byte, int>(narrowed), MemoryMarshal.Cast<byte, int>(result.AsSpan()), columns.Count, firstRow);
        if (image.HasAlpha)
        {
            Raster.Unpremultiply(result);
        }

        return result;
    }

    /// <summary>One direction of the resize: from pixels to pixels, of which <paramref name="count"/> from <paramref name="first"/> on are wanted.</summary>
    private readonly struct Axis(int from, int to, int first, int count)
    {
        public int First { get; } = first;

        public int Count { get; } = count;

        public bool IsUnchanged => from == to;

        /// <summary>The pixel each wanted one is taken from. Pillow adds the step up in double, so its rounding is repeated here.</summary>
        public int[] NearestPositions()
        {
            double step = (double)from / to;
            double position = step * 0.5;
            int[] positions = new int[Count];
            for (int i = 0; i < First + Count; i++, position += step)
            {
                if (i >= First)
                {
                    positions[i - First] = Math.Min((int)position, from - 1);
                }
            }

            return positions;
        }

        /// <summary>The source pixels that the wanted ones depend on, end exclusive.</summary>
        public (int Start, int End) SourceRange() => IsUnchanged
            ? (First, First + Count)
            : (Window(First).Start, Window(First + Count - 1).End);

        /// <summary>Filters along rows: <paramref name="lines"/> rows of <paramref name="width"/> pixels become rows of Count pixels.</summary>
        public void FilterRows(ReadOnlySpan<int> pixels, Span<int> results, int width, int lines)
        {
            Tap[] taps = Taps();
            for (int line = 0; line < lines; line++)
            {
                ReadOnlySpan<int> row = pixels.Slice(line * width, width);
                Span<int> target = results.Slice(line * Count, Count);
                for (int i = 0; i < target.Length; i++)
                {
                    target[i] = Sum(row, taps[i].Start, 1, taps[i].Weights);
                }
            }
        }

        /// <summary>Filters along columns: Count rows of <paramref name="width"/> pixels from rows of which the first is <paramref name="origin"/>.</summary>
        public void FilterColumns(ReadOnlySpan<int> pixels, Span<int> results, int width, int origin)
        {
            Tap[] taps = Taps();
            for (int i = 0; i < taps.Length; i++)
            {
                int read = (taps[i].Start - origin) * width;
                Span<int> target = results.Slice(i * width, width);
                for (int column = 0; column < target.Length; column++)
                {
                    target[column] = Sum(pixels, read + column, width, taps[i].Weights);
                }
            }
        }

        /// <summary>The weighted sum of four channels at once, rounded and clamped.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static int Sum(ReadOnlySpan<int> pixels, int read, int step, ReadOnlySpan<int> weights)
        {
            Vector128<int> sum = Vector128.Create(1 << (FractionBits - 1));
            foreach (int weight in weights)
            {
                Vector128<ushort> wide = Vector128.WidenLower(Vector128.CreateScalarUnsafe(pixels[read]).AsByte());
                sum += Vector128.WidenLower(wide).AsInt32() * weight;
                read += step;
            }

            Vector128<int> clamped = Vector128.Min(Vector128.Max(sum >> FractionBits, Vector128<int>.Zero), Vector128.Create(255));
            Vector128<short> narrow = Vector128.Narrow(clamped, clamped);
            return Vector128.Narrow(narrow.AsUInt16(), narrow.AsUInt16()).AsInt32().ToScalar();
        }

        private static double Cubic(double x)
        {
            const double A = -0.5;
            x = Math.Abs(x);
            return x < 1 ? ((((A + 2) * x) - (A + 3)) * x * x) + 1
                : x < 2 ? ((((x - 5) * x) + 8) * x - 4) * A
                : 0;
        }

        private double Support() => 2.0 * Math.Max((double)from / to, 1.0);

        private (int Start, int End) Window(int position)
        {
            double center = (position + 0.5) * ((double)from / to);
            return (Math.Max(0, (int)(center - Support() + 0.5)), Math.Min(from, (int)(center + Support() + 0.5)));
        }

        /// <summary>The weights of every wanted pixel; a single one where the size stays, which copies.</summary>
        private Tap[] Taps()
        {
            Tap[] taps = new Tap[Count];
            for (int i = 0; i < taps.Length; i++)
            {
                taps[i] = IsUnchanged ? new Tap(First + i, [1 << FractionBits]) : TapOf(First + i);
            }

            return taps;
        }

        private Tap TapOf(int position)
        {
            (int start, int end) = Window(position);
            double scale = (double)from / to;
            double center = (position + 0.5) * scale;
            double inverse = 1.0 / Math.Max(scale, 1.0);
            double[] values = new double[end - start];
            double total = 0;
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = Cubic((i + start - center + 0.5) * inverse);
                total += values[i];
            }

            return new Tap(start, Array.ConvertAll(values, value =>
            {
                double scaled = (total != 0 ? value / total : value) * (1 << FractionBits);
                return (int)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
            }));
        }
    }

    /// <summary>What one pixel is made of: the first source pixel and the weights from there on.</summary>
    private readonly record struct Tap(int Start, int[] Weights);
}
