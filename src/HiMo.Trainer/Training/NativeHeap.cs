// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;

namespace HiMo.Trainer;

/// <summary>How glibc, where it is there, keeps the memory that libtorch gives back.</summary>
internal static partial class NativeHeap
{
    private const int MmapThreshold = -3; // M_MMAP_THRESHOLD of malloc.h
    private const int LargestKept = 1 << 20;

    /// <summary>
    /// Hands every tensor of a megabyte or more back to the system when it is freed. glibc would raise that limit to 32 MiB by itself, and tensors freed
    /// between others that live on then stay with the process: it saves page faults, and costs up to twice the memory.
    /// </summary>
    public static void ReturnFreedTensors()
    {
        if (OperatingSystem.IsLinux() && NativeLibrary.TryLoad("libc.so.6", out nint library) && NativeLibrary.TryGetExport(library, "mallopt", out _))
        {
            _ = SetOption(MmapThreshold, LargestKept);
        }
    }

    [LibraryImport("libc.so.6", EntryPoint = "mallopt")]
    private static partial int SetOption(int option, int value);
}
