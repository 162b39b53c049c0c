// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The public face: local rows against gathered ones, with every option, against the reference; several ranks; refusals.</summary>
[Category(InstructionSets.Simd)]
internal sealed class MoLoTests
{
    private const int Local = 5;
    private const int Gathered = 13;
    private const int Columns = 7;
    private const int Offset = 4;
    private const double LogitScale = 2.5;

    [Test]
    public void Equals_the_reference(
        [Values] ComponentSource components, [Values] ComponentNormalization normalization, [Values] bool gatherWithGrad, [Values(0.0, 0.1)] double smoothing)
    {
        MoLoOptions options = new()
        {
            Components = components,
            ComponentNormalization = normalization,
            GatherWithGrad = gatherWithGrad,
            LabelSmoothing = smoothing,
            Lambda = 0.7,
            GlobalWeight = 1.3,
        };
        CheckAgainstReference(options);
    }

    [TestCase(0.0, 1.0)]
    [TestCase(1.0, 0.0)]
    [TestCase(-0.5, 2.0)]
    [TestCase(0.0, 0.0)]
    public void Weights_switch_branches_off(double lambda, double globalWeight) =>
        CheckAgainstReference(new MoLoOptions { Lambda = lambda, GlobalWeight = globalWeight });

    [TestCase(-100.0)]
    [TestCase(0.0)]
    [TestCase(80.0)]
    public void Extreme_logit_scales_stay_finite(double logitScale)
    {
        float[] rows = Batch.Single(L2NormalizeReference.Forward(Batch.RandomMatrix(Local, Columns, 59)).Elements);
        float[][] gradients = [Poisoned(rows.Length), Poisoned(rows.Length), Poisoned(rows.Length)];
        using MoLo molo = new(new MoLoOptions(), threads: 1);
        float[] reversed = [.. rows.Reverse()];
        MoLoFeatures features = Features(rows, reversed, reversed, Local, Columns);
        MoLoResult result = molo.Run(features, features, 0, logitScale, Gradients(gradients, Local, Columns), default);
        Assert.Multiple(() =>
        {
            Assert.That(new[] { result.Loss, result.Global, result.Component, result.GradLogitScale }, Is.All.Matches<double>(double.IsFinite));
            Assert.That(gradients.SelectMany(part => part), Is.All.Matches<float>(float.IsFinite));
        });
    }

    [Test]
    public void Golden_ranks_in_float32([ValueSource(typeof(GoldenRanks), nameof(GoldenRanks.Names))] string name, [Values] bool gatherWithGrad)
    {
        GoldenRanks golden = GoldenRanks.Open(name);
        MoLoOptions options = golden.Options with { GatherWithGrad = gatherWithGrad };
        int rows = golden.LocalRows;
        int all = golden.Ranks * rows;
        int width = golden.Columns;
        float[] v0 = golden.Images();
        float[] u0 = golden.Texts();
        float[] v = new float[v0.Length];
        float[] x = new float[v0.Length];
        float[] components = new float[v0.Length];
        L2Normalize.Forward(new(v0, all, width), new(v, all, width));
        L2Normalize.Forward(new(u0, all, width), new(x, all, width));
        using HiDe hide = new(options.Tau, options.BasisGradient, threads: 1);
        hide.Forward(new(x, all, width), golden.Ranks, new(components, all, width)); // a rank is a group

        float[] gradV = new float[v0.Length];
        float[] gradX = new float[v0.Length];
        float[] gradComponents = new float[v0.Length];
        using MoLo molo = new(options, threads: 1);
        MoLoFeatures gathered = Features(v, x, components, all, width);
        for (int rank = 0; rank < golden.Ranks; rank++)
        {
            Range own = (rank * rows * width)..((rank + 1) * rows * width);
            float[][] local = [new float[rows * width], new float[rows * width], new float[rows * width]];
            float[][] others = [new float[v0.Length], new float[v0.Length], new float[v0.Length]];
            MoLoResult result = molo.Run(
                Features(v[own], x[own], components[own], rows, width),
                gathered,
                rank * rows,
                golden.LogitScale,
                Gradients(local, rows, width),
                Gradients(others, all, width));
            Expect.Loss(result.Loss, golden.Scalar(rank, "total"), 2e-6, $"rank {rank}");
            Expect.LogitScaleGradient(result.GradLogitScale, golden.Scalar(rank, "grad_log_scale"), golden.Scalar(rank, "total"), 2e-4);
            foreach ((float[] sum, int part) in new[] { (gradV, 0), (gradX, 1), (gradComponents, 2) })
            {
                for (int k = 0; k < sum.Length; k++)
                {
                    sum[k] += others[part][k] + (k >= own.Start.Value && k < own.End.Value ? local[part][k - own.Start.Value] : 0f);
                }
            }
        }

        float[] throughHiDe = new float[v0.Length];
        hide.Backward(new(x, all, width), new(gradComponents, all, width), new(throughHiDe, all, width));
        gradX = [.. gradX.Zip(throughHiDe, (a, b) => a + b)];
        float[] gradImages = new float[v0.Length];
        float[] gradTexts = new float[v0.Length];
        L2Normalize.Backward(new(v0, all, width), new(gradV, all, width), new(gradImages, all, width));
        L2Normalize.Backward(new(u0, all, width), new(gradX, all, width), new(gradTexts, all, width));
        Expect.Gradient(Batch.Widen(gradImages), golden.Gradient("v", gatherWithGrad), 2e-4, "images");
        Expect.Gradient(Batch.Widen(gradTexts), golden.Gradient("u", gatherWithGrad), 2e-4, "texts");
    }

    [Test]
    public void Bad_calls_are_refused_and_nothing_is_written()
    {
        float[] rows = [.. Enumerable.Range(0, 12).Select(i => MathF.Sin(i))];
        float[] bad = [.. rows];
        bad[7] = float.PositiveInfinity;
        float[] output = [.. Enumerable.Repeat(7f, 12)];
        using MoLo molo = new(new MoLoOptions(), threads: 1);
        void Run(float[] texts, int offset = 0, double logitScale = 1.0, bool hasComponents = true, bool hasImageComponents = false, int gradRows = 2, float[]? grad = null)
        {
            MoLoFeatures local = new()
            {
                Images = new(rows, 2, 3),
                Texts = new(rows, 2, 3),
                ComponentTexts = hasComponents ? new(rows, 2, 3) : default,
                ComponentImages = hasImageComponents ? new(rows, 2, 3) : default,
            };
            MoLoFeatures gathered = new() { Images = new(rows, 4, 3), Texts = new(texts, 4, 3), ComponentTexts = new(rows, 4, 3) };
            _ = molo.Run(local, gathered, offset, logitScale, new MoLoGradients { Images = new(grad ?? output, gradRows, 3) }, default);
        }

        Assert.Multiple(() =>
        {
            Assert.That(() => new MoLo(new MoLoOptions { LabelSmoothing = 1.0 }), Throws.ArgumentException.With.Message.Contains("it is 1"));
            Assert.That(() => new MoLo(new MoLoOptions(), threads: -2), Throws.ArgumentException.With.Message.Contains("-2"));
            Assert.That(() => new MoLo(null!), Throws.ArgumentNullException);
            Assert.That(() => Run(bad), Throws.ArgumentException.With.Message.StartsWith("gathered.Texts holds Infinity at row 2, column 1"));
            Assert.That(() => Run(rows, offset: 3), Throws.ArgumentException.With.Message.Contains("targetOffset must be from 0 to 2; it is 3"));
            Assert.That(() => Run(rows, offset: -1), Throws.ArgumentException.With.Message.Contains("it is -1"));
            Assert.That(() => Run(rows, logitScale: 80.5), Throws.ArgumentException.With.Message.Contains("logitScale must be from -100 to 80; it is 80.5"));
            Assert.That(() => Run(rows, logitScale: double.NaN), Throws.ArgumentException.With.Message.Contains("NaN"));
            Assert.That(() => Run(rows, hasComponents: false), Throws.ArgumentException.With.Message.Contains("local.ComponentTexts is 0 x 0; it must be 2 x 3"));
            Assert.That(() => Run(rows, hasImageComponents: true), Throws.ArgumentException.With.Message.Contains("local.ComponentImages must be empty"));
            Assert.That(() => Run(rows, gradRows: 3), Throws.ArgumentException.With.Message.Contains("gradLocal.Images is 3 x 3"));
            Assert.That(() => Run(rows, grad: rows), Throws.ArgumentException.With.Message.Contains("gradLocal.Images overlaps local.Images"));
            Assert.That(output, Is.All.EqualTo(7f));
        });
    }

    private static void CheckAgainstReference(MoLoOptions options)
    {
        float[][] gathered = [.. Enumerable.Range(0, 4).Select(seed => Batch.Single(L2NormalizeReference.Forward(Batch.RandomMatrix(Gathered, Columns, 50 + seed)).Elements))];
        float[][] local = [.. gathered.Select(all => all[(Offset * Columns)..((Offset + Local) * Columns)])];
        float[][] gradLocal = [.. local.Select(part => Poisoned(part.Length))];
        float[][] gradGathered = [.. gathered.Select(part => Poisoned(part.Length))];
        using MoLo molo = new(options, threads: 1);
        MoLoResult result = molo.Run(
            Features(local, Local, options), Features(gathered, Gathered, options), Offset, LogitScale, Gradients(gradLocal, Local, options), Gradients(gradGathered, Gathered, options));

        MoLoReferenceResult expected = MoLoReference.Run(Operands(local, Local, options), Operands(gathered, Gathered, options), Offset, LogitScale, options, gradients: true);
        Assert.Multiple(() =>
        {
            Expect.Loss(result.Loss, expected.Loss, 2e-6, "loss");
            Expect.Loss(result.Global, expected.Global, 2e-6, "global");
            Expect.Loss(result.Component, expected.Component, 2e-6, "component");
            Expect.LogitScaleGradient(result.GradLogitScale, expected.GradLogitScale, Math.Max(1.0, expected.Loss), 2e-4);
            Check(gradLocal, expected.Local, options, "local");
            Check(gradGathered, expected.Gathered, options, "gathered");
        });
    }

    private static void Check(float[][] actual, MoLoReferenceOperands expected, MoLoOptions options, string name)
    {
        ReferenceMatrix images = options.ReconstructsImages ? expected.Images : expected.Images + expected.ComponentImages;
        ReferenceMatrix texts = options.ReconstructsTexts ? expected.Texts : expected.Texts + expected.ComponentTexts;
        Expect.Gradient(Batch.Widen(actual[0]), images.Elements, 2e-4, $"{name} images");
        Expect.Gradient(Batch.Widen(actual[1]), texts.Elements, 2e-4, $"{name} texts");
        if (options.ReconstructsImages)
        {
            Expect.Gradient(Batch.Widen(actual[2]), expected.ComponentImages.Elements, 2e-4, $"{name} v'");
        }

        if (options.ReconstructsTexts)
        {
            Expect.Gradient(Batch.Widen(actual[3]), expected.ComponentTexts.Elements, 2e-4, $"{name} u'");
        }
    }

    private static MoLoReferenceOperands Operands(float[][] parts, int rows, MoLoOptions options)
    {
        ReferenceMatrix Wide(int part) => new(Batch.Widen(parts[part]), rows, Columns);
        return new(Wide(0), Wide(1), options.ReconstructsImages ? Wide(2) : Wide(0), options.ReconstructsTexts ? Wide(3) : Wide(1));
    }

    private static MoLoFeatures Features(float[][] parts, int rows, MoLoOptions options) => new()
    {
        Images = new(parts[0], rows, Columns),
        Texts = new(parts[1], rows, Columns),
        ComponentImages = options.ReconstructsImages ? new(parts[2], rows, Columns) : default,
        ComponentTexts = options.ReconstructsTexts ? new(parts[3], rows, Columns) : default,
    };

    private static MoLoGradients Gradients(float[][] parts, int rows, MoLoOptions options) => new()
    {
        Images = new(parts[0], rows, Columns),
        Texts = new(parts[1], rows, Columns),
        ComponentImages = options.ReconstructsImages ? new(parts[2], rows, Columns) : default,
        ComponentTexts = options.ReconstructsTexts ? new(parts[3], rows, Columns) : default,
    };

    private static MoLoFeatures Features(float[] images, float[] texts, float[] components, int rows, int columns) => new()
    {
        Images = new(images, rows, columns),
        Texts = new(texts, rows, columns),
        ComponentTexts = new(components, rows, columns),
    };

    private static MoLoGradients Gradients(float[][] parts, int rows, int columns) => new()
    {
        Images = new(parts[0], rows, columns),
        Texts = new(parts[1], rows, columns),
        ComponentTexts = new(parts[2], rows, columns),
    };

    private static float[] Poisoned(int length)
    {
        float[] values = new float[length];
        Array.Fill(values, float.NaN);
        return values;
    }
}
