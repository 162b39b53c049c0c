// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class RankedLossTests
{
    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    /// <summary>What the authors' code gives with as many processes: the mean of their losses, and of their gradients.</summary>
    [Test]
    public void Golden_ranks([ValueSource(typeof(GoldenRanks), nameof(GoldenRanks.Names))] string name, [Values] bool gatherWithGrad)
    {
        GoldenRanks golden = GoldenRanks.Open(name);
        using DisposeScope scope = NewDisposeScope();
        using RankedLoss loss = new(golden.Options with { GatherWithGrad = gatherWithGrad }, golden.Ranks, threads: 1);
        Tensor images = Leaf(golden.Images()), texts = Leaf(golden.Texts()), scale = tensor(golden.LogitScale, float32, requires_grad: true);
        Tensor value = loss.Forward(images, texts, scale);
        LossMeasures measures = loss.LastMeasures;
        value.backward();
        double[] totals = [.. Enumerable.Range(0, golden.Ranks).Select(rank => golden.Scalar(rank, "total"))];
        Expect.Loss(measures.Loss, totals.Average(), 2e-6, "loss");
        Expect.Loss(value.item<float>(), totals.Average(), 2e-6, "loss");
        Assert.That(measures.M, Is.EqualTo(Enumerable.Range(0, golden.Ranks).Average(rank => golden.Scalar(rank, "m"))));
        Expect.Gradient(Values(images), golden.Gradient("v", gatherWithGrad), 2e-4, "images");
        Expect.Gradient(Values(texts), golden.Gradient("u", gatherWithGrad), 2e-4, "texts");

        Tensor Leaf(float[] values)
        {
            Tensor leaf = tensor(values).view(-1, golden.Columns);
            leaf.requires_grad = true;
            return leaf;
        }

        double[] Values(Tensor leaf) => [.. leaf.grad!.flatten().data<float>().ToArray().Select(element => (double)element * golden.Ranks)];
    }

    [TestCase(ComponentSource.Text, 1.0)]
    [TestCase(ComponentSource.Image, 1.0)]
    [TestCase(ComponentSource.TextAndImage, 1.0)]
    [TestCase(ComponentSource.Text, 0.0)]
    public void Every_variant_has_a_loss_of_ranks(ComponentSource components, double lambda)
    {
        using DisposeScope scope = NewDisposeScope();
        using Generator generator = new(3);
        MoLoOptions options = new() { Components = components, Lambda = lambda };
        using RankedLoss whole = new(options, 1, 1), ranked = new(options, 4, 1);
        Tensor images = randn(new long[] { 32, 48 }, generator: generator), texts = randn(new long[] { 32, 48 }, generator: generator), scale = tensor(2.0f);
        _ = (whole.Forward(images, texts, scale), ranked.Forward(images, texts, scale));
        LossMeasures one = whole.LastMeasures, four = ranked.LastMeasures;
        Expect.Loss(four.Global, one.Global, 2e-6, "the contrast is over all");
        Assert.That(four.Component, lambda > 0.0 ? Is.Not.EqualTo(one.Component).Within(1e-4) : Is.Zero, "the components are of each part");
    }

    /// <summary>The path of a GPU, with ILGPU's emulation in its place.</summary>
    [Test]
    [Category(TestGpu.Emulation)]
    public void On_a_device_gradients_and_measures_are_those_of_the_CPU()
    {
        const int Ranks = 2;
        using DisposeScope scope = NewDisposeScope();
        using Generator generator = new(3);
        using Gpu gpu = Gpu.OpenEmulated(warps: 4);
        MoLoOptions options = new() { Tau = 0.7, GatherWithGrad = false };
        using RankedLoss host = new(options, Ranks, 1), device = new(options, Ranks, gpu);
        Tensor images = randn([6, 5], generator: generator), texts = randn([6, 5], generator: generator);
        (LossMeasures expected, double[] wanted) = Run(host);
        (LossMeasures actual, double[] gradients) = Run(device);
        Expect.Gradient(gradients, wanted, 1e-3, "gradients");
        Expect.Loss(actual.Loss, expected.Loss, 5e-6, "loss");
        Expect.Loss(actual.Global, expected.Global, 5e-6, "global");
        Expect.Loss(actual.Component, expected.Component, 5e-6, "component");
        Expect.Loss(actual.ExplainedVariance, expected.ExplainedVariance, 5e-6, "explained variance");
        Expect.Loss(actual.RelativeGap, expected.RelativeGap, 5e-6, "gap");
        Assert.That(actual.M, Is.EqualTo(expected.M));
        Assert.That(device.LastSpectrum, Is.Empty);

        (LossMeasures, double[]) Run(RankedLoss loss)
        {
            Tensor v = images.detach().requires_grad_(), u = texts.detach().requires_grad_(), scale = tensor(2.5f, requires_grad: true);
            loss.Forward(v, u, scale).backward();
            return (loss.LastMeasures, [.. new[] { v, u, scale }.SelectMany(leaf => leaf.grad!.to(float64).flatten().data<double>().ToArray())]);
        }
    }

    [Test]
    public void Values_that_are_not_finite_are_named()
    {
        using DisposeScope scope = NewDisposeScope();
        using RankedLoss loss = new(new MoLoOptions(), 2, 1);
        Assert.That(
            () => loss.Forward(full(new long[] { 4, 3 }, float.NaN), ones(4, 3), tensor(1.0f)),
            Throws.ArgumentException.With.Message.Contains("images").And.Message.Contains("not finite"));
    }
}
