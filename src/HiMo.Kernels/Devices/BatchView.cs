// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>
/// An array of each of some independent batches that share a launch: Grid.Z enumerates them, and an index is within the own batch's array. So
/// kernels, operands and results are written for one batch. A plain view is the same array for every batch.
/// </summary>
/// <param name="data">The first batch's array, and everything up to the last one's end.</param>
/// <param name="stride">Elements from one batch's array to the next one's; 0: all share one.</param>
internal struct BatchView<T>(ArrayView<T> data, long stride)
    where T : unmanaged
{
    public ArrayView<T> Data = data;
    public long Stride = stride;

    /// <summary>Whether there is no array; the length within a batch is its user's business.</summary>
    public readonly bool IsEmpty => Data.Length == 0;

    /// <summary>Element of the own batch's array; in a kernel.</summary>
    public readonly ref T this[long index]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ref Own[index];
    }

    /// <summary>The own batch's array; in a kernel. Who chooses between arrays should choose between these: the batch's place is found once then.</summary>
    public readonly ArrayView<T> Own
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Data.SubView(Grid.IdxZ * Stride, Data.Length - (Grid.IdxZ * Stride));
    }

    /// <summary>What follows in the own batch's array; in a kernel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<T> OwnFrom(long start)
    {
        ArrayView<T> own = Own;
        return own.SubView(start, own.Length - start);
    }

    public static implicit operator BatchView<T>(ArrayView<T> shared) => new(shared, 0);

    /// <summary>What follows in every batch's array; on the host.</summary>
    public readonly BatchView<T> From(long start) => new(Data.Length == 0 ? default : Data.SubView(start, Data.Length - start), Stride);

    /// <summary>The arrays from a batch on; on the host.</summary>
    public readonly BatchView<T> Skip(int batches) => From(batches * Stride);
}
