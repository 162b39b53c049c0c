// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>The loss in the middle of libtorch's own work on a real device: see <see cref="TorchGpu"/> for what it needs.</summary>
[TestFixture]
internal sealed class MoLoLossCudaTests
{
    private const int Rows = 128, Width = 768;

    [OneTimeSetUp]
    public void NeedsCuda() => TorchGpu.Needed();

    [TestCase(Rows, Width, ScalarType.Float32, 1e-3)]
    [TestCase(Rows, Width, ScalarType.BFloat16, 2e-2)]
    [TestCase(300, 64, ScalarType.Float32, 1e-3)]
    public void Between_kernels_of_libtorch_the_result_is_that_of_the_processor(int rows, int width, ScalarType type, double tolerance)
    {
        using MoLoLoss loss = new();
        Layer expected = Layer.Run(loss, CPU, rows, width, type);
        Layer actual = Layer.Run(loss, CUDA, rows, width, type);
        Assert.Multiple(() =>
        {
            Expect.Loss(actual.Loss, expected.Loss, tolerance, "loss");
            Expect.Gradient(actual.GradImageWeights, expected.GradImageWeights, tolerance, "weights before the images");
            Expect.Gradient(actual.GradTextWeights, expected.GradTextWeights, tolerance, "weights before the texts");
        });
    }

    [Test]
    public void A_step_neither_waits_nor_copies_nor_allocates_and_steps_have_the_same_bits_and_memory()
    {
        using MoLoLoss loss = new();
        Gpu gpu = Gpu.OpenCuda();
        Layer first = Layer.Run(loss, CUDA, Rows, Width, ScalarType.Float32);
        bool wasRecording = gpu.Log.IsRecording;
        gpu.Log.IsRecording = true;
        gpu.Log.Reset();
        Layer second = Layer.Run(loss, CUDA, Rows, Width, ScalarType.Float32);
        (int, int, int) counted = (gpu.Log.Allocations, gpu.Log.HostCopies, gpu.Log.Synchronizations);
        gpu.Log.IsRecording = false;
        long before = FreeBytes();
        for (int i = 0; i < TestLength.Pick(100, 10000); i++)
        {
            second = Layer.Run(loss, CUDA, Rows, Width, ScalarType.Float32);
        }

        long after = FreeBytes();
        gpu.Log.IsRecording = wasRecording;
        Assert.Multiple(() =>
        {
            Assert.That(counted, Is.EqualTo((0, 0, 0)), "allocations, copies to the host, waits");
            Assert.That((second.Loss, second.GradTextWeights), Is.EqualTo((first.Loss, first.GradTextWeights)), "the same bits");
            Assert.That(after, Is.EqualTo(before), "free device memory");
        });
    }

    private static long FreeBytes()
    {
        CudaDriver.MemoryInfo(out nint free, out _).ThrowIfFailed();
        return free;
    }

    /// <summary>Features that libtorch's products make just before, and gradients that it takes on just behind.</summary>
    private sealed record Layer(double Loss, double[] GradImageWeights, double[] GradTextWeights)
    {
        public static Layer Run(MoLoLoss loss, Device device, int rows, int width, ScalarType type)
        {
            using DisposeScope scope = NewDisposeScope();
            using TensorCase given = TensorCase.Random(rows, width);
            using Generator generator = new(3);
            Tensor Weights() => (eye(width) + randn([width, width], generator: generator) * tensor(0.02f)).to(device).requires_grad_();
            Tensor imageWeights = Weights(), textWeights = Weights();
            Tensor scale = given.LogitScale.detach().to(device).requires_grad_();
            Tensor images = given.Images.detach().to(device).matmul(imageWeights).to(type), texts = given.Texts.detach().to(device).matmul(textWeights).to(type);
            Tensor value = loss.forward(images, texts, scale);
            value.backward();
            return new Layer(TensorCase.Values(value)[0], TensorCase.Values(imageWeights.grad!), TensorCase.Values(textWeights.grad!));
        }
    }
}
