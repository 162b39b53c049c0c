// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The dual loss on gathered features, in emulation, against the reference.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class MoLoGpuTests
{
    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open(warps: 8);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    private static IEnumerable<TestCaseData> Cases()
    {
        MoLoOptions plain = new() { Lambda = 0.7, GlobalWeight = 1.3 };
        yield return Case(3, 67, 5, 64, plain);
        yield return Case(3, 35, 5, 32, plain, GpuPrecision.Tf32);
        yield return Case(3, 35, 5, 32, plain, GpuPrecision.Bf16, warpgroups: false);
        yield return Case(2, 5, 4, 3, plain with { ComponentNormalization = ComponentNormalization.Cosine }, GpuPrecision.Bf16);
        yield return Case(2, 5, 4, 1, plain with { GatherWithGrad = false, Components = ComponentSource.Image, ComponentNormalization = ComponentNormalization.Cosine });
        yield return Case(4, 4, 3, 0, plain with { GlobalWeight = 0.0, Components = ComponentSource.TextAndImage, ComponentNormalization = ComponentNormalization.Cosine });

        static TestCaseData Case(int rows, int gathered, int width, int offset, MoLoOptions options, GpuPrecision precision = GpuPrecision.Strict, bool warpgroups = true) =>
            new TestCaseData(rows, gathered, width, offset, options, precision, warpgroups)
                .SetArgDisplayNames($"{rows}", $"{gathered}", $"{width}", $"{offset}", $"{options.Components}", $"gather={options.GatherWithGrad}", $"{precision}", $"{warpgroups}");
    }

    [TestCaseSource(nameof(Cases))]
    public void Agrees_with_the_reference(int rows, int gatheredRows, int width, int offset, MoLoOptions options, GpuPrecision precision, bool warpgroups) =>
        MoLoGpuRun.AgreesWithTheReference(_gpu, rows, gatheredRows, width, offset, options, precision, warpgroups);

    [Test]
    public void The_face_equals_the_reference_and_later_runs_neither_allocate_nor_read([Values] GpuPrecision precision)
    {
        (double loss, double gradient) = TestGpu.Tolerance(precision);
        const int Rows = 2, All = 5, Width = 4, Offset = 3;
        MoLoOptions options = new() { Lambda = 0.7 };
        MoLoReferenceOperands local = MoLoGpuRun.Operands(Rows, Width, 1), gathered = MoLoGpuRun.Operands(All, Width, 10);
        MoLoReferenceResult expected = MoLoReference.Run(MoLoGpuRun.WithoutUnused(local, options), MoLoGpuRun.WithoutUnused(gathered, options), Offset, MoLoGpuRun.LogitScale, options, gradients: true);
        using MemoryBuffer1D<float, Stride1D.Dense> inputs = _gpu.Accelerator.Allocate1D(MoLoGpuRun.Flat(local, gathered));
        using MemoryBuffer1D<float, Stride1D.Dense> outputs = _gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, 2 * All * Width).ToArray());
        using MemoryBuffer1D<float, Stride1D.Dense> scale = _gpu.Accelerator.Allocate1D(new[] { (float)MoLoGpuRun.LogitScale });
        GpuMatrix logitScale = new(scale.View.BaseView, 1, 1);
        MoLoGpuMatrices own = Matrices(inputs.View.BaseView, 0, Rows), everybody = Matrices(inputs.View.BaseView, 4 * Rows * Width, All);
        MoLoGpuMatrices gradOwn = new() { ComponentTexts = new(outputs.View.BaseView, Rows, Width, 2 * Width) }; // every second row
        MoLoGpuMatrices gradEverybody = new() { Images = new(outputs.View.BaseView.SubView(All * Width, All * Width), All, Width) };
        using MoLo molo = new(options, threads: 1);
        long promised = molo.WorkspaceBytes(new(Rows, Width), All, precision);
        _gpu.Log.Reset();
        using MoLoGpuWorkspace workspace = molo.CreateWorkspace(_gpu, new(Rows, Width), All, Offset, precision);
        Assert.That((workspace.Bytes, _gpu.Log.AllocatedBytes), Is.EqualTo((promised, promised)), "what the workspace took");
        molo.Run(own, everybody, logitScale, gradOwn, gradEverybody, workspace);
        _gpu.Log.Reset();
        molo.Run(own, everybody, logitScale, gradOwn, gradEverybody, workspace);

        Assert.That((_gpu.Log.Allocations, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)));
        MoLoResult result = workspace.ReadResult();
        float[] written = outputs.GetAsArray1D();
        Assert.Multiple(() =>
        {
            Expect.Loss(result.Loss, expected.Loss, loss, "loss");
            Expect.Loss(result.Global, expected.Global, loss, "global");
            Expect.Loss(result.Component, expected.Component, loss, "component");
            Expect.LogitScaleGradient(result.GradLogitScale, expected.GradLogitScale, expected.Loss, gradient);
            Expect.Gradient(Batch.Widen([.. written[..Width], .. written[(2 * Width)..(3 * Width)]]), expected.Local.ComponentTexts.Elements, gradient, "local u'");
            Assert.That(written[Width..(2 * Width)].Concat(written[(3 * Width)..(All * Width)]), Is.All.NaN, "beside the rows");
            Expect.Gradient(Batch.Widen(written[(All * Width)..]), (expected.Gathered.Images + expected.Gathered.ComponentImages).Elements, gradient, "gathered images");
            Assert.That(workspace.Summary.Shape, Is.EqualTo(new MatrixShape(1, 4)));
        });

        static MoLoGpuMatrices Matrices(ArrayView<float> all, int start, int rows)
        {
            GpuMatrix Part(int index) => new(all.SubView(start + (index * rows * Width), rows * Width), rows, Width);
            return new() { Images = Part(0), Texts = Part(1), ComponentTexts = Part(3) };
        }
    }

    [Test]
    public void Wrong_arguments_are_named_before_anything_runs()
    {
        using MoLo molo = new(new MoLoOptions(), threads: 1);
        using MoLo other = new(new MoLoOptions(), threads: 1);
        using MoLoGpuWorkspace workspace = molo.CreateWorkspace(_gpu, new(2, 3), 4, 2);
        using MemoryBuffer1D<float, Stride1D.Dense> memory = _gpu.Allocate<float>(12);
        GpuMatrix own = new(memory.View.BaseView, 2, 3), all = new(memory.View.BaseView, 4, 3), scale = new(memory.View.BaseView, 1, 1);
        MoLoGpuMatrices local = new() { Images = own, Texts = own, ComponentTexts = own }, gathered = new() { Images = all, Texts = all, ComponentTexts = all };
        _gpu.Log.Reset();
        Assert.Multiple(() =>
        {
            Refused("local.Texts is 4 x 3; it must be 2 x 3, as its workspace", () => molo.Run(local with { Texts = all }, gathered, scale, default, default, workspace));
            Refused("gathered.ComponentTexts is 0 x 0", () => molo.Run(local, gathered with { ComponentTexts = default }, scale, default, default, workspace));
            Refused("local.ComponentImages must be empty", () => molo.Run(local with { ComponentImages = own }, gathered, scale, default, default, workspace));
            Refused("gradGathered.Images is 2 x 3", () => molo.Run(local, gathered, scale, default, new() { Images = own }, workspace));
            Refused("logitScale is 2 x 3", () => molo.Run(local, gathered, own, default, default, workspace));
            Refused("created by another MoLo", () => other.Run(local, gathered, scale, default, default, workspace));
            Refused("gatheredRows must be at least 2", () => molo.WorkspaceBytes(new(2, 3), 1));
            Refused("targetOffset must be from 0 to 2; it is 3", () => molo.CreateWorkspace(_gpu, new(2, 3), 4, 3));
            Assert.That(() => workspace.ReadResult(), Throws.InvalidOperationException);
            Assert.That(_gpu.Log.Launches, Is.Empty);
        });
        workspace.Dispose();
        workspace.Dispose();
        Assert.That(() => molo.Run(local, gathered, scale, default, default, workspace), Throws.InstanceOf<ObjectDisposedException>());

        static void Refused(string message, Action call) => Assert.That(call, Throws.ArgumentException.With.Message.Contains(message));
    }
}
