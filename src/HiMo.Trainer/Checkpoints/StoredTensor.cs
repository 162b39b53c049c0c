// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>A tensor that still lies in its file: nothing is read before <see cref="CopyTo"/> or <see cref="Read"/>.</summary>
/// <param name="File">The file.</param>
/// <param name="Name">Its name there.</param>
/// <param name="Type">Its element type there.</param>
/// <param name="Shape">Size of each dimension; empty for a single value.</param>
/// <param name="Strides">Elements between neighbours of each dimension, not negative.</param>
/// <param name="Offset">Byte in the file where element (0, 0, ...) starts.</param>
internal sealed record StoredTensor(CheckpointFile File, string Name, ScalarType Type, long[] Shape, long[] Strides, long Offset)
{
    private const int ChunkElements = 1 << 22;

    /// <summary>Number of elements.</summary>
    public long Count => Shape.Aggregate(1L, (product, size) => product * size);

    /// <summary>Strides of a tensor without gaps in C order.</summary>
    /// <param name="shape">Its shape.</param>
    public static long[] RowMajor(long[] shape)
    {
        long[] strides = new long[shape.Length];
        long stride = 1;
        for (int i = shape.Length - 1; i >= 0; i--)
        {
            strides[i] = stride;
            stride *= shape[i];
        }

        return strides;
    }

    /// <summary>Reads the elements into a tensor of the same shape, converting to its type.</summary>
    /// <param name="target">Any type, strides and device; a row-major one is filled in pieces, so nothing of the file's size is allocated.</param>
    /// <exception cref="UserError">The file cannot be read.</exception>
    public void CopyTo(Tensor target)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        if (Count == 0)
        {
            return;
        }

        if (!Strides.AsSpan().SequenceEqual(RowMajor(Shape)) || !target.is_contiguous())
        {
            long reach = 1 + Shape.Zip(Strides, (size, stride) => (size - 1) * stride).Sum();
            Tensor whole = empty(reach, Type);
            ReadInto(whole);
            _ = target.copy_(whole.as_strided(Shape, Strides));
            return;
        }

        ReadInto(target.detach().view(-1));
    }

    /// <summary>Reads the elements into a new tensor of the stored type.</summary>
    /// <exception cref="UserError">The file cannot be read.</exception>
    public Tensor Read()
    {
        Tensor tensor = empty(Shape, Type);
        CopyTo(tensor);
        return tensor;
    }

    private void ReadInto(Tensor flat)
    {
        int storedWidth = ElementBytes(Type);
        bool isInPlace = flat.dtype == Type && flat.device_type == DeviceType.CPU;
        for (long start = 0; start < flat.shape[0]; start += ChunkElements)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor part = flat.narrow(0, start, Math.Min(ChunkElements, flat.shape[0] - start));
            Tensor stored = isInPlace ? part : empty(part.shape, Type);
            File.Read(stored.bytes, Offset + (start * storedWidth), $"tensor {Name}");
            if (!isInPlace)
            {
                _ = part.copy_(stored);
            }
        }
    }

    /// <summary>Bytes of one element.</summary>
    /// <param name="type">A type that files hold.</param>
    public static int ElementBytes(ScalarType type) => type switch
    {
        ScalarType.Float64 or ScalarType.Int64 => 8,
        ScalarType.Float32 or ScalarType.Int32 => 4,
        ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Int16 => 2,
        ScalarType.Byte or ScalarType.Int8 or ScalarType.Bool => 1,
        _ => throw new ArgumentException($"{type} is no type of a stored tensor.", nameof(type)),
    };
}
