// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>Several ranks within one process, the gather being a concatenation: losses and gradients as the authors' code gave them.</summary>
internal sealed class MoLoLossRanksTests
{
    private const double LossTolerance = 2e-6;
    private const double GradientTolerance = 2e-4;

    [Test]
    public void Golden_ranks([ValueSource(typeof(GoldenRanks), nameof(GoldenRanks.Names))] string name, [Values] bool gatherWithGrad)
    {
        GoldenRanks golden = GoldenRanks.Open(name);
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents hide = new(golden.Options.Tau);
        using MoLoLoss loss = new(golden.Options with { GatherWithGrad = gatherWithGrad });
        using TensorCase given = new(golden.Images(), golden.Texts(), golden.Ranks * golden.LocalRows, golden.Columns, golden.LogitScale);
        RankFeatures[] ranks = [.. Enumerable.Range(0, golden.Ranks).Select(Local)];
        RankFeatures gathered = new(
            cat([.. ranks.Select(rank => rank.Images)], 0), cat([.. ranks.Select(rank => rank.Texts)], 0), cat([.. ranks.Select(rank => rank.ComponentTexts!)], 0));
        Tensor total = zeros(1);
        double gradLogitScale = 0.0;
        for (int rank = 0; rank < golden.Ranks; rank++)
        {
            Tensor value = loss.ForwardRank(ranks[rank], gathered, rank * golden.LocalRows, given.LogitScale);
            Expect.Loss(TensorCase.Values(value)[0], golden.Scalar(rank, "total"), LossTolerance, $"rank {rank}");
            Expect.Loss(loss.LastResult.Global, golden.Scalar(rank, "loss_global"), LossTolerance, $"rank {rank}, global");
            total += value;
            gradLogitScale += golden.Scalar(rank, "grad_log_scale");
        }

        total.backward();
        Expect.Gradient(TensorCase.Values(given.Images.grad!), golden.Gradient("v", gatherWithGrad), GradientTolerance, "images");
        Expect.Gradient(TensorCase.Values(given.Texts.grad!), golden.Gradient("u", gatherWithGrad), GradientTolerance, "texts");
        Expect.LogitScaleGradient(TensorCase.Values(given.LogitScale.grad!)[0], gradLogitScale, TensorCase.Values(total)[0], GradientTolerance);

        RankFeatures Local(int rank)
        {
            Tensor images = F.normalize(given.Images.narrow(0, rank * golden.LocalRows, golden.LocalRows), dim: 1);
            Tensor texts = F.normalize(given.Texts.narrow(0, rank * golden.LocalRows, golden.LocalRows), dim: 1);
            return new RankFeatures(images, texts, hide.forward(texts));
        }
    }

    [TestCase(ComponentSource.Text)]
    [TestCase(ComponentSource.TextAndImage)]
    [TestCase(ComponentSource.Image)]
    public void One_rank_alone_is_the_whole_loss(ComponentSource components)
    {
        using DisposeScope scope = NewDisposeScope();
        using MoLoLoss loss = new(new MoLoOptions { Components = components });
        using HiDeComponents hide = new();
        using TensorCase given = TensorCase.Random(12, 20);
        Outcome expected = given.Run(loss);
        Tensor v = F.normalize(given.Images, dim: 1), x = F.normalize(given.Texts, dim: 1);
        RankFeatures all = new(
            v, x, components == ComponentSource.Image ? null : hide.forward(x), components == ComponentSource.Text ? null : hide.forward(v));
        Tensor value = loss.ForwardRank(all, all, 0, given.LogitScale);
        value.backward();
        Expect.Loss(TensorCase.Values(value)[0], expected.Loss, LossTolerance, "loss");
        Expect.Gradient(TensorCase.Values(given.Images.grad!), expected.GradImages, GradientTolerance, "images");
        Expect.Gradient(TensorCase.Values(given.Texts.grad!), expected.GradTexts, GradientTolerance, "texts");
        Expect.LogitScaleGradient(TensorCase.Values(given.LogitScale.grad!)[0], expected.GradLogitScale, expected.Loss, GradientTolerance);
    }

    [Test]
    public void Mistakes_name_the_operand()
    {
        using DisposeScope scope = NewDisposeScope();
        using MoLoLoss loss = new();
        Tensor two = F.normalize(randn(2, 8), dim: 1), four = F.normalize(randn(4, 8), dim: 1), scale = tensor(1f);
        RankFeatures local = new(two, two, two), gathered = new(four, four, four);
        Assert.Multiple(() =>
        {
            Refused(() => loss.ForwardRank(local, gathered, 3, scale), "targetOffset");
            Refused(() => loss.ForwardRank(gathered, local, 0, scale), "gathered.Images");
            Refused(() => loss.ForwardRank(local with { ComponentTexts = null }, gathered, 0, scale), "local.ComponentTexts");
            Refused(() => loss.ForwardRank(local, gathered with { Texts = two }, 0, scale), "gathered.Texts");
            Refused(() => loss.ForwardRank(local, gathered with { Texts = four.flatten() }, 0, scale), "gathered.Texts");
        });

        static void Refused(Func<Tensor> call, string argument) =>
            Assert.That(call, Throws.InstanceOf<ArgumentException>().With.Property(nameof(ArgumentException.ParamName)).EqualTo(argument));
    }
}
