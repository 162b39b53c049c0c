// SPDX-License-Identifier: Apache-2.0
using FsCheck;
using FsCheck.Fluent;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>What must hold for every batch and every option, on random ones.</summary>
internal sealed class TrainingStepReferencePropertyTests
{
    private const double Tolerance = 1e-9; // gaps down to a thousandth cost three of the sixteen digits, sums the rest

    private static readonly Gen<Given> s_given =
        from rows in Gen.Choose(2, 12)
        from columns in Gen.Choose(2, 12)
        from seed in Gen.Choose(1, 100_000)
        from components in Gen.Elements(Enum.GetValues<ComponentSource>())
        from normalization in Gen.Elements(Enum.GetValues<ComponentNormalization>())
        from basis in Gen.Elements(Enum.GetValues<BasisGradient>())
        from gather in Gen.Elements(true, false)
        from tau in Gen.Elements(0.6, 0.8, 0.95)
        from smoothing in Gen.Elements(0.0, 0.1, 0.5)
        from logitScale in Gen.Elements(-1.0, 1.0, 3.0)
        select new Given(rows, columns, seed, logitScale, new MoLoOptions
        {
            Components = components,
            ComponentNormalization = normalization,
            BasisGradient = basis,
            GatherWithGrad = gather,
            Tau = tau,
            LabelSmoothing = smoothing,
            Lambda = 0.5,
            GlobalWeight = 1.5,
        });

    [Test]
    public void Permuting_the_pairs_permutes_the_gradients() => ForAll(given =>
    {
        int[] order = [.. Enumerable.Range(0, given.Rows)];
        new Random(given.Seed).Shuffle(order);
        ReferenceStep permuted = given.Run(Permute(given.Batch.Images, order), Permute(given.Batch.Texts, order));
        ReferenceStep step = given.Run();
        Expect.Loss(permuted.Result.Loss, step.Result.Loss, Tolerance, "loss");
        Expect.Gradient(permuted.GradImages, Permute(given.Matrix(step.GradImages), order).Elements, Tolerance, "images");
        Expect.Gradient(permuted.GradTexts, Permute(given.Matrix(step.GradTexts), order).Elements, Tolerance, "texts");
    });

    [Test]
    public void Rotating_all_features_rotates_the_gradients() => ForAll(given =>
    {
        ReferenceMatrix random = Batch.RandomMatrix(given.Columns, given.Columns, given.Seed);
        ReferenceMatrix rotation = EigenSymmetricReference.Decompose(random + random.T).Vectors;
        ReferenceStep rotated = given.Run(given.Batch.Images * rotation, given.Batch.Texts * rotation);
        ReferenceStep step = given.Run();
        Expect.Loss(rotated.Result.Loss, step.Result.Loss, Tolerance, "loss");
        Expect.Gradient(rotated.GradImages, (given.Matrix(step.GradImages) * rotation).Elements, Tolerance, "images");
        Expect.Gradient(rotated.GradTexts, (given.Matrix(step.GradTexts) * rotation).Elements, Tolerance, "texts");
    });

    [Test]
    public void Scaling_a_row_scales_its_gradient_inversely() => ForAll(given =>
    {
        double[] factors = [1e-9, 1e30, 3.0];
        ReferenceMatrix texts = new(given.Batch.Texts.Elements, given.Rows, given.Columns);
        for (int i = 0; i < texts.Elements.Length; i++)
        {
            texts.Elements[i] *= factors[i / given.Columns % 3];
        }

        ReferenceStep scaled = given.Run(given.Batch.Images, texts);
        ReferenceStep step = given.Run();
        double[] back = [.. scaled.GradTexts.Select((value, i) => value * factors[i / given.Columns % 3])];
        Expect.Loss(scaled.Result.Loss, step.Result.Loss, Tolerance, "loss");
        Expect.Gradient(scaled.GradImages, step.GradImages, Tolerance, "images");
        Expect.Gradient(back, step.GradTexts, Tolerance, "texts");
    });

    [Test]
    public void The_loss_is_linear_in_both_weights() => ForAll(given =>
    {
        ReferenceStep global = (given with { Options = given.Options with { GlobalWeight = 1.0, Lambda = 0.0 } }).Run();
        ReferenceStep component = (given with { Options = given.Options with { GlobalWeight = 0.0, Lambda = 1.0 } }).Run();
        ReferenceStep both = (given with { Options = given.Options with { GlobalWeight = 0.3, Lambda = -2.0 } }).Run();
        double[] Mix(double[] first, double[] second) => [.. first.Zip(second, (a, b) => (0.3 * a) - (2.0 * b))];
        Expect.Loss(both.Result.Loss, (0.3 * global.Result.Loss) - (2.0 * component.Result.Loss), Tolerance, "loss");
        Expect.Gradient(both.GradImages, Mix(global.GradImages, component.GradImages), Tolerance, "images");
        Expect.Gradient(both.GradTexts, Mix(global.GradTexts, component.GradTexts), Tolerance, "texts");
        Expect.LogitScaleGradient(
            both.Result.GradLogitScale,
            (0.3 * global.Result.GradLogitScale) - (2.0 * component.Result.GradLogitScale),
            Math.Max(1.0, global.Result.Loss + component.Result.Loss),
            Tolerance);
    });

    [Test]
    public void Gradients_are_orthogonal_to_their_rows() => ForAll(given =>
    {
        ReferenceStep step = given.Run();
        foreach ((ReferenceMatrix features, double[] gradient) in new[] { (given.Batch.Images, step.GradImages), (given.Batch.Texts, step.GradTexts) })
        {
            for (int i = 0; i < given.Rows; i++)
            {
                double[] row = features.Row(i).ToArray();
                double[] own = given.Matrix(gradient).Row(i).ToArray();
                double along = row.Zip(own, (a, b) => a * b).Sum();
                Expect.AtMost(Math.Abs(along), Tolerance * Math.Max(1.0, Expect.Norm(row) * Expect.Norm(own)), $"part of gradient {i} along its row");
            }
        }
    });

    [Test]
    public void The_temperature_gradient_is_the_images_share() => ForAll(given =>
    {
        // Every logit is s v_i . (something), so sum_i v_i . dL/dv_i = dL/d ln s where the images are not rebuilt and everything carries gradient.
        ReferenceMatrix v = L2NormalizeReference.Forward(given.Batch.Images);
        MoLoOptions options = given.Options with { Components = ComponentSource.Text, GatherWithGrad = true };
        ReferenceMatrix components = HiDeReference.Forward(L2NormalizeReference.Forward(given.Batch.Texts), options.Tau).Components;
        MoLoReferenceOperands operands = new(v, L2NormalizeReference.Forward(given.Batch.Texts), v, components);
        MoLoReferenceResult result = MoLoReference.Run(operands, operands, 0, given.LogitScale, options, gradients: true);
        double share = CentralDifference.Contract(
            v, result.Local.Images + result.Gathered.Images + (result.Local.ComponentImages + result.Gathered.ComponentImages));
        Expect.LogitScaleGradient(share, result.GradLogitScale, Math.Max(1.0, result.Loss), Tolerance);
    });

    [Test]
    public void At_scale_zero_the_loss_is_that_of_a_uniform_guess() => ForAll(given =>
    {
        ReferenceStep step = (given with { LogitScale = -100.0, Options = given.Options with { LabelSmoothing = 0.0 } }).Run();
        Expect.Loss(step.Result.Global, Math.Log(given.Rows), Tolerance, "global");
        Expect.Loss(step.Result.Component, Math.Log(given.Rows), Tolerance, "component");
    });

    private static void ForAll(Action<Given> property) => GeneratedCases.Check(s_given, 40, 1000, property);

    private static ReferenceMatrix Permute(ReferenceMatrix matrix, int[] order)
    {
        ReferenceMatrix permuted = new(matrix.Rows, matrix.Columns);
        for (int i = 0; i < order.Length; i++)
        {
            matrix.Row(order[i]).CopyTo(permuted.Row(i));
        }

        return permuted;
    }

    /// <summary>One random batch with options.</summary>
    private sealed record Given(int Rows, int Columns, int Seed, double LogitScale, MoLoOptions Options)
    {
        public Batch Batch { get; } = Batch.Create(Rows, Columns, Seed, Options.Tau);

        public ReferenceStep Run() => Run(Batch.Images, Batch.Texts);

        public ReferenceStep Run(ReferenceMatrix images, ReferenceMatrix texts) =>
            TrainingStepReference.Run(images.Elements, texts.Elements, Rows, Columns, LogitScale, Options);

        public ReferenceMatrix Matrix(double[] elements) => new(elements, Rows, Columns);
    }
}
