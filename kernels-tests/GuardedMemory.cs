// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>
/// Floats that end exactly at a page without access, so that reading or writing one element too many ends the process instead of
/// passing unseen. Linux only; elsewhere plain memory. They start as NaN, so that an element never written shows.
/// </summary>
internal sealed unsafe partial class GuardedMemory : IDisposable
{
    private const int ReadWrite = 3;
    private const int PrivateAnonymous = 0x22;

    private readonly byte* _base;
    private readonly nuint _bytes;

    public GuardedMemory(int count)
    {
        Count = count;
        nuint page = (nuint)Environment.SystemPageSize;
        nuint data = (((nuint)count * sizeof(float)) + page - 1) / page * page;
        _bytes = data + page;
        if (OperatingSystem.IsLinux())
        {
            _base = (byte*)Map(0, _bytes, ReadWrite, PrivateAnonymous, -1, 0);
            Assert.That((nint)_base, Is.Not.EqualTo((nint)(-1)), "mmap failed");
            Assert.That(Protect((nint)(_base + data), page, 0), Is.Zero, "mprotect failed");
        }
        else
        {
            _base = (byte*)NativeMemory.Alloc(_bytes);
        }

        Pointer = (float*)(_base + data) - count;
        Span.Fill(float.NaN);
    }

    public GuardedMemory(ReadOnlySpan<float> values)
        : this(values.Length) => values.CopyTo(Span);

    public int Count { get; }

    public float* Pointer { get; }

    public Span<float> Span => new(Pointer, Count);

    public void Dispose()
    {
        if (OperatingSystem.IsLinux())
        {
            Assert.That(Unmap((nint)_base, _bytes), Is.Zero, "munmap failed");
        }
        else
        {
            NativeMemory.Free(_base);
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(nint address, nuint length);
}
