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

    /// <summary>CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: more than 8 groups of a cluster have to be asked for.</summary>
    public const int NonPortableClusterSizeAllowed = 14;

    private const CudaError InvalidClusterSize = (CudaError)912;    // ILGPU does not name it

    private const string Library = "cuda";

    /// <summary>
    /// ILGPU imports <c>cuda</c>, which is <c>libcuda.so</c> and comes with development files; the driver itself installs
    /// <c>libcuda.so.1</c>; <c>OpenCL</c> likewise. To be called before ILGPU looks for devices.
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

    [LibraryImport(Library, EntryPoint = "cuLaunchKernelEx")]
    public static unsafe partial CudaError Launch(LaunchConfig* config, nint function, void** parameters, void** extra);

    [LibraryImport(Library, EntryPoint = "cuOccupancyMaxActiveClusters")]
    private static unsafe partial CudaError MostActiveClusters(out int clusters, nint function, LaunchConfig* config);

    /// <summary>Clusters of some groups that the device can run at the same time; 0 where it has none so large.</summary>
    public static unsafe int ActiveClusters(nint function, int groups, int threads, int sharedBytes)
    {
        LaunchAttribute cluster = LaunchAttribute.Cluster((uint)groups);
        LaunchConfig config = new()
        {
            GridX = (uint)groups, GridY = 1, GridZ = 1, GroupX = (uint)threads, GroupY = 1, GroupZ = 1, SharedBytes = (uint)sharedBytes, Attributes = &cluster, AttributeCount = 1,
        };
        CudaError status = MostActiveClusters(out int clusters, function, &config);
        if (status == InvalidClusterSize)
        {
            return 0;
        }

        status.ThrowIfFailed();
        return clusters;
    }

    /// <summary>CUlaunchConfig.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public unsafe struct LaunchConfig
    {
        public uint GridX;
        public uint GridY;
        public uint GridZ;
        public uint GroupX;
        public uint GroupY;
        public uint GroupZ;
        public uint SharedBytes;
        public nint Stream;
        public LaunchAttribute* Attributes;
        public uint AttributeCount;
    }

    /// <summary>CUlaunchAttribute: a number, and 64 bytes for the value.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 72)]
    public struct LaunchAttribute
    {
        private const int ClusterDimension = 4;

        [FieldOffset(0)]
        public int Id;

        [FieldOffset(8)]
        public uint X;

        [FieldOffset(12)]
        public uint Y;

        [FieldOffset(16)]
        public uint Z;

        /// <summary>CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION: a cluster is so many groups along the grid's rows.</summary>
        public static LaunchAttribute Cluster(uint groups) => new() { Id = ClusterDimension, X = groups, Y = 1, Z = 1 };
    }

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

        private static nint Find(string name, Assembly assembly, DllImportSearchPath? path)
        {
            string? file = name switch
            {
                Library => OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1",
                "OpenCL" when OperatingSystem.IsLinux() => "libOpenCL.so.1",
                _ => null,
            };
            return file is not null && NativeLibrary.TryLoad(file, out nint library) ? library : 0;
        }
    }
}
