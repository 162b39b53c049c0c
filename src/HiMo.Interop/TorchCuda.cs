// SPDX-License-Identifier: Apache-2.0
// What TorchSharp does not show of libtorch's CUDA side, through its C interface. Nothing is loaded before a CUDA tensor has been seen,
// and then libtorch_cuda is there already.
// State      Run on an H200 with the libtorch of Python's torch 2.11.0+cu130: MoLoLossCudaTests.
using System.Runtime.InteropServices;
using HiMo.Kernels;

namespace HiMo.Interop;

internal static unsafe class TorchCuda
{
    private const string Function = "aoti_torch_get_current_cuda_stream";

    /// <summary>The file that makes a libtorch one for CUDA.</summary>
    public static string Library { get; } = OperatingSystem.IsWindows() ? "torch_cuda.dll" : "libtorch_cuda.so";

    private static readonly Lazy<nint> s_currentStream = new(FindFunction);

    /// <summary>libtorch's current stream of a device on this thread, a cudaStream_t.</summary>
    /// <exception cref="GpuException">This libtorch does not say.</exception>
    public static nint CurrentStream(int device)
    {
        nint stream = 0;
        int status = ((delegate* unmanaged[Cdecl]<int, nint*, int>)s_currentStream.Value)(device, &stream);
        return status == 0 ? stream : throw new GpuException($"libtorch's {Function}({device}) failed with {status}.");
    }

    private static nint FindFunction()
    {
        return NativeLibrary.TryLoad(TorchLoader.Find(Library) ?? Library, out nint handle) && NativeLibrary.TryGetExport(handle, Function, out nint address)
            ? address
            : throw new GpuException($"{Library} was not found or lacks {Function}, which libtorch 2.10 has: use that version's CUDA package.");
    }
}
