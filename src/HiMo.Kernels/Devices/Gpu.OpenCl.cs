// SPDX-License-Identifier: Apache-2.0
// Devices of any vendor by ILGPU's OpenCL backend: the same kernels in strict precision, with the intrinsics of OpenClEmitter.
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime;
using ILGPU.Runtime.OpenCL;

namespace HiMo.Kernels;

public sealed partial class Gpu
{
    private const string Pocl = "Portable Computing Language";

    /// <summary>Whether this is a device of ILGPU's OpenCL backend.</summary>
    internal bool IsOpenCl => Accelerator is CLAccelerator;

    /// <summary>Threads of a group that works a warp a line. Warps that leave early or take more turns than others must not share a group on OpenCL, see OpenClEmitter.</summary>
    internal int LineThreads => IsOpenCl ? WarpSize : 128;

    /// <summary>OpenCL devices in the order of the platforms, those that cannot run the kernels included; empty where there is no OpenCL.</summary>
    public static IReadOnlyList<GpuDescription> FindOpenCl()
    {
        CudaDriver.Resolve();
        return [.. CLDevice.GetDevices(_ => true).Cast<CLDevice>().Select(DescribeOpenCl)];
    }

    /// <summary>An OpenCL device, in strict precision only. Dispose of it.</summary>
    /// <param name="device">Its place in <see cref="FindOpenCl"/>.</param>
    /// <exception cref="GpuException">There is no such device, it lacks what the kernels need, or its driver refuses; the message says what to do.</exception>
    public static Gpu OpenOpenCl(int device = 0)
    {
        IReadOnlyList<GpuDescription> found = FindOpenCl();
        if (found.Count == 0)
        {
            throw new GpuException("There is no OpenCL device here: 'clinfo' must list one (a driver of the GPU's vendor, or the package pocl-opencl-icd from Debian 13 on). Use the CPU otherwise.");
        }

        if (device < 0 || device >= found.Count)
        {
            throw new GpuException($"There is no OpenCL device {device}; there is {string.Join(", ", found.Select((each, i) => $"{i}: {each.Name}"))}.");
        }

        if (!found[device].IsSupported)
        {
            throw new GpuException($"{found[device]} lacks what the kernels need: OpenCL C 2.0 or 3.0 with the generic address space and float64. Use the CPU.");
        }

        if (found[device].Driver.StartsWith(Pocl, StringComparison.Ordinal) && Environment.GetEnvironmentVariable("POCL_WORK_GROUP_METHOD") != "cbs")
        {
            throw new GpuException("pocl needs POCL_WORK_GROUP_METHOD=cbs in the environment that the process starts with: its default aborts the process on these kernels.");
        }

        Context context = Context.Create(builder => Configure(builder.OpenCL(_ => true).OpenClIntrinsics()));
        return new Gpu(context.CreateCLAccelerator(device), found[device]);
    }

    /// <summary>Refuses what an OpenCL device does not have; other devices have all of it.</summary>
    /// <param name="settings">For this device.</param>
    /// <param name="problem">Size of the eigenproblem, min(N, d); 0: there is none.</param>
    /// <exception cref="NotSupportedException">The message says what there is.</exception>
    internal void CheckOpenCl(GpuStepSettings settings, int problem)
    {
        if (!IsOpenCl)
        {
            return;
        }

        if (settings.Precision != GpuPrecision.Strict)
        {
            throw new NotSupportedException($"An OpenCL device does not have precision {settings.Precision} (it has {GpuPrecision.Strict}); CUDA has.");
        }

        if (problem > settings.LargestGroupProblem) // the kernels that span the chip wait for each other, which OpenCL does not promise to end
        {
            throw new NotSupportedException($"{Description.Name} by OpenCL does not have min(N, d) = {problem} (it has up to {settings.LargestGroupProblem}); CUDA and the CPU have.");
        }
    }

    /// <summary>Enqueues zeros.</summary>
    internal void Clear(AcceleratorStream stream, ArrayView<float> view)
    {
        if (!IsOpenCl)
        {
            view.MemSetToZero(stream);
            return;
        }

        // ILGPU 1.5.3's MemSet multiplies an offset in bytes by the size of the buffer's elements.
        IContiguousArrayView target = view;
        CLException.ThrowIfFailed(CLAPI.CurrentAPI.FillBuffer(stream, target.Buffer.NativePtr, (byte)0, (nint)target.IndexInBytes, (nint)target.LengthInBytes));
    }

    private static GpuDescription DescribeOpenCl(Device device, int index)
    {
        CLDevice openCl = (CLDevice)device;
        bool isEnough = openCl.CLStdVersion >= CLBackend.MinimumVersion && openCl.Capabilities.GenericAddressSpace && openCl.Capabilities.Float64;
        return new(
            index, openCl.Name, isEnough ? GpuDescription.OpenCl : "OpenCL, too old", openCl.MemorySize, openCl.NumMultiprocessors,
            $"{openCl.PlatformName} {openCl.DeviceVersion}");
    }

    private static Kernel LoadOpenCl(CLAccelerator accelerator, EntryPointDescription description, int threads)
    {
        var compiled = (CLCompiledKernel)accelerator.Backend.Compile(description, new KernelSpecialization(threads, 1));
        bool isPocl = accelerator.PlatformName == Pocl;
        return accelerator.LoadKernel(OpenClEmitter.Complete(compiled, threads, isPocl));
    }
}
