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
        columns.Filter(source, narrowed, lines: needed, step: 1, sourceLine: image.Width, targetLine: columns.Count, targetStep: 1, origin: 0);
        byte[] result = new byte[rows.Count * columns.Count * Channels];
        rows.Filter(narrowed, result, lines: columns.Count, step: columns.Count, sourceLine: 1, targetLine: 1, targetStep: columns.Count, origin: firstRow);
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

        /// <summary>Applies the filter along this direction; all strides count pixels, <paramref name="origin"/> is the source pixel at offset 0.</summary>
        public void Filter(ReadOnlySpan<byte> source, Span<byte> target, int lines, int step, int sourceLine, int targetLine, int targetStep, int origin)
        {
            ReadOnlySpan<int> pixels = MemoryMarshal.Cast<byte, int>(source);
            Span<int> results = MemoryMarshal.Cast<byte, int>(target);
            Span<int> weights = new int[IsUnchanged ? 1 : Math.Min(from, (int)Math.Ceiling(2 * Support()) + 2)];
            for (int i = 0; i < Count; i++)
            {
                (int start, int end) = IsUnchanged ? (First + i, First + i + 1) : Window(First + i);
                ReadOnlySpan<int> used = IsUnchanged ? [1 << FractionBits] : Weights(First + i, start, end, weights);
                for (int line = 0; line < lines; line++)
                {
                    results[(line * targetLine) + (i * targetStep)] = Sum(pixels, (line * sourceLine) + ((start - origin) * step), step, used);
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

        private ReadOnlySpan<int> Weights(int position, int start, int end, Span<int> buffer)
        {
            double scale = (double)from / to;
            double center = (position + 0.5) * scale;
            double inverse = 1.0 / Math.Max(scale, 1.0);
            Span<double> values = new double[end - start];
            double total = 0;
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = Cubic((i + start - center + 0.5) * inverse);
                total += values[i];
            }

            for (int i = 0; i < values.Length; i++)
            {
                double scaled = (total != 0 ? values[i] / total : values[i]) * (1 << FractionBits);
                buffer[i] = (int)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
            }

            return buffer[..values.Length];
        }
    }
}
