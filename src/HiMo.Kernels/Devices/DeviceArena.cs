// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>
/// Hands out pieces of one block of device memory. Whoever uses it lays out his pieces twice: first without a block, which only counts, then
/// with a block of that size.
/// </summary>
/// <param name="block">The memory.</param>
/// <param name="batches">Batches that share launches.</param>
internal sealed class DeviceArena(ArrayView<byte> block, int batches = 1)
{
    private const long Alignment = 256;

    /// <summary>An arena that only counts.</summary>
    public DeviceArena(int batches = 1)
        : this(default, batches)
    {
    }

    /// <summary>Tests set it on their thread, to be shown every array and a gap behind it; without it there are no gaps.</summary>
    [field: ThreadStatic]
    public static Action<ArrayView<byte>, ArrayView<byte>>? Watch { get; set; }

    /// <summary>Bytes handed out.</summary>
    public long Used { get; private set; }

    /// <summary>The next <paramref name="length"/> elements, aligned for any type; empty while counting.</summary>
    public ArrayView<T> Take<T>(long length)
        where T : unmanaged
    {
        long start = Used;
        long bytes = length * Unsafe.SizeOf<T>();
        Used += ((bytes + Alignment - 1) / Alignment * Alignment) + (Watch is null ? 0 : Alignment);
        if (block.Length == 0)
        {
            return default;
        }

        ArrayView<byte> array = block.SubView(start, bytes);
        Watch?.Invoke(array, block.SubView(start + bytes, Used - start - bytes));
        return array.Cast<T>();
    }

    /// <summary>The next <paramref name="length"/> floats.</summary>
    public ArrayView<float> Floats(long length) => Take<float>(length);

    /// <summary>The next <paramref name="length"/> floats of each batch.</summary>
    public BatchView<float> EachBatch(long length) => EachBatch<float>(length);

    /// <summary>The next <paramref name="length"/> elements of each batch, one batch's behind the other's.</summary>
    public BatchView<T> EachBatch<T>(long length)
        where T : unmanaged =>
        new(AllBatches<T>(length), length);

    /// <summary>The next <paramref name="length"/> elements of all batches in a row.</summary>
    public ArrayView<T> AllBatches<T>(long length)
        where T : unmanaged =>
        Take<T>(batches * length);
}
