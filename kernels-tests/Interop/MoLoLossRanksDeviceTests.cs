// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>The loss of a rank whose operands are CUDA tensors, with ILGPU's emulation in the place of the device.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class MoLoLossRanksDeviceTests
{
    private const int Ranks = 2, LocalRows = 3, Columns = 5;

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = Gpu.OpenEmulated(warps: 4);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    [TestCase(ComponentSource.Text, true, GpuPrecision.Strict)]
    [TestCase(ComponentSource.Text, false, GpuPrecision.Strict)]
    [TestCase(ComponentSource.TextAndImage, true, GpuPrecision.Strict)]
    [TestCase(ComponentSource.Text, true, GpuPrecision.Tf32)]
    [TestCase(ComponentSource.Text, true, GpuPrecision.Bf16)]
    public void Losses_and_gradients_of_all_ranks_are_those_of_the_CPU(ComponentSource components, bool gatherWithGrad, GpuPrecision precision)
    {
        (double lossTolerance, double gradientTolerance) = TestGpu.Tolerance(precision);
        MoLoOptions options = new() { Tau = 0.7, Components = components, GatherWithGrad = gatherWithGrad };
        using TensorCase given = TensorCase.Random(Ranks * LocalRows, Columns);
        using MoLoLoss host = new(options, threads: 1), device = new(options, _gpu, precision);
        using HiDeComponents hide = new(0.7, threads: 1);
        Outcome expected = Run(host), outcome = Run(device);
        _gpu.Log.Reset();
        Outcome again = Run(device);
        Assert.Multiple(() =>
        {
            Assert.That((_gpu.Log.Allocations, _gpu.Log.HostCopies, _gpu.Log.Synchronizations), Is.EqualTo((0, 0, 0)));
            Assert.That(
                _gpu.Log.Launches.SelectMany(launch => launch.Kernel.GetGenericArguments()).Where(type => type.IsAssignableTo(typeof(IProductPrecision))).Select(type => type.Name).Distinct(),
                Is.EqualTo(new[] { $"{precision}Precision" }));
            Expect.Loss(outcome.Loss, expected.Loss, lossTolerance, "loss");
            Expect.Gradient(outcome.GradImages, expected.GradImages, gradientTolerance, "images");
            Expect.Gradient(outcome.GradTexts, expected.GradTexts, gradientTolerance, "texts");
            Expect.LogitScaleGradient(outcome.GradLogitScale, expected.GradLogitScale, expected.Loss, gradientTolerance);
            Assert.That(again.GradTexts, Is.EqualTo(outcome.GradTexts), "the same bits");
            Expect.Loss(device.LastResult.Global, host.LastResult.Global, lossTolerance, "global, last rank");
            Expect.Loss(device.LastResult.Component, host.LastResult.Component, lossTolerance, "component, last rank");
            Assert.That(device.LastResult.M, Is.Zero, "HiDe ran elsewhere");
        });

        Outcome Run(MoLoLoss loss)
        {
            using DisposeScope scope = NewDisposeScope();
            RankFeatures[] ranks = [.. Enumerable.Range(0, Ranks).Select(rank =>
            {
                Tensor images = F.normalize(given.Images.narrow(0, rank * LocalRows, LocalRows), dim: 1), texts = F.normalize(given.Texts.narrow(0, rank * LocalRows, LocalRows), dim: 1);
                return new RankFeatures(images, texts, hide.forward(texts), components == ComponentSource.Text ? null : hide.forward(images));
            })];
            RankFeatures all = new(
                cat([.. ranks.Select(rank => rank.Images)]), cat([.. ranks.Select(rank => rank.Texts)]), cat([.. ranks.Select(rank => rank.ComponentTexts!)]),
                components == ComponentSource.Text ? null : cat([.. ranks.Select(rank => rank.ComponentImages!)]));
            Tensor total = loss.ForwardRank(ranks[0], all, 0, given.LogitScale).add(loss.ForwardRank(ranks[1], all, LocalRows, given.LogitScale));
            total.backward();
            Outcome result = new(TensorCase.Values(total)[0], TensorCase.Values(given.Images.grad!), TensorCase.Values(given.Texts.grad!), TensorCase.Values(given.LogitScale.grad!)[0]);
            foreach (Tensor leaf in new[] { given.Images, given.Texts, given.LogitScale })
            {
                leaf.grad!.zero_();
            }

            return result;
        }
    }

    [Test]
    public void Operands_of_any_type_are_read_where_they_lie()
    {
        using DisposeScope scope = NewDisposeScope();
        using MoLoLoss host = new(new MoLoOptions(), threads: 1), device = new(new MoLoOptions(), _gpu);
        Tensor all = F.normalize(randn(4, 10), dim: 1), wide = all.narrow(1, 0, 5), low = all.narrow(1, 5, 5).to(ScalarType.Float16), scale = tensor(1f);
        RankFeatures gathered = new(wide, low, low), local = new(wide.narrow(0, 2, 2), low.narrow(0, 2, 2), low.narrow(0, 2, 2));
        long before = TensorMemory.Copies;
        Tensor loss = device.ForwardRank(local, gathered, 2, scale);
        Assert.That(TensorMemory.Copies, Is.EqualTo(before));
        Expect.Loss(TensorCase.Values(loss)[0], TensorCase.Values(host.ForwardRank(local, gathered, 2, scale))[0], 5e-6, "loss");
    }

    [Test]
    public void Frozen_operands_get_no_gradient_and_mistakes_name_the_operand()
    {
        using DisposeScope scope = NewDisposeScope();
        using MoLoLoss device = new(new MoLoOptions(), _gpu);
        Tensor two = F.normalize(randn(2, 4), dim: 1), four = F.normalize(randn(4, 4), dim: 1), scale = tensor(1f);
        RankFeatures local = new(two, two, two), gathered = new(four, four, four);
        Assert.Multiple(() =>
        {
            Assert.That(device.ForwardRank(local, gathered, 2, scale).requires_grad, Is.False);
            Assert.That(device.ForwardRank(local, gathered, 2, tensor(1f, requires_grad: true)).requires_grad, Is.True);
            Refused(() => device.ForwardRank(local, gathered, 3, scale), "targetOffset");
            Refused(() => device.ForwardRank(local with { ComponentTexts = null }, gathered, 0, scale), "local.ComponentTexts");
            Refused(() => device.ForwardRank(local, gathered with { Texts = two }, 0, scale), "gathered.Texts");
            Refused(() => device.ForwardRank(local, gathered, 0, tensor(new[] { 1f, 2f })), "logitScale");
            Refused(() => device.ForwardRank(local with { Texts = empty(2, 4, device: META) }, gathered, 0, scale), "local.Texts");
        });

        static void Refused(Func<Tensor> call, string argument) =>
            Assert.That(call, Throws.InstanceOf<ArgumentException>().With.Property(nameof(ArgumentException.ParamName)).EqualTo(argument));
    }
}
