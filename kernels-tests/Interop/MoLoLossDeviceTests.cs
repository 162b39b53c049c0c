// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>The path of CUDA tensors, with ILGPU's emulation in the place of the device.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class MoLoLossDeviceTests
{
    private static readonly MoLoOptions s_options = new() { Tau = 0.8 };

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = Gpu.OpenEmulated(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [Test]
    public void What_fails_while_the_numbers_are_read_names_call_and_device()
    {
        Tensor numbers = zeros(3);
        DeviceResult<int> result = new(numbers, _gpu, "MoLoLoss with 4 x 5 features", values => values.Length);
        numbers.Dispose();
        Assert.That(result.Read, Throws.TypeOf<GpuException>().With.Message.StartsWith($"MoLoLoss with 4 x 5 features: Reading a result from {_gpu.Description} failed, in the copy or in work before it"));
    }

    [Test]
    public void Loss_and_gradients_are_those_of_the_CPU_and_a_second_step_neither_allocates_nor_reads()
    {
        using TensorCase given = TensorCase.Random(4, 5);
        using MoLoLoss host = new(s_options);
        using MoLoLoss device = new(s_options, _gpu);
        Outcome expected = given.Run(host);
        Outcome outcome = given.Run(device);
        long copies = TensorMemory.Copies;
        _gpu.Log.Reset();

        Outcome again = given.Run(device);

        Assert.Multiple(() =>
        {
            Assert.That((_gpu.Log.Allocations, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)));
            Assert.That(_gpu.Log.Launches, Has.Count.AtMost(12));
            Assert.That(TensorMemory.Copies, Is.EqualTo(copies), "tensors are used in place");
            Expect.Loss(outcome.Loss, expected.Loss, 5e-6, "loss");
            Expect.Gradient(outcome.GradImages, expected.GradImages, 1e-3, "images");
            Expect.Gradient(outcome.GradTexts, expected.GradTexts, 1e-3, "texts");
            Expect.LogitScaleGradient(outcome.GradLogitScale, expected.GradLogitScale, expected.Loss, 1e-3);
            Assert.That((again.Loss, again.GradLogitScale), Is.EqualTo((outcome.Loss, outcome.GradLogitScale)));
            Assert.That(again.GradImages.Concat(again.GradTexts), Is.EqualTo(outcome.GradImages.Concat(outcome.GradTexts)), "the same bits");
            Assert.That(device.LastResult.M, Is.EqualTo(host.LastResult.M));
            Expect.Loss(device.LastResult.Component, host.LastResult.Component, 5e-6, "component");
            Assert.That(device.LastResult, Is.EqualTo(device.LastResult), "read once, kept");
        });
    }

    [TestCase(ScalarType.Float32, 1e-3)]
    [TestCase(ScalarType.Float16, 1e-2)]
    [TestCase(ScalarType.BFloat16, 5e-2)]
    public void Rows_are_read_where_they_lie_at_any_distance_and_other_layouts_copied(ScalarType type, double gradientTolerance)
    {
        using TensorCase given = TensorCase.Random(4, 5, type: type);
        using MoLoLoss host = new(s_options), device = new(s_options, _gpu);
        Outcome expected = given.Run(host);
        Assert.Multiple(() =>
        {
            Check("dense", x => x.view(x.shape), copies: 0);
            Check("rows with gaps", x => cat([x, x], dim: 1).narrow(1, 0, 5), copies: 0);
            Check("columns side by side", x => x.t().contiguous().t(), copies: 2);
            Check("float64", x => x.to(ScalarType.Float64), copies: 2);
        });

        void Check(string name, Func<Tensor, Tensor> layout, int copies)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor images = layout(given.Images), texts = layout(given.Texts), scale = given.LogitScale.detach().to(ScalarType.Float32);
            long before = TensorMemory.Copies;
            Tensor loss = device.forward(images, texts, scale);
            Assert.That(TensorMemory.Copies - before, Is.EqualTo(copies), name);
            loss.backward();
            Expect.Loss(TensorCase.Values(loss)[0], expected.Loss, 5e-6, name);
            Expect.Gradient(TensorCase.Values(given.Images.grad!), expected.GradImages, gradientTolerance, $"{name}: images");
            Expect.Gradient(TensorCase.Values(given.Texts.grad!), expected.GradTexts, gradientTolerance, $"{name}: texts");
            _ = given.Images.grad!.zero_();
            _ = given.Texts.grad!.zero_();
        }
    }

    [Test]
    public void An_error_of_the_device_comes_with_shape_kernel_device_and_its_words()
    {
        using Gpu small = Gpu.OpenEmulated(warps: 1);
        using TensorCase given = TensorCase.Random(4, 5);
        using MoLoLoss device = new(s_options, small);
        Assert.That(
            () => given.Run(device),
            Throws.InstanceOf<GpuException>().With.Message.StartsWith("TrainingStep.Run with 4 x 5 features: Kernel L2NormalizeGpu.Kernel with 2 x 1 x 1 groups of 128 threads")
                .And.Message.Contains($"failed on {small.Description}: ").And.InnerException.InnerException.Not.Null);
    }

    [Test]
    public void Warnings_come_when_the_result_is_asked_for_and_frozen_inputs_get_no_gradient()
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorCase given = TensorCase.Random(3, 4, type: ScalarType.BFloat16);
        using MoLoLoss device = new(s_options with { Tau = 1.0 }, _gpu);
        List<string> warnings = [];
        device.Warning += warnings.Add;
        Tensor loss = device.forward(given.Images.detach(), given.Texts, given.LogitScale.detach());
        loss.backward();
        Assert.Multiple(() =>
        {
            Assert.That(warnings, Is.Empty);
            Assert.That(device.LastResult.Warnings, Is.EqualTo(HiDeWarnings.NothingDropped));
            Assert.That(warnings, Has.Count.EqualTo(1));
            Assert.That(given.Texts.grad!.dtype, Is.EqualTo(ScalarType.BFloat16));
            Assert.That(given.Images.grad, Is.Null);
            Assert.That(device.LastSpectrum, Is.Empty);
        });
    }

    [Test]
    public void What_the_device_does_not_have_is_refused_before_anything_runs()
    {
        using DisposeScope scope = NewDisposeScope();
        using MoLoLoss device = new(s_options, _gpu);
        _gpu.Log.Reset();
        Assert.Multiple(() =>
        {
            const int TooLarge = EigenSymmetricGpu.LargeMaxSize + 1;
            Tensor large = empty(TooLarge, TooLarge);
            Assert.That(
                () => device.forward(large, large, tensor(1.0f)), Throws.InstanceOf<NotSupportedException>().With.Message.Contains($"{TooLarge} x {TooLarge}"));
            Assert.That(() => device.forward(randn(3, 4), randn(3, 4), randn(2)), Throws.ArgumentException.With.Message.Contains("it must have one element"));
            Assert.That(
                () => device.forward(randn(3, 4), randn(3, 4, device: META), tensor(1.0f)), Throws.ArgumentException.With.Message.Contains("texts is on meta"));
            Assert.That(_gpu.Log.Launches, Is.Empty);
        });
    }

    [Test]
    public void Workspaces_belong_to_one_shape_and_stream_and_few_are_kept()
    {
        using TrainingStep step = new(s_options, threads: 1);
        using DevicePool<MatrixShape, GpuWorkspace> pool = new(mostIdle: 8);
        List<GpuWorkspace> seen = [];
        for (int rows = 2; rows < 12; rows++)
        {
            Use(_gpu.Accelerator.DefaultStream, rows, seen.Add);
        }

        Use(_gpu.Accelerator.DefaultStream, 11, workspace => Assert.That(workspace, Is.SameAs(seen[^1])));
        Use(_gpu.Accelerator.DefaultStream, 2, workspace => Assert.That(workspace, Is.Not.SameAs(seen[0]), "the oldest was freed"));
        using ILGPU.Runtime.AcceleratorStream other = _gpu.Accelerator.CreateStream();
        Use(other, 11, workspace => Assert.That(workspace, Is.Not.SameAs(seen[^1]), "another stream"));

        void Use(ILGPU.Runtime.AcceleratorStream stream, int rows, Action<GpuWorkspace> run)
        {
            MatrixShape shape = new(rows, 16);
            pool.Use(stream, shape, () => step.CreateWorkspace(_gpu, shape), run);
        }
    }

    [Test]
    public void Nothing_of_CUDA_is_loaded_for_CPU_tensors()
    {
        if (!OperatingSystem.IsLinux() || Gpu.FindCuda().Count > 0)
        {
            Assert.Ignore("tells something on Linux without a CUDA device only");
        }

        using TensorCase given = TensorCase.Random(4, 5);
        using MoLoLoss loss = new(s_options);
        _ = given.Run(loss);
        Assert.That(File.ReadAllText("/proc/self/maps"), Does.Not.Contain("libcuda").And.Not.Contain("torch_cuda"));
    }
}
