// SPDX-License-Identifier: Apache-2.0
// Launches of kernels whose groups wait for each other: the driver starts all groups of the grid, or of each of its rows, together or refuses. ILGPU has no such
// launch; what is made here is its own launcher with another driver call at the end. Its argument mapper lays the kernel's one structure out, as for every launch.
using System.Reflection;
using System.Reflection.Emit;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.IL;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

internal static unsafe class CooperativeLaunch
{
    private delegate void Launcher<TArguments>(Kernel kernel, AcceleratorStream stream, KernelConfig config, TArguments arguments);

    /// <summary>A launcher for a kernel in the device's memory.</summary>
    public static Action<AcceleratorStream, KernelConfig, TArguments> For<TArguments>(
        CudaKernel kernel, CudaAccelerator accelerator, MethodInfo method, Residency residency) =>
        Bind<TArguments>(
            kernel, accelerator.Context, accelerator.Backend.ArgumentMapper, method,
            typeof(CooperativeLaunch).GetMethod(residency == Residency.Cluster ? nameof(LaunchClusters) : nameof(Launch), BindingFlags.NonPublic | BindingFlags.Static)!);

    /// <summary>A launcher that ends in a method of choice, which has the form of <see cref="Launch"/>.</summary>
    internal static Action<AcceleratorStream, KernelConfig, TArguments> Bind<TArguments>(
        Kernel kernel, Context context, PTXArgumentMapper mapper, MethodInfo method, MethodInfo launch)
    {
        EntryPoint entryPoint = new(EntryPointDescription.FromExplicitlyGroupedKernel(method), default, default);

        // Kernel, stream and configuration come first because the mapper expects the kernel's arguments behind them.
        using RuntimeSystem.ScopedLock scope = context.RuntimeSystem.DefineRuntimeMethod(
            typeof(void), [typeof(Kernel), typeof(AcceleratorStream), typeof(KernelConfig), typeof(TArguments)], out RuntimeSystem.MethodEmitter made);
        ILEmitter emitter = new(made.ILGenerator);
        (ILLocal arguments, _) = mapper.Map(emitter, entryPoint);
        emitter.Emit(ArgumentOperation.Load, 0);
        emitter.Emit(ArgumentOperation.Load, 1);
        emitter.Emit(ArgumentOperation.Load, 2);
        emitter.Emit(LocalOperation.LoadAddress, arguments);
        emitter.EmitCall(launch.MakeGenericMethod(arguments.VariableType));
        emitter.Emit(OpCodes.Ret);
        emitter.Finish();
        Launcher<TArguments> launcher = made.Finish().CreateDelegate<Launcher<TArguments>>();
        return (stream, config, values) => launcher(kernel, stream, config, values);
    }

    private static void Launch<TMapped>(Kernel kernel, AcceleratorStream stream, KernelConfig config, ref TMapped arguments)
        where TMapped : unmanaged
    {
        fixed (TMapped* first = &arguments)
        {
            void* parameter = first;    // the kernel's one parameter; the driver knows its size
            CudaDriver.LaunchCooperative(
                ((CudaKernel)kernel).FunctionPtr, (uint)config.GridDim.X, (uint)config.GridDim.Y, (uint)config.GridDim.Z,
                (uint)config.GroupDim.X, (uint)config.GroupDim.Y, (uint)config.GroupDim.Z,
                (uint)config.SharedMemoryConfig.ArraySize, ((CudaStream)stream).StreamPtr, &parameter).ThrowIfFailed();
        }
    }

    private static void LaunchClusters<TMapped>(Kernel kernel, AcceleratorStream stream, KernelConfig config, ref TMapped arguments)
        where TMapped : unmanaged
    {
        fixed (TMapped* first = &arguments)
        {
            void* parameter = first;
            CudaDriver.LaunchAttribute cluster = CudaDriver.LaunchAttribute.Cluster((uint)config.GridDim.X);
            CudaDriver.LaunchConfig launch = new()
            {
                GridX = (uint)config.GridDim.X, GridY = (uint)config.GridDim.Y, GridZ = (uint)config.GridDim.Z,
                GroupX = (uint)config.GroupDim.X, GroupY = (uint)config.GroupDim.Y, GroupZ = (uint)config.GroupDim.Z,
                SharedBytes = (uint)config.SharedMemoryConfig.ArraySize, Stream = ((CudaStream)stream).StreamPtr, Attributes = &cluster, AttributeCount = 1,
            };
            CudaDriver.Launch(&launch, ((CudaKernel)kernel).FunctionPtr, &parameter, null).ThrowIfFailed();
        }
    }
}
