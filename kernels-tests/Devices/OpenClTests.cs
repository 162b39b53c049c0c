// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime;
using ILGPU.Runtime.OpenCL;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>The kernels on OpenCL: their OpenCL C where there is no device, and the step, HiDe and MoLo where there is one (docs/design.md has the table of what runs where).</summary>
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
            Assert.That(Compile(RowConversion.Kernel<ushort, float, Float16Bits, Float32Stored>), Does.Contain("ushort").And.Not.Contain("half"));
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
    public void Dynamic_memory_belongs_to_a_group()
    {
        string source = Compile(EigenSymmetricGpu.Kernel<EigenSymmetricGpu.InSharedMemory>);
        int start = source.IndexOf("kernel void", StringComparison.Ordinal);
        Assert.Multiple(() =>
        {
            Assert.That(source[..start], Does.Not.Contain("shared_var_")); // ILGPU itself declares it there, for all groups together
            Assert.That(source[start..], Does.Contain("\tlocal float* shared_var_"));
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
    [TestCase(100 << 10, 128, Description = "CUDA's sm_86 and sm_89")]
    [TestCase(164 << 10, 176, Description = "sm_80")]
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
    public void Half_by_its_bits_is_half()
    {
        float[] halves = [.. Enumerable.Range(0, 1 << 16).Select(bits => (float)BitConverter.UInt16BitsToHalf((ushort)bits))];
        float[] beside = [.. halves.Where(float.IsFinite).SelectMany(half => new[] { half, MathF.BitIncrement(half) }).SelectMany(value => new[] { value, Between(value), MathF.BitDecrement(Between(value)) })];
        float[] outside = [65519.996f, 65520f, -65520f, 1e38f, 1e-45f, -1e-30f, float.NaN, float.PositiveInfinity, float.NegativeInfinity];
        Assert.Multiple(() =>
        {
            Assert.That(Enumerable.Range(0, 1 << 16).Select(bits => Float16Bits.Widen((ushort)bits)), Is.EqualTo(halves));
            Assert.That(beside.Concat(outside).Select(value => BitConverter.UInt16BitsToHalf(Float16Bits.Narrow(value))), Is.EqualTo(beside.Concat(outside).Select(value => (System.Half)value)));
            Assert.That(Float16Bits.Narrow(-0.0f), Is.EqualTo(0x8000));
        });

        // Halfway to the half behind it.
        static float Between(float value) => (float)(0.5 * ((double)value + (double)(float)System.Half.BitIncrement((System.Half)value)));
    }

    [TestCase(5, 8, GpuElement.Float16, 1e-3)]
    [TestCase(8, 5, GpuElement.BFloat16, 4e-3)]
    public void HiDe_alone_agrees_with_the_reference_on_rows_of_16_bits(int n, int d, GpuElement element, double rounding)
    {
        using Gpu gpu = OpenOrSkip();
        const int Groups = 2;
        const double Tau = 0.8;
        int all = Groups * n, length = n * d;
        bool isHalf = element == GpuElement.Float16;
        ushort[] words = [.. Enumerable.Range(1, Groups).SelectMany(seed => L2NormalizeReference.Forward(Batch.Create(n, d, seed, Tau).Texts).Elements).Select(value => isHalf ? Float16Bits.Narrow((float)value) : BFloat16Stored.Narrow((float)value))];
        float[] gradient = Batch.Single(Batch.RandomMatrix(all, d, 41).Elements);
        using MemoryBuffer1D<ushort, Stride1D.Dense> x = gpu.Accelerator.Allocate1D(words), u = gpu.Accelerator.Allocate1D<ushort>(all * d);
        using MemoryBuffer1D<float, Stride1D.Dense> g = gpu.Accelerator.Allocate1D(gradient), dx = gpu.Accelerator.Allocate1D<float>(all * d);
        using HiDe hide = new(Tau, threads: 1);
        using HiDeGpuWorkspace workspace = hide.CreateWorkspace(gpu, new(n, d), Groups);

        hide.Forward(Matrix(x), Matrix(u), workspace);
        hide.Backward(Matrix(x), new(g.View.BaseView, all, d), new(dx.View.BaseView, all, d), workspace);

        HiDeResult[] results = workspace.ReadResults();
        double[] components = Widen(u.GetAsArray1D()), gradTexts = Batch.Widen(dx.GetAsArray1D());
        for (int group = 0; group < Groups; group++)
        {
            Range part = (group * length)..((group + 1) * length);
            HiDeReferenceState state = HiDeReference.Forward(new(Widen(words[part]), n, d), Tau);
            Assert.That(results[group].M, Is.EqualTo(state.Result.M));
            Expect.Gradient(components[part], state.Components.Elements, rounding, "u'");
            Expect.Gradient(gradTexts[part], HiDeReference.Backward(state, new(Batch.Widen(gradient[part]), n, d), BasisGradient.Exact).Elements, 1e-3, "dx");
        }

        GpuMatrix Matrix(MemoryBuffer1D<ushort, Stride1D.Dense> memory) => isHalf
            ? new(memory.View.BaseView.Cast<ILGPU.Half>(), all, d)
            : GpuMatrix.OfBFloat16(memory.View.BaseView, all, d);

        double[] Widen(ushort[] bits) => [.. bits.Select(each => (double)(isHalf ? Float16Bits.Widen(each) : BFloat16Stored.Widen(each)))];
    }

    [Test]
    public void MoLo_alone_agrees_with_the_reference()
    {
        using Gpu gpu = OpenOrSkip();
        MoLoGpuRun.AgreesWithTheReference(gpu, 3, 67, 5, 64, new() { Lambda = 0.7, GlobalWeight = 1.3, ComponentNormalization = ComponentNormalization.Cosine });
    }

    [Test]
    public void What_a_device_does_not_have_is_refused_by_name()
    {
        using Gpu gpu = OpenOrSkip();
        using TrainingStep step = new(new MoLoOptions(), threads: 1);
        using HiDe hide = new(threads: 1);
        Assert.Multiple(() =>
        {
            Assert.That(() => step.CreateWorkspace(gpu, new MatrixShape(4, 6), GpuPrecision.Bf16), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("Bf16"));
            Assert.That(() => step.CreateWorkspace(gpu, new MatrixShape(200, 300)), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("min(N, d) = 200"));
            Assert.That(() => hide.CreateWorkspace(gpu, new(200, 300)), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("min(N, d) = 200"));
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
