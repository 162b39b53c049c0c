// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The public face of the GPU step, on the emulated device.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class GpuWorkspaceTests
{
    private const int Rows = 3;
    private const int Width = 4;

    private static readonly MatrixShape s_shape = new(Rows, Width);
    private static readonly MoLoOptions s_options = new() { Tau = 0.8, Lambda = 0.5, GatherWithGrad = false };

    private readonly float[] _images = Features(1);
    private readonly float[] _texts = Features(2);
    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [Test]
    public unsafe void Foreign_pointers_give_the_result_of_the_reference_and_later_runs_neither_allocate_nor_read()
    {
        TestGpu.NeedsEmulation();
        ReferenceStep expected = TrainingStepReference.Run(Widen(_images), Widen(_texts), Rows, Width, 3.0, s_options);
        float[] gradImages = Unset(Rows * Width);
        float[] gradTexts = Unset(Rows * Width);
        using TrainingStep step = new(s_options, threads: 1);
        long promised = step.WorkspaceBytes(s_shape);
        _gpu.Log.Reset();
        using GpuWorkspace workspace = step.CreateWorkspace(_gpu, s_shape);
        (long bytes, long allocated) = (workspace.Bytes, _gpu.Log.AllocatedBytes);
        _gpu.Log.Reset();
        float scale = 3.0f;
        fixed (float* v = _images, u = _texts, gradV = gradImages, gradU = gradTexts)
        {
            GpuMatrix[] all =
            [
                _gpu.Wrap((nint)v, Rows, Width), _gpu.Wrap((nint)u, Rows, Width), _gpu.Wrap((nint)(&scale), 1, 1), _gpu.Wrap((nint)gradV, Rows, Width),
                _gpu.Wrap((nint)gradU, Rows, Width),
            ];
            step.Run(all[0], all[1], all[2], all[3], all[4], workspace);
            Assert.That((bytes, allocated), Is.EqualTo((promised, promised)), "what the workspace took");
            Assert.That((_gpu.Log.Allocations, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)), "first run");
            float[] first = [.. gradImages, .. gradTexts];
            MoLoResult firstResult = workspace.ReadResult();
            Array.Fill(gradImages, float.NaN);
            Array.Fill(gradTexts, float.NaN);
            _gpu.Log.Reset();
            step.Run(all[0], all[1], all[2], all[3], all[4], workspace, _gpu.WrapStream(0));
            Assert.That((_gpu.Log.Allocations, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)), "second run");
            Assert.That(_gpu.Log.Launches, Has.Count.AtMost(12));
            Assert.That(gradImages.Concat(gradTexts), Is.EqualTo(first), "the same bits");
            Assert.That(workspace.ReadResult(), Is.EqualTo(firstResult));
        }

        Assert.Multiple(() =>
        {
            Check(workspace.ReadResult(), expected);
            Expect.Gradient(Widen(gradImages), expected.GradImages, 1e-3, "images");
            Expect.Gradient(Widen(gradTexts), expected.GradTexts, 1e-3, "texts");
            Assert.That(workspace.Summary.Shape, Is.EqualTo(new MatrixShape(1, 6)));
        });
    }

    [Test]
    public void Rows_of_any_stride_and_type_are_taken_at_the_price_that_was_said()
    {
        const int Stride = Width + 3;
        ushort[] images = [.. Enumerable.Range(0, Rows * Stride).Select(i => i % Stride < Width ? BFloat16Stored.Narrow(_images[(i / Stride * Width) + (i % Stride)]) : (ushort)0x7fc1)];
        double[] rounded = [.. _images.Select(value => (double)BFloat16Stored.Widen(BFloat16Stored.Narrow(value)))];
        ReferenceStep expected = TrainingStepReference.Run(rounded, Widen(_texts), Rows, Width, 2.0, s_options);
        using MemoryBuffer1D<ushort, Stride1D.Dense> bits = _gpu.Accelerator.Allocate1D(images);
        using MemoryBuffer1D<float, Stride1D.Dense> texts = _gpu.Accelerator.Allocate1D(_texts);
        using MemoryBuffer1D<float, Stride1D.Dense> scale = _gpu.Accelerator.Allocate1D(new[] { 2.0f });
        using MemoryBuffer1D<float, Stride1D.Dense> gradImages = _gpu.Accelerator.Allocate1D(Unset(Rows * Stride));
        using TrainingStep step = new(s_options, threads: 1);
        using GpuWorkspace workspace = step.CreateWorkspace(_gpu, s_shape);
        _gpu.Log.Reset();

        step.Run(
            GpuMatrix.OfBFloat16(bits.View.BaseView, Rows, Width, Stride), new GpuMatrix(texts.View.BaseView, Rows, Width), new GpuMatrix(scale.View.BaseView, 1, 1),
            new GpuMatrix(gradImages.View.BaseView, Rows, Width, Stride), gradTexts: default, workspace);

        float[] written = gradImages.GetAsArray1D();
        Assert.Multiple(() =>
        {
            Assert.That(_gpu.Log.Launches.Count(launch => launch.Kernel.DeclaringType == typeof(RowConversion)), Is.EqualTo(2), "images and their gradient");
            Assert.That(_gpu.Log.AllocatedBytes, Is.EqualTo(3 * workspace.BytesPerConversion), "images, their gradient, the texts' unwanted gradient");
            Check(workspace.ReadResult(), expected);
            Expect.Gradient([.. written.Where((_, i) => i % Stride < Width).Select(value => (double)value)], expected.GradImages, 1e-3, "images");
            Assert.That(written.Where((_, i) => i % Stride >= Width), Is.All.NaN, "between the rows");
        });
    }

    [Test]
    public void Features_of_one_type_are_read_as_they_are([Values] GpuElement element, [Values(ComponentSource.Text, ComponentSource.Image)] ComponentSource components)
    {
        const int Stride = Width + 3;
        MoLoOptions options = s_options with { Components = components };
        (float[] images, float[] texts) = (Stored(_images), Stored(_texts));
        ReferenceStep expected = TrainingStepReference.Run(Widen(images), Widen(texts), Rows, Width, 2.0, options);
        using MemoryBuffer1D<ushort, Stride1D.Dense> imageWords = _gpu.Accelerator.Allocate1D(Words(images, Stride)), textWords = _gpu.Accelerator.Allocate1D(Words(texts, Width));
        using MemoryBuffer1D<float, Stride1D.Dense> scale = _gpu.Accelerator.Allocate1D(new[] { 2.0f });
        using MemoryBuffer1D<float, Stride1D.Dense> gradImages = _gpu.Accelerator.Allocate1D(Unset(Rows * Width)), gradTexts = _gpu.Accelerator.Allocate1D(Unset(Rows * Width));
        using TrainingStep step = new(options, threads: 1);
        using GpuWorkspace workspace = step.CreateWorkspace(_gpu, s_shape);
        _gpu.Log.Reset();

        step.Run(
            Matrix(imageWords, Stride), Matrix(textWords, Width), new GpuMatrix(scale.View.BaseView, 1, 1), new GpuMatrix(gradImages.View.BaseView, Rows, Width),
            new GpuMatrix(gradTexts.View.BaseView, Rows, Width), workspace);

        Assert.Multiple(() =>
        {
            Assert.That(_gpu.Log.Launches, Has.Count.EqualTo(11));
            Assert.That((_gpu.Log.Allocations, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)));
            Check(workspace.ReadResult(), expected);
            Expect.Gradient(Widen(gradImages.GetAsArray1D()), expected.GradImages, 1e-3, "images");
            Expect.Gradient(Widen(gradTexts.GetAsArray1D()), expected.GradTexts, 1e-3, "texts");
        });

        float[] Stored(float[] values) => element switch
        {
            GpuElement.Float16 => [.. values.Select(value => Float16Bits.Widen(Float16Bits.Narrow(value)))],
            GpuElement.BFloat16 => [.. values.Select(value => BFloat16Stored.Widen(BFloat16Stored.Narrow(value)))],
            _ => values,
        };

        // Rows with NaN between them.
        ushort[] Words(float[] values, int stride) =>
            [.. Enumerable.Range(0, Rows * stride).SelectMany(i => WordsOf(i % stride < Width ? values[(i / stride * Width) + (i % stride)] : float.NaN))];

        ushort[] WordsOf(float value) => element switch
        {
            GpuElement.Float16 => [Float16Bits.Narrow(value)],
            GpuElement.BFloat16 => [BFloat16Stored.Narrow(value)],
            _ => [(ushort)BitConverter.SingleToUInt32Bits(value), (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)],
        };

        GpuMatrix Matrix(MemoryBuffer1D<ushort, Stride1D.Dense> words, int stride) => element switch
        {
            GpuElement.Float16 => new GpuMatrix(words.View.BaseView.Cast<ILGPU.Half>(), Rows, Width, stride),
            GpuElement.BFloat16 => GpuMatrix.OfBFloat16(words.View.BaseView, Rows, Width, stride),
            _ => new GpuMatrix(words.View.BaseView.Cast<float>(), Rows, Width, stride),
        };
    }

    [TestCase(GpuPrecision.Strict)]
    [TestCase(GpuPrecision.Bf16)]
    public void Memory_grows_with_the_rows_where_they_are_more_than_the_columns(GpuPrecision precision)
    {
        using TrainingStep step = new(new(), threads: 1);
        long one = step.WorkspaceBytes(new(1 << 15, 512), precision), two = step.WorkspaceBytes(new(1 << 16, 512), precision);
        Assert.That(two, Is.LessThan(2.2 * one));
    }

    [Test]
    public void Switched_off_branches_read_as_zero_and_warnings_are_those_of_the_other_forms()
    {
        float[] numbers = [1.0f, 2.0f, 3.0f, 4.0f, 0.5f, 1e-5f, BitConverter.Int32BitsToSingle(2), BitConverter.Int32BitsToSingle(1)];
        MoLoResult both = GpuWorkspace.ToResult(numbers, s_options, s_shape);
        MoLoResult plain = GpuWorkspace.ToResult(numbers, s_options with { Lambda = 0.0 }, s_shape);
        MoLoResult image = GpuWorkspace.ToResult(numbers, s_options with { GlobalWeight = 0.0, Components = ComponentSource.Image }, s_shape);
        Assert.Multiple(() =>
        {
            Assert.That(both, Is.EqualTo(new MoLoResult
            {
                Loss = 1.0, Global = 2.0, Component = 3.0, M = 2, ExplainedVariance = 0.5, RelativeGap = 1e-5f, GradLogitScale = 4.0,
                Warnings = HiDeWarnings.NothingDropped | HiDeWarnings.NearTieAtCut,
            }));
            Assert.That(plain, Is.EqualTo(new MoLoResult { Loss = 1.0, Global = 2.0, Component = 0.0, M = 0, ExplainedVariance = 0.0, GradLogitScale = 4.0 }));
            Assert.That((image.Global, image.M, image.MImage, image.Warnings), Is.EqualTo((0.0, 0, 1, HiDeWarnings.NearTieAtCut)));
        });
    }

    [Test]
    public void Wrong_arguments_are_named_before_anything_runs()
    {
        using TrainingStep step = new(s_options, threads: 1);
        using TrainingStep other = new(s_options, threads: 1);
        using GpuWorkspace workspace = step.CreateWorkspace(_gpu, s_shape);
        using GpuWorkspace foreign = other.CreateWorkspace(_gpu, s_shape);
        using MemoryBuffer1D<float, Stride1D.Dense> memory = _gpu.Accelerator.Allocate1D<float>(Rows * Width);
        GpuMatrix good = new(memory.View.BaseView, Rows, Width);
        GpuMatrix scale = new(memory.View.BaseView, 1, 1);
        _gpu.Log.Reset();
        Assert.Multiple(() =>
        {
            Refused("images is 4 x 3; it must be 3 x 4", () => step.Run(new GpuMatrix(memory.View.BaseView, Width, Rows), good, scale, good, good, workspace));
            Refused("texts is 0 x 0", () => step.Run(good, default, scale, good, good, workspace));
            Refused("gradTexts is 1 x 1; it must be 3 x 4 as its workspace or empty", () => step.Run(good, good, scale, good, scale, workspace));
            Refused("logitScale is 3 x 4", () => step.Run(good, good, good, good, good, workspace));
            Refused("created by another TrainingStep", () => step.Run(good, good, scale, good, good, foreign));
            Refused("shape must have", () => step.CreateWorkspace(_gpu, new MatrixShape(0, 3)));
            Assert.That(() => step.WorkspaceBytes(new MatrixShape(5000, 5000)), Throws.InstanceOf<NotSupportedException>().With.Message.Contains("5000 x 5000"));
            Assert.That(() => workspace.ReadResult(), Throws.InvalidOperationException.With.Message.Contains("no step has run"));
            Assert.That(_gpu.Log.Launches, Is.Empty);
        });

        static void Refused(string message, Action call) => Assert.That(call, Throws.ArgumentException.With.Message.Contains(message));
    }

    [Test]
    public void Errors_of_the_device_name_the_call_and_its_shape_before_kernel_and_device()
    {
        TestGpu.NeedsEmulation();
        using Gpu small = Gpu.OpenEmulated(warps: 1); // groups of 128 threads do not fit
        using MemoryBuffer1D<float, Stride1D.Dense> memory = small.Accelerator.Allocate1D(new float[2 * Rows * Width]);
        GpuMatrix rows = new(memory.View.BaseView, Rows, Width), both = new(memory.View.BaseView, 2 * Rows, Width), scale = new(memory.View.BaseView, 1, 1);
        using TrainingStep step = new(s_options, threads: 1);
        using GpuWorkspace workspace = step.CreateWorkspace(small, s_shape);
        using HiDe hide = new(0.8, threads: 1);
        using HiDeGpuWorkspace ofHiDe = hide.CreateWorkspace(small, s_shape, groups: 2);
        using MoLo molo = new(s_options, threads: 1);
        using MoLoGpuWorkspace ofMoLo = molo.CreateWorkspace(small, s_shape, 2 * Rows, Rows);
        using L2NormalizeGpuWorkspace ofNormalize = L2Normalize.CreateWorkspace(small, s_shape);
        MoLoGpuMatrices local = new() { Images = rows, Texts = rows, ComponentTexts = rows }, gathered = new() { Images = both, Texts = both, ComponentTexts = both };
        Assert.Multiple(() =>
        {
            Fails("TrainingStep.Run with 3 x 4 features: Kernel L2NormalizeGpu.Kernel with ", () => step.Run(rows, rows, scale, default, default, workspace));
            Fails("HiDe with 2 groups of 3 x 4: Kernel GpuGemm.Kernel<", () => hide.Forward(both, both, ofHiDe));
            Fails("MoLo.Run with 3 x 4 local and 6 x 4 gathered features: Kernel ", () => molo.Run(local, gathered, scale, default, default, ofMoLo));
            Fails("L2Normalize with 3 x 4 features: Kernel L2NormalizeGpu.Kernel with ", () => L2Normalize.Forward(rows, rows, ofNormalize));
        });

        void Fails(string start, Action call) =>
            Assert.That(call, Throws.InstanceOf<GpuException>().With.Message.StartsWith(start).And.Message.Contains($" threads and ").And.Message.Contains($" failed on {small.Description}: "));
    }

    [Test]
    public void After_disposal_nothing_runs()
    {
        TrainingStep step = new(s_options, threads: 1);
        GpuWorkspace workspace = step.CreateWorkspace(_gpu, s_shape);
        workspace.Dispose();
        workspace.Dispose();
        Assert.That(() => workspace.ReadResult(), Throws.InstanceOf<ObjectDisposedException>());
        step.Dispose();
        Assert.That(() => step.CreateWorkspace(_gpu, s_shape), Throws.InstanceOf<ObjectDisposedException>());
    }

    private static void Check(MoLoResult result, ReferenceStep expected)
    {
        Expect.Loss(result.Loss, expected.Result.Loss, 5e-6, "loss");
        Expect.Loss(result.Global, expected.Result.Global, 5e-6, "global");
        Expect.Loss(result.Component, expected.Result.Component, 5e-6, "component");
        Expect.LogitScaleGradient(result.GradLogitScale, expected.Result.GradLogitScale, expected.Result.Loss, 1e-3);
        Assert.That((result.M, result.MImage, result.Warnings), Is.EqualTo((expected.Result.M, expected.Result.MImage, expected.Result.Warnings)));
        Assert.That(result.ExplainedVariance, Is.EqualTo(expected.Result.ExplainedVariance).Within(1e-5));
    }

    private static float[] Features(int seed)
    {
        Random random = new(seed);
        return [.. Enumerable.Range(0, Rows * Width).Select(i => (float)((random.NextDouble() - 0.4) / Math.Sqrt((i % Width) + 1)))];
    }

    private static float[] Unset(int length) => [.. Enumerable.Repeat(float.NaN, length)];

    private static double[] Widen(float[] values) => [.. values.Select(value => (double)value)];
}
