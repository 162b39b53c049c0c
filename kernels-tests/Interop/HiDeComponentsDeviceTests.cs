// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>HiDe of CUDA tensors, with ILGPU's emulation in the place of the device.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class HiDeComponentsDeviceTests
{
    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = Gpu.OpenEmulated(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [TestCase(3, 5, BasisGradient.Exact)]
    [TestCase(5, 3, BasisGradient.Stopped)]
    public void Values_and_gradients_are_those_of_the_CPU_and_a_second_pass_neither_allocates_nor_reads(int rows, int columns, BasisGradient basis)
    {
        using DisposeScope scope = NewDisposeScope();
        using Generator generator = new(5);
        using TensorCase given = TensorCase.Random(rows, columns);
        using HiDeComponents host = new(0.7, basis, threads: 1), device = new(0.7, basis, _gpu);
        Tensor outer = randn([rows, columns], generator: generator);
        (double[] components, double[] gradient) = Pass(host);
        (double[] actual, double[] actualGradient) = Pass(device);
        _gpu.Log.Reset();
        (double[] again, double[] againGradient) = Pass(device);
        Assert.Multiple(() =>
        {
            Assert.That((_gpu.Log.Allocations, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)));
            Expect.Gradient(actual, components, 1e-5, "u'");
            Expect.Gradient(actualGradient, gradient, 1e-3, "dx");
            Assert.That(again.Concat(againGradient), Is.EqualTo(actual.Concat(actualGradient)), "the same bits");
            Assert.That(device.LastResult.M, Is.EqualTo(host.LastResult.M));
            Assert.That(device.LastResult.ExplainedVariance, Is.EqualTo(host.LastResult.ExplainedVariance).Within(1e-5));
            Assert.That(device.LastResult.RelativeGap, Is.EqualTo(host.LastResult.RelativeGap).Within(1e-5));
            Assert.That(device.LastSpectrum, Is.Empty);
        });

        (double[] Components, double[] Gradient) Pass(HiDeComponents hide)
        {
            Tensor texts = F.normalize(given.Texts.detach(), dim: 1).requires_grad_();
            Tensor result = hide.forward(texts);
            result.backward([outer]);
            return (TensorCase.Values(result), TensorCase.Values(texts.grad!));
        }
    }

    [TestCase(ScalarType.Float32, 1e-3)]
    [TestCase(ScalarType.BFloat16, 2e-2)]
    public void Rows_with_gaps_are_read_where_they_lie(ScalarType type, double tolerance)
    {
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents host = new(0.7, threads: 1), device = new(0.7, BasisGradient.Exact, _gpu);
        using Generator generator = new(5);
        Tensor wide = F.normalize(randn([3, 8], generator: generator), dim: 1).to(type), outer = randn([3, 10], generator: generator).to(type).narrow(1, 0, 5);
        (double[] components, double[] gradient, _) = Pass(host);
        (double[] actual, double[] actualGradient, long copies) = Pass(device);
        Assert.Multiple(() =>
        {
            Assert.That(copies, Is.Zero);
            Expect.Gradient(actual, components, tolerance, "u'");
            Expect.Gradient(actualGradient, gradient, tolerance, "dx");
        });

        (double[] Components, double[] Gradient, long Copies) Pass(HiDeComponents hide)
        {
            Tensor leaf = wide.detach().clone().requires_grad_();
            long before = TensorMemory.Copies;
            Tensor result = hide.forward(leaf.narrow(1, 2, 5));
            long copies = TensorMemory.Copies - before;
            result.backward([outer]);
            return (TensorCase.Values(result), TensorCase.Values(leaf.grad!), copies);
        }
    }

    [Test]
    public void Warnings_come_when_the_result_is_asked_for_and_NaN_gives_NaN()
    {
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents device = new(1.0, BasisGradient.Exact, _gpu);
        List<string> warnings = [];
        device.Warning += warnings.Add;
        Tensor texts = F.normalize(randn(3, 5), dim: 1).requires_grad_(), outer = ones(3, 5);
        outer[1, 2] = tensor(float.NaN);
        device.forward(texts).backward([outer]);
        Assert.That(warnings, Is.Empty);
        Assert.That(device.LastResult.Warnings, Is.EqualTo(HiDeWarnings.NothingDropped));
        Assert.That(warnings, Has.Count.EqualTo(1));
        Assert.That(TensorCase.Values(texts.grad!), Has.Some.NaN);
    }
}
