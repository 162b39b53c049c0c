// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>The pairs of one step.</summary>
/// <param name="Planes">B x 3 x S x S pixels of 8 bits; a quarter of what they take normalised, which matters for batches that wait.</param>
/// <param name="Ids">B x context token ids.</param>
/// <param name="Pairs">Where they come from, captions as training sees them.</param>
internal sealed record TrainingBatch(byte[] Planes, long[] Ids, CaptionRecord[] Pairs)
{
    /// <summary>Some of the pairs.</summary>
    /// <param name="first">The first one, from 0.</param>
    /// <param name="count">How many.</param>
    public TrainingBatch Part(int first, int count)
    {
        int planes = Planes.Length / Pairs.Length, ids = Ids.Length / Pairs.Length, end = first + count;
        return count == Pairs.Length ? this : new TrainingBatch(Planes[(first * planes)..(end * planes)], Ids[(first * ids)..(end * ids)], Pairs[first..end]);
    }

    /// <summary>The images as the encoder takes them, B x 3 x S x S normalised values.</summary>
    /// <param name="side">S.</param>
    /// <param name="device">Where they are wanted: a GPU gets the bytes and normalises them itself.</param>
    public Tensor Images(int side, Device device)
    {
        if (device.type != DeviceType.CPU)
        {
            using DisposeScope scope = NewDisposeScope();
            return ImagePreprocessor.Normalize(tensor(Planes).view(Pairs.Length, 3, side, side).On(device)).MoveToOuterDisposeScope();
        }

        Tensor images = empty(Pairs.Length, 3, side, side);
        ImagePreprocessor preprocessor = new(side);
        Span<float> values = MemoryMarshal.Cast<byte, float>(images.bytes);
        for (int start = 0; start < Planes.Length; start += preprocessor.ValuesPerImage)
        {
            preprocessor.Normalize(Planes.AsSpan(start, preprocessor.ValuesPerImage), values.Slice(start, preprocessor.ValuesPerImage));
        }

        return images;
    }
}
