// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime;
using ILGPU.Runtime.OpenCL;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>What docs/design.md says about ILGPU's OpenCL backend, as far as it can be seen without a device: which kernels become OpenCL C.</summary>
[TestFixture]
internal sealed class OpenClTests
{
    [Test]
    public void Kernels_without_matrix_instructions_become_OpenCL_C()
    {
        Assert.Multiple(() =>
        {
            Assert.That(Compile(RowConversion.Kernel<float, float, Float32Stored, Float32Stored>), Does.Contain("kernel void"));
            Assert.That(Compile(BatchMeanGpu.CenterKernel), Does.Contain("kernel void"));
            Assert.That(Compile(L2NormalizeGpu.Kernel, CLDeviceVendor.Intel), Does.Contain("intel_sub_group_shuffle_xor"));
        });
    }

    [Test]
    public void Sums_over_a_warp_exist_for_Intel_only() =>
        Assert.That(() => Compile(L2NormalizeGpu.Kernel), Throws.InstanceOf<InternalCompilerException>());

    [Test]
    public void Products_do_not_as_their_instructions_have_no_OpenCL_form() =>
        Assert.That(
            () => Compile(GpuGemm.Kernel<StridedMatrix, StridedMatrix, StridedMatrix, LargeTile, Bf16Precision>), Throws.InstanceOf<InternalCompilerException>());

    private static string Compile(Delegate kernel, CLDeviceVendor vendor = CLDeviceVendor.AMD)
    {
        ConstructorInfo capabilities = typeof(CLCapabilityContext).GetConstructors().Single();
        object[] everything = [.. capabilities.GetParameters().Select(_ => (object)true)];
        using Context context = Context.Create(builder => builder.Optimize(OptimizationLevel.O1).EnableAlgorithms().HiMoIntrinsics());
        using CLBackend backend = new(context, (CLCapabilityContext)capabilities.Invoke(everything), vendor, CLCVersion.CL20);
        var compiled = (CLCompiledKernel)backend.Compile(EntryPointDescription.FromExplicitlyGroupedKernel(kernel.Method), new KernelSpecialization(128, 1));
        return compiled.Source;
    }
}
