// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;

namespace HiMo.Kernels;

/// <summary>Native scratch memory on a cache-line boundary that grows on demand and keeps its size; contents are undefined after growing.</summary>
internal sealed unsafe class AlignedBuffer : SafeHandle
{
    private const nuint Alignment = 64;

    private nuint _bytes;

    public AlignedBuffer()
        : base(IntPtr.Zero, ownsHandle: true)
    {
    }

    public override bool IsInvalid => handle == IntPtr.Zero;

    /// <summary>At least that many floats; the pointer stays valid until the next larger request or until disposal.</summary>
    public float* Floats(long count) => (float*)Reserve(checked((nuint)count * sizeof(float)));

    /// <summary>At least that many doubles, with the same rules.</summary>
    public double* Doubles(long count) => (double*)Reserve(checked((nuint)count * sizeof(double)));

    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }

    private void* Reserve(nuint bytes)
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        if (bytes > _bytes)
        {
            void* larger = NativeMemory.AlignedAlloc(bytes, Alignment);
            NativeMemory.AlignedFree((void*)handle);
            SetHandle((IntPtr)larger);
            _bytes = bytes;
        }

        return (void*)handle;
    }
}
