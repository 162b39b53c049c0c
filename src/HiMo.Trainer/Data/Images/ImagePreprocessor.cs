// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// From an image file to what CLIP's image encoder takes: shorter side to the size, centre crop, RGB, (x / 255 - mean) / std in float32.
/// Source: openai/CLIP clip/clip.py, _transform.
/// </summary>
internal sealed class ImagePreprocessor
{
    private static readonly float[] s_mean = [0.48145466f, 0.4578275f, 0.40821073f];
    private static readonly float[] s_deviation = [0.26862954f, 0.26130258f, 0.27577711f];
    private static readonly float[][] s_normalized = [.. Enumerable.Range(0, 3).Select(channel => Enumerable.Range(0, 256).Select(value => Normalize(value, channel)).ToArray())];

    private readonly bool _rgbFirst;

    /// <summary>A preprocessor for one size.</summary>
    /// <param name="size">Side of the result, from 1 to 4096.</param>
    /// <param name="rgbFirst">Converts to RGB before the resize instead of after it; matters for images with alpha or palette.</param>
    /// <exception cref="UserError">The size is outside its range.</exception>
    public ImagePreprocessor(int size, bool rgbFirst = false)
    {
        if (size is < 1 or > 4096)
        {
            throw new UserError($"an image size of {size} pixels is outside 1 to 4096");
        }

        Size = size;
        _rgbFirst = rgbFirst;
    }

    /// <summary>Side of the result in pixels.</summary>
    public int Size { get; }

    /// <summary>Number of values per image, 3 x Size x Size.</summary>
    public int ValuesPerImage => 3 * Size * Size;

    /// <summary>A decoded image as the 8-bit RGB planes that the network sees, 3 x Size x Size.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">The file cannot be read or decoded.</exception>
    public byte[] LoadPixels(string path)
    {
        byte[] cropped = PillowResize.ResizeAndCrop(ImageFile.Decode(path, _rgbFirst), Size, path);
        byte[] planes = new byte[ValuesPerImage];
        int pixels = Size * Size;
        for (int i = 0; i < pixels; i++)
        {
            planes[i] = cropped[i * Raster.Channels];
            planes[i + pixels] = cropped[(i * Raster.Channels) + 1];
            planes[i + (2 * pixels)] = cropped[(i * Raster.Channels) + 2];
        }

        return planes;
    }

    /// <summary>Normalises 8-bit planes.</summary>
    /// <param name="planes">3 x Size x Size.</param>
    /// <param name="target">Receives as many values.</param>
    public void Normalize(ReadOnlySpan<byte> planes, Span<float> target)
    {
        int pixels = Size * Size;
        for (int channel = 0; channel < 3; channel++)
        {
            float[] table = s_normalized[channel];
            ReadOnlySpan<byte> plane = planes.Slice(channel * pixels, pixels);
            Span<float> values = target.Slice(channel * pixels, pixels);
            for (int i = 0; i < pixels; i++)
            {
                values[i] = table[plane[i]];
            }
        }
    }

    /// <summary>Normalises 8-bit planes where they lie; the values are those of the CPU's table.</summary>
    /// <param name="planes">n x 3 x S x S, uint8.</param>
    /// <returns>As many float32 values.</returns>
    public static Tensor Normalize(Tensor planes)
    {
        using DisposeScope scope = NewDisposeScope();

        // Divisors are tensors on the device: by a number torch multiplies with its rounded inverse.
        return planes.to(ScalarType.Float32).div_(Of([255f])).sub_(Of(s_mean)).div_(Of(s_deviation)).MoveToOuterDisposeScope();

        Tensor Of(float[] channels) => tensor(channels).view(1, -1, 1, 1).On(planes.device);
    }

    /// <summary>Loads images on all processors.</summary>
    /// <param name="paths">The files.</param>
    /// <param name="target">Receives n x 3 x Size x Size normalised values.</param>
    /// <param name="cancellation">Stops between images.</param>
    /// <exception cref="UserError">A file cannot be read or decoded: the first in order.</exception>
    public void Load(IReadOnlyList<string> paths, Memory<float> target, CancellationToken cancellation = default)
    {
        if (TryLoad(paths, target, cancellation).FirstOrDefault(failure => failure is not null) is { } first)
        {
            throw new UserError(first.Message, first);
        }
    }

    /// <summary>Loads images on all processors; those that cannot be read leave their place in <paramref name="target"/> as it is.</summary>
    /// <param name="paths">The files.</param>
    /// <param name="target">Receives n x 3 x Size x Size normalised values.</param>
    /// <param name="cancellation">Stops between images.</param>
    /// <returns>For each file why it cannot be read or decoded, or null.</returns>
    public UserError?[] TryLoad(IReadOnlyList<string> paths, Memory<float> target, CancellationToken cancellation = default)
    {
        UserError?[] failures = new UserError?[paths.Count];
        Parallel.For(0, paths.Count, new ParallelOptions { CancellationToken = cancellation }, i =>
        {
            try
            {
                Normalize(LoadPixels(paths[i]), target.Span.Slice(i * ValuesPerImage, ValuesPerImage));
            }
            catch (UserError failure)
            {
                failures[i] = failure;
            }
        });
        return failures;
    }

    private static float Normalize(int value, int channel) => ((value / 255f) - s_mean[channel]) / s_deviation[channel];
}
