// SPDX-License-Identifier: Apache-2.0
// The few calls of the CUDA driver that ILGPU does not make. Nothing here is loaded before the first call.
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

internal static partial class CudaDriver
{
    /// <summary>CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: more than 48 KiB has to be asked for.</summary>
    public const int MaxDynamicSharedSizeBytes = 8;

    private const string Library = "cuda";

    /// <summary>
    /// ILGPU imports <c>cuda</c>, which is <c>libcuda.so</c> and comes with development files; the driver itself installs
    /// <c>libcuda.so.1</c>. To be called before ILGPU looks for devices.
    /// </summary>
    public static void Resolve() => RuntimeHelpers.RunClassConstructor(typeof(Resolver).TypeHandle);

    /// <summary>Turns a status into an exception with the driver's name and words for it.</summary>
    public static void ThrowIfFailed(this CudaError status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CudaError.CUDA_SUCCESS)
        {
            throw new GpuException($"{call} failed: {status}, {CudaAPI.CurrentAPI.GetErrorString(status)}");
        }
    }

    [LibraryImport(Library, EntryPoint = "cuDevicePrimaryCtxRetain")]
    public static partial CudaError RetainPrimaryContext(out nint context, int device);

    [LibraryImport(Library, EntryPoint = "cuCtxGetCurrent")]
    public static partial CudaError CurrentContext(out nint context);

    [LibraryImport(Library, EntryPoint = "cuCtxPushCurrent_v2")]
    public static partial CudaError PushContext(nint context);

    [LibraryImport(Library, EntryPoint = "cuCtxPopCurrent_v2")]
    public static partial CudaError PopContext(out nint context);

    [LibraryImport(Library, EntryPoint = "cuFuncSetAttribute")]
    public static partial CudaError SetFunctionAttribute(nint function, int attribute, int value);

    [LibraryImport(Library, EntryPoint = "cuEventCreate")]
    public static partial CudaError CreateEvent(out nint handle, uint flags);

    [LibraryImport(Library, EntryPoint = "cuEventRecord")]
    public static partial CudaError RecordEvent(nint handle, nint stream);

    [LibraryImport(Library, EntryPoint = "cuEventSynchronize")]
    public static partial CudaError SynchronizeEvent(nint handle);

    [LibraryImport(Library, EntryPoint = "cuEventElapsedTime")]
    public static partial CudaError ElapsedTime(out float milliseconds, nint start, nint end);

    [LibraryImport(Library, EntryPoint = "cuEventDestroy_v2")]
    public static partial CudaError DestroyEvent(nint handle);

    [LibraryImport(Library, EntryPoint = "cuStreamBeginCapture_v2")]
    public static partial CudaError BeginCapture(nint stream, int mode);

    [LibraryImport(Library, EntryPoint = "cuStreamEndCapture")]
    public static partial CudaError EndCapture(nint stream, out nint graph);

    [LibraryImport(Library, EntryPoint = "cuGraphInstantiateWithFlags")]
    public static partial CudaError InstantiateGraph(out nint executable, nint graph, ulong flags);

    [LibraryImport(Library, EntryPoint = "cuGraphLaunch")]
    public static partial CudaError LaunchGraph(nint executable, nint stream);

    [LibraryImport(Library, EntryPoint = "cuGraphExecDestroy")]
    public static partial CudaError DestroyExecutableGraph(nint executable);

    [LibraryImport(Library, EntryPoint = "cuGraphDestroy")]
    public static partial CudaError DestroyGraph(nint graph);

    [LibraryImport(Library, EntryPoint = "cuMemGetInfo_v2")]
    public static partial CudaError MemoryInfo(out nint free, out nint total);

    [LibraryImport(Library, EntryPoint = "cuLaunchCooperativeKernel")]
    public static unsafe partial CudaError LaunchCooperative(
        nint function, uint gridX, uint gridY, uint gridZ, uint groupX, uint groupY, uint groupZ, uint sharedBytes, nint stream, void** parameters);

    private static class Resolver
    {
        static Resolver()
        {
            NativeLibrary.SetDllImportResolver(typeof(CudaDriver).Assembly, Find);
            if (Environment.GetEnvironmentVariable("WSL_DISTRO_NAME") is null) // there ILGPU sets its own
            {
                try
                {
                    NativeLibrary.SetDllImportResolver(typeof(CudaAPI).Assembly, Find);
                }
                catch (InvalidOperationException)
                {
                    // The program has a resolver for ILGPU already: its choice stands.
                }
            }
        }

        private static nint Find(string name, Assembly assembly, DllImportSearchPath? path) =>
            name == Library && NativeLibrary.TryLoad(OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1", out nint library) ? library : 0;
    }
}
