// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The float64 dual loss against the authors' numbers: each cross entropy, and several ranks in one process.</summary>
internal sealed class MoLoReferenceTests
{
    [TestCaseSource(typeof(GoldenLoss), nameof(GoldenLoss.All))]
    public void Golden_cross_entropies_and_operands(string folder, string id)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, id);
        MoLoOptions options = golden.Options;
        ReferenceMatrix v = Unit(golden.Images(), golden.Rows, golden.Columns);
        ReferenceMatrix x = Unit(golden.Texts(), golden.Rows, golden.Columns);
        MoLoReferenceOperands operands = new(
            v,
            x,
            options.ReconstructsImages ? HiDeReference.Forward(v, options.Tau).Components : v,
            options.ReconstructsTexts ? HiDeReference.Forward(x, options.Tau).Components : x);
        MoLoReferenceResult result = MoLoReference.Run(operands, operands, 0, golden.LogitScale, options, gradients: false);
        Assert.Multiple(() =>
        {
            if (options.GlobalWeight != 0.0)
            {
                Expect.Loss(result.ImageToText, golden.Scalar("ce_i2t"), 1e-10, "image to text");
                Expect.Loss(result.TextToImage, golden.Scalar("ce_t2i"), 1e-10, "text to image");
            }

            if (options.Lambda != 0.0)
            {
                Expect.Loss(result.ImageToComponent, golden.Scalar("ce_i2c"), 1e-10, "image to component");
                Expect.Loss(result.ComponentToImage, golden.Scalar("ce_c2i"), 1e-10, "component to image");
            }

            bool cosine = options.ComponentNormalization == ComponentNormalization.Cosine;
            CheckOperand(operands.ComponentTexts, cosine && options.ReconstructsTexts, golden.Array("comp_text"), "component texts");
            CheckOperand(operands.ComponentImages, cosine && options.ReconstructsImages, golden.Array("comp_image"), "component images");
        });
    }

    [Test]
    public void Golden_ranks([ValueSource(typeof(GoldenRanks), nameof(GoldenRanks.Names))] string name, [Values] bool gatherWithGrad)
    {
        GoldenRanks golden = GoldenRanks.Open(name);
        MoLoOptions options = golden.Options with { GatherWithGrad = gatherWithGrad };
        int rows = golden.LocalRows;
        int all = golden.Ranks * rows;
        ReferenceMatrix v0 = ReferenceMatrix.Widen(new ReadOnlyMatrixView(golden.Images(), all, golden.Columns));
        ReferenceMatrix u0 = ReferenceMatrix.Widen(new ReadOnlyMatrixView(golden.Texts(), all, golden.Columns));
        ReferenceMatrix v = L2NormalizeReference.Forward(v0);
        ReferenceMatrix x = L2NormalizeReference.Forward(u0);
        HiDeReferenceState[] states = [.. Enumerable.Range(0, golden.Ranks).Select(rank => HiDeReference.Forward(x.Slice(rank * rows, rows), options.Tau))];
        ReferenceMatrix components = Stack(states.Select(state => state.Components));
        MoLoReferenceOperands gathered = new(v, x, v, components);

        MoLoReferenceResult[] results = [.. Enumerable.Range(0, golden.Ranks).Select(rank => MoLoReference.Run(
            new(v.Slice(rank * rows, rows), x.Slice(rank * rows, rows), v.Slice(rank * rows, rows), states[rank].Components),
            gathered,
            rank * rows,
            golden.LogitScale,
            options,
            gradients: true))];

        Assert.Multiple(() =>
        {
            for (int rank = 0; rank < golden.Ranks; rank++)
            {
                Expect.Loss(results[rank].Global, golden.Scalar(rank, "loss_global"), 1e-10, $"rank {rank}, global");
                Expect.Loss(results[rank].Component, golden.Scalar(rank, "loss_comp"), 1e-10, $"rank {rank}, component");
                Expect.Loss(results[rank].Loss, golden.Scalar(rank, "total"), 1e-10, $"rank {rank}, total");
                Assert.That(states[rank].Result.M, Is.EqualTo(golden.Scalar(rank, "m")), $"rank {rank}, m");
                Expect.LogitScaleGradient(results[rank].GradLogitScale, golden.Scalar(rank, "grad_log_scale"), golden.Scalar(rank, "total"), 1e-8);
            }

            Expect.Gradient(components.Elements, golden.Array("u_prime"), 1e-8, "u'");
            ReferenceMatrix gradImages = Reduce(results, each => each.Images + each.ComponentImages);
            ReferenceMatrix gradTexts = Reduce(results, each => each.Texts);
            ReferenceMatrix gradComponents = Reduce(results, each => each.ComponentTexts);
            ReferenceMatrix throughHiDe = Stack(states.Select((state, rank) =>
                HiDeReference.Backward(state, gradComponents.Slice(rank * rows, rows), options.BasisGradient)));
            Expect.Gradient(L2NormalizeReference.Backward(v0, v, gradImages).Elements, golden.Gradient("v", gatherWithGrad), 1e-8, "images");
            Expect.Gradient(L2NormalizeReference.Backward(u0, x, gradTexts + throughHiDe).Elements, golden.Gradient("u", gatherWithGrad), 1e-8, "texts");
        });
    }

    [Test]
    public void Gradients_by_central_differences(
        [Values] ComponentSource components, [Values] ComponentNormalization normalization, [Values] bool gatherWithGrad, [Values(0.0, 0.1)] double smoothing)
    {
        const int Rows = 3;
        const int All = 5;
        const int Columns = 4;
        const int Offset = 1;
        const double LogitScale = 0.9;
        MoLoOptions options = new()
        {
            Components = components,
            ComponentNormalization = normalization,
            GatherWithGrad = gatherWithGrad,
            LabelSmoothing = smoothing,
            Lambda = 0.6,
            GlobalWeight = 1.7,
        };
        MoLoReferenceOperands local = new(Random(Rows, 1), Random(Rows, 2), Random(Rows, 3), Random(Rows, 4));
        MoLoReferenceOperands gathered = new(Random(All, 5), Random(All, 6), Random(All, 7), Random(All, 8));
        double Loss(MoLoReferenceOperands l, MoLoReferenceOperands g, double logitScale) =>
            MoLoReference.Run(l, g, Offset, logitScale, options, gradients: false).Loss;
        MoLoReferenceResult result = MoLoReference.Run(local, gathered, Offset, LogitScale, options, gradients: true);
        Assert.Multiple(() =>
        {
            Expect.LogitScaleGradient(
                result.GradLogitScale, CentralDifference.Of(at => Loss(local, gathered, at), LogitScale), result.Loss, CentralDifference.Tolerance);
            CheckGradients(at => Loss(at, gathered, LogitScale), local, result.Local, "local");
            if (gatherWithGrad)
            {
                CheckGradients(at => Loss(local, at, LogitScale), gathered, result.Gathered, "gathered");
            }
            else
            {
                Assert.That(Parts(result.Gathered).SelectMany(part => part.Elements), Is.All.Zero, "gathered rows are constants");
            }
        });

        static ReferenceMatrix Random(int rows, int seed) => Batch.RandomMatrix(rows, Columns, 70 + seed);
    }

    [Test]
    public void Cosine_ignores_the_lengths_of_rebuilt_rows_alone([Values] ComponentSource components, [Values] bool scalesImages)
    {
        MoLoOptions options = new() { Components = components, ComponentNormalization = ComponentNormalization.Cosine };
        ReferenceMatrix[] parts = [.. Enumerable.Range(0, 4).Select(seed => Batch.RandomMatrix(4, 3, 84 + seed))];
        MoLoReferenceOperands operands = new(parts[0], parts[1], parts[2], parts[3]);
        MoLoReferenceOperands scaled = scalesImages ? operands with { ComponentImages = 3.0 * parts[2] } : operands with { ComponentTexts = 3.0 * parts[3] };
        double before = MoLoReference.Run(operands, operands, 0, 1.0, options, gradients: false).Component;
        double after = MoLoReference.Run(scaled, scaled, 0, 1.0, options, gradients: false).Component;
        bool isRebuilt = scalesImages ? options.ReconstructsImages : options.ReconstructsTexts;
        Assert.That(after, isRebuilt ? Is.EqualTo(before).Within(1e-14) : Is.Not.EqualTo(before).Within(1e-3));
    }

    [Test]
    public void Weights_switch_branches_off()
    {
        ReferenceMatrix v = Batch.RandomMatrix(4, 3, 81);
        ReferenceMatrix x = Batch.RandomMatrix(4, 3, 82);
        MoLoReferenceOperands operands = new(v, x, v, Batch.RandomMatrix(4, 3, 83));
        MoLoReferenceResult both = MoLoReference.Run(operands, operands, 0, 1.0, new MoLoOptions { Lambda = 2.0 }, gradients: false);
        MoLoReferenceResult global = MoLoReference.Run(operands, operands, 0, 1.0, new MoLoOptions { Lambda = 0.0 }, gradients: false);
        MoLoReferenceResult component = MoLoReference.Run(operands, operands, 0, 1.0, new MoLoOptions { Lambda = 2.0, GlobalWeight = 0.0 }, gradients: false);
        Assert.Multiple(() =>
        {
            Assert.That((global.Global, global.Component, global.Loss), Is.EqualTo((both.Global, 0.0, both.Global)));
            Assert.That((component.Global, component.Component, component.Loss), Is.EqualTo((0.0, both.Component, 2.0 * both.Component)));
            Assert.That(both.Loss, Is.EqualTo(both.Global + (2.0 * both.Component)).Within(1e-15));
        });
    }

    private static ReferenceMatrix[] Parts(MoLoReferenceOperands operands) =>
        [operands.Images, operands.Texts, operands.ComponentImages, operands.ComponentTexts];

    private static void CheckGradients(
        Func<MoLoReferenceOperands, double> loss, MoLoReferenceOperands at, MoLoReferenceOperands gradients, string name)
    {
        Expect.Gradient(gradients.Images.Elements, CentralDifference.Of(part => loss(at with { Images = part }), at.Images), CentralDifference.Tolerance, $"{name} v");
        Expect.Gradient(gradients.Texts.Elements, CentralDifference.Of(part => loss(at with { Texts = part }), at.Texts), CentralDifference.Tolerance, $"{name} x");
        Expect.Gradient(
            gradients.ComponentImages.Elements,
            CentralDifference.Of(part => loss(at with { ComponentImages = part }), at.ComponentImages),
            CentralDifference.Tolerance,
            $"{name} v'");
        Expect.Gradient(
            gradients.ComponentTexts.Elements,
            CentralDifference.Of(part => loss(at with { ComponentTexts = part }), at.ComponentTexts),
            CentralDifference.Tolerance,
            $"{name} u'");
    }

    // What a reduce-scatter does: each rank's own gradient, plus what all ranks have for its rows.
    private static ReferenceMatrix Reduce(MoLoReferenceResult[] results, Func<MoLoReferenceOperands, ReferenceMatrix> part) =>
        results.Select(result => part(result.Gathered)).Aggregate(Stack(results.Select(result => part(result.Local))), (sum, next) => sum + next);

    private static ReferenceMatrix Stack(IEnumerable<ReferenceMatrix> parts)
    {
        ReferenceMatrix[] all = [.. parts];
        return new ReferenceMatrix([.. all.SelectMany(part => part.Elements)], all.Sum(part => part.Rows), all[0].Columns);
    }

    private static void CheckOperand(ReferenceMatrix operand, bool cosine, GoldenArray? expected, string name)
    {
        if (expected is not null)
        {
            Expect.Gradient((cosine ? L2NormalizeReference.Forward(operand) : operand).Elements, expected.Values, expected.Tolerance, name);
        }
    }

    private static ReferenceMatrix Unit(float[] values, int rows, int columns) =>
        L2NormalizeReference.Forward(ReferenceMatrix.Widen(new ReadOnlyMatrixView(values, rows, columns)));
}
