// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>
/// Device memory that is NaN until somebody writes it, with a gap behind every array that nobody may write: what is laid out by a
/// <see cref="DeviceArena"/> on this thread as long as this exists, and what <see cref="Take{T}(ReadOnlySpan{T})"/> hands out. Reading what nobody wrote, or a neighbour,
/// makes results NaN; writing into a neighbour fails <see cref="Check"/>.
/// </summary>
internal sealed class WatchedMemory : IDisposable
{
    private const byte Unset = 0xff;
    private const uint GapWord = 0x7ff8beef; // NaN as float32 and float64 too, and not what arrays begin with
    private const int GapBytes = 256;

    private readonly Gpu _gpu;
    private readonly List<MemoryBuffer> _own = [];
    private readonly List<(ArrayView<byte> Array, ArrayView<byte> Gap)> _laidOut = [];
    private readonly List<ArrayView<byte>> _gaps = [];

    public WatchedMemory(Gpu gpu)
    {
        _gpu = gpu;
        DeviceArena.Watch = (array, gap) =>
        {
            _laidOut.Add((array, gap));
            _gaps.Add(gap);
        };
    }

    private AcceleratorStream Stream => _gpu.Accelerator.DefaultStream;

    /// <summary>An array of its own, unset.</summary>
    public ArrayView<T> Take<T>(long length)
        where T : unmanaged
    {
        long bytes = length * Unsafe.SizeOf<T>();
        MemoryBuffer1D<byte, Stride1D.Dense> buffer = _gpu.Accelerator.Allocate1D<byte>(((bytes + sizeof(uint) - 1) / sizeof(uint) * sizeof(uint)) + GapBytes);
        _own.Add(buffer);
        ArrayView<byte> all = buffer.View.BaseView;
        Fill(all.SubView(0, bytes), all.SubView(bytes, all.Length - bytes));
        _gaps.Add(all.SubView(bytes, all.Length - bytes));
        return all.SubView(0, bytes).Cast<T>();
    }

    /// <summary>An array of its own with these values.</summary>
    public ArrayView<T> Take<T>(ReadOnlySpan<T> values)
        where T : unmanaged
    {
        ArrayView<T> array = Take<T>(values.Length);
        array.CopyFromCPU(Stream, values.ToArray());
        Stream.Synchronize();
        return array;
    }

    /// <summary>What is there now.</summary>
    public T[] Read<T>(ArrayView<T> array)
        where T : unmanaged
    {
        T[] values = new T[array.Length];
        array.CopyToCPU(Stream, values);
        Stream.Synchronize();
        return values;
    }

    /// <summary>Unsets what was laid out so far.</summary>
    public void Fill()
    {
        Assert.That(_laidOut, Is.Not.Empty, "arrays of an arena");
        foreach ((ArrayView<byte> array, ArrayView<byte> gap) in _laidOut)
        {
            Fill(array, gap);
        }
    }

    /// <summary>Nobody has written a gap.</summary>
    public void Check()
    {
        Assert.That(_gaps, Is.Not.Empty);
        foreach (ArrayView<byte> gap in _gaps)
        {
            byte[] found = Read(gap);
            Assert.That(found, Is.EqualTo(Words(found.Length)), "gap behind an array");
        }
    }

    public void Dispose()
    {
        DeviceArena.Watch = null;
        _own.ForEach(buffer => buffer.Dispose());
    }

    private static byte[] Words(int bytes) => MemoryMarshal.AsBytes(Enumerable.Repeat(GapWord, (bytes / sizeof(uint)) + 1).ToArray().AsSpan())[..bytes].ToArray();

    private void Fill(ArrayView<byte> array, ArrayView<byte> gap)
    {
        if (array.Length > 0)
        {
            array.MemSet(Stream, Unset);
        }

        gap.CopyFromCPU(Stream, Words((int)gap.Length));
        Stream.Synchronize();
    }
}
