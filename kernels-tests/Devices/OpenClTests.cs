// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime;
using ILGPU.Runtime.OpenCL;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>The kernels on OpenCL: their OpenCL C where there is no device, and the whole step where there is one (docs/design.md has the table of what runs where).</summary>
[TestFixture]
internal sealed class OpenClTests
{
    private const int Threads = 128;

    [Test]
    public void Kernels_become_OpenCL_C_of_any_vendor()
    {
        Assert.Multiple(() =>
        {
            Assert.That(Compile(RowConversion.Kernel<float, float, Float32Stored, Float32Stored>), Does.Contain("kernel void"));
            Assert.That(Compile(EigenSymmetricGpu.Kernel<EigenSymmetricGpu.InSharedMemory>), Does.Contain("exchange_double ( exchanged").And.Not.Contain("sub_group_shuffle"));
            Assert.That(Compile(LogitPassGpu.Kernel<PortablePrecision>), Does.Contain("exp2"));
            Assert.That(Compile(GpuGemm.Kernel<StridedMatrix, StridedMatrix, StridedMatrix, LargeTile, PortablePrecision>), Does.Not.Contain("exchange_float ( "));
        });
    }

    [Test]
    public void Barriers_order_local_memory_and_exchanges_need_no_sub_groups()
    {
        string source = Compile(L2NormalizeGpu.Kernel);
        string[] code = source[source.IndexOf("kernel void", StringComparison.Ordinal)..].Split('\n');

        Assert.Multiple(() =>
        {
            Assert.That(source, Does.Contain("#define work_group_barrier(flags) barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)")); // ILGPU itself writes the global fence alone
            Assert.That(code.Count(line => line.Contains($"local long exchanged[{Threads}]", StringComparison.Ordinal)), Is.EqualTo(1));
            Assert.That(code, Has.None.Contains("sub_group"));
        });
    }

    [Test]
    public void Variables_of_loops_stay_in_memory_for_pocl_only()
    {
        Assert.Multiple(() =>
        {
            Assert.That(Compile(StepSummaryGpu.Kernel, isPocl: true), Does.Contain("\tvolatile double var"));
            Assert.That(Compile(StepSummaryGpu.Kernel), Does.Not.Contain("volatile"));
        });
    }

    [Test]
    public void Matrix_instructions_have_no_OpenCL_form()
    {
        Assert.Multiple(() =>
        {
            Assert.That(() => Compile(GpuGemm.Kernel<StridedMatrix, StridedMatrix, StridedMatrix, LargeTile, StrictPrecision>), Throws.InstanceOf<InternalCompilerException>());
            Assert.That(() => Compile(GpuGemm.Kernel<StridedMatrix, StridedMatrix, StridedMatrix, LargeTile, Bf16Precision>), Throws.InstanceOf<InternalCompilerException>());
        });
    }

    [TestCase(8 << 10, 0)]
    [TestCase(64 << 10, 75)]
    [TestCase(512 << 10, 176)]
    public void The_eigenproblem_fits_the_local_memory(int bytes, int largest) => Assert.That(EigenSymmetricGpu.LargestWithin(bytes), Is.EqualTo(largest));

    [Test]
    public void A_device_that_is_not_there_is_refused_by_number() =>
        Assert.That(() => Gpu.OpenOpenCl(1000), Throws.InstanceOf<GpuException>().With.Message.Contains("OpenCL device"));

    [TestCase(24, 40)]
    [TestCase(40, 24)]
    public void The_whole_step_agrees_with_the_reference(int n, int d)
    {
        using Gpu gpu = OpenOrSkip();
        MoLoOptions options = new() { Tau = 0.8, Lambda = 0.7 };
        Batch batch = Batch.Create(n, d, tau: 0.8);
        ReferenceStep expected = TrainingStepReference.Run(batch.Images.Elements, batch.Texts.Elements, n, d, 3.0, options);

        GpuStepRun run = GpuStepRun.Of(gpu, batch.SingleImages, batch.SingleTexts, n, d, 3.0, options, GpuStepSettings.For(GpuPrecision.Strict, gpu));

        run.IsNear(expected, 5e-6, 1e-3);
    }

    [Test]
    public void What_a_device_does_not_have_is_refused_by_name()
    {
        using Gpu gpu = OpenOrSkip();
        using TrainingStep step = new(new MoLoOptions(), threads: 1);
        Assert.Multiple(() =>
        {
            Assert.That(() => step.CreateWorkspace(gpu, new MatrixShape(4, 6), GpuPrecision.Bf16), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("Bf16"));
            Assert.That(() => step.CreateWorkspace(gpu, new MatrixShape(200, 300)), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("min(N, d) = 200"));
            Assert.That(() => gpu.Wrap(16, 1, 1), Throws.InstanceOf<ArgumentException>().With.Message.Contains("OpenCL"));
            Assert.That(() => gpu.WrapStream(1), Throws.InstanceOf<ArgumentException>());
        });
    }

    private static Gpu OpenOrSkip()
    {
        try
        {
            return Gpu.OpenOpenCl();
        }
        catch (GpuException missing)
        {
            throw new IgnoreException(missing.Message);
        }
    }

    private static string Compile(Delegate kernel) => Compile(kernel, isPocl: false);

    private static string Compile(Delegate kernel, bool isPocl)
    {
        ConstructorInfo capabilities = typeof(CLCapabilityContext).GetConstructors().Single();
        object[] everything = [.. capabilities.GetParameters().Select(_ => (object)true)];
        using Context context = Context.Create(builder => builder.Optimize(OptimizationLevel.O1).EnableAlgorithms().HiMoIntrinsics().OpenClIntrinsics());
        using CLBackend backend = new(context, (CLCapabilityContext)capabilities.Invoke(everything), CLDeviceVendor.AMD, CLCVersion.CL20);
        var compiled = (CLCompiledKernel)backend.Compile(EntryPointDescription.FromExplicitlyGroupedKernel(kernel.Method), new KernelSpecialization(Threads, 1));
        return OpenClEmitter.Complete(compiled, Threads, isPocl).Source;
    }
}
