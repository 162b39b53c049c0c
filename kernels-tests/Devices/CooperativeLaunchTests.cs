// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>The launcher of a resident kernel, up to the driver's call.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class CooperativeLaunchTests
{
    private static byte[] s_parameter = [];
    private static KernelConfig s_config;

    [Test]
    public void Hands_over_the_one_parameter_that_the_kernel_declares()
    {
        MethodInfo kernel = typeof(EigenSymmetricGpu).GetMethod(nameof(EigenSymmetricGpu.ColumnsKernel))!.MakeGenericMethod(typeof(EigenSymmetricGpu.SharedRows));
        using Context context = Context.Create(builder => builder.Optimize(OptimizationLevel.O1).EnableAlgorithms().HiMoIntrinsics());
        using PTXBackend backend = new(context, CudaArchitecture.SM_80, CudaInstructionSet.ISA_84, nvvmAPI: null!);
        Action<AcceleratorStream, KernelConfig, LargeEigenArguments> launch = CooperativeLaunch.Bind<LargeEigenArguments>(
            null!, context, backend.ArgumentMapper, kernel, typeof(CooperativeLaunchTests).GetMethod(nameof(Keep), BindingFlags.NonPublic | BindingFlags.Static)!);
        using Gpu gpu = Gpu.OpenEmulated(warps: 1);
        using MemoryBuffer1D<float, Stride1D.Dense> memory = gpu.Allocate<float>(7);
        LargeEigenArguments arguments = new() { Vectors = memory.View.BaseView.SubView(2, 5), First = 77 };
        arguments.Problem.Size = 55;

        launch(gpu.Accelerator.DefaultStream, new KernelConfig(new Index3D(3, 2, 1), new Index3D(64, 1, 1)), arguments);

        string[] declared = [.. Regex.Matches(OfflinePtx.Compile(kernel, 64, "sm_90"), @"\.param \.align 8 \.b8 \w+\[(\d+)\]").Select(match => match.Groups[1].Value)];
        Assert.That(declared, Is.EqualTo(new[] { $"{s_parameter.Length}" }));
        Assert.That(s_config.GridDim, Is.EqualTo(new Index3D(3, 2, 1)));

        // A view is an address and a length; the other views of this structure are empty.
        long[] words = MemoryMarshal.Cast<byte, long>(s_parameter).ToArray();
        int view = Array.IndexOf(words, (long)memory.View.BaseView.SubView(2, 5).LoadEffectiveAddressAsPtr());
        Assert.That(view, Is.GreaterThan(0));
        Assert.That(words[view + 1], Is.EqualTo(5));
        Assert.That(MemoryMarshal.Cast<byte, int>(s_parameter).ToArray(), Has.One.EqualTo(77).And.One.EqualTo(55));
    }

    private static void Keep<TMapped>(Kernel kernel, AcceleratorStream stream, KernelConfig config, ref TMapped arguments)
        where TMapped : unmanaged
    {
        s_parameter = MemoryMarshal.AsBytes(MemoryMarshal.CreateReadOnlySpan(ref arguments, 1)).ToArray();
        s_config = config;
    }
}
