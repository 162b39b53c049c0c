// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>One call of <see cref="MoLoGpu"/> on gathered features.</summary>
internal static class MoLoGpuRun
{
    public const double LogitScale = 3.0;

    /// <summary>Compares loss and all gradients; outputs and workspace begin as NaN.</summary>
    public static void AgreesWithTheReference(Gpu gpu, int rows, int gatheredRows, int width, int offset, MoLoOptions options, GpuPrecision precision = GpuPrecision.Strict, bool warpgroups = true)
    {
        (double loss, double gradient) = TestGpu.Tolerance(precision);
        MoLoReferenceOperands local = Operands(rows, width, 1);
        MoLoReferenceOperands gathered = Operands(gatheredRows, width, 10);
        MoLoReferenceResult expected = MoLoReference.Run(WithoutUnused(local, options), WithoutUnused(gathered, options), offset, LogitScale, options, gradients: true);
        using WatchedMemory memory = new(gpu);
        using MoLoGpu molo = new(gpu, new MatrixShape(rows, width), gatheredRows, offset, options, new() { Precision = precision, Warpgroups = warpgroups });
        memory.Fill();
        ArrayView<float> inputs = memory.Take<float>(Flat(local, gathered)), outputs = memory.Take<float>(inputs.Length), scale = memory.Take<float>([(float)LogitScale]);
        ArrayView<float> summary = memory.Take<float>(StepSummary.Length);
        int size = rows * width;
        int gatheredSize = gatheredRows * width;

        molo.Run(gpu.Accelerator.DefaultStream, new MoLoGpuBuffers
        {
            Local = Views(inputs, 0, size, options), Gathered = Views(inputs, 4 * size, gatheredSize, options), LogitScale = scale,
            GradLocal = Views(outputs, 0, size, options), GradGathered = Views(outputs, 4 * size, gatheredSize, options), Summary = summary,
        });
        gpu.Accelerator.Synchronize();
        memory.Check();

        float[] numbers = memory.Read(summary);
        double[] gradients = Batch.Widen(memory.Read(outputs));
        Assert.Multiple(() =>
        {
            Expect.Loss(numbers[0], expected.Loss, loss, "loss");
            Expect.Loss(numbers[1], expected.Global, loss, "global");
            Expect.Loss(numbers[2], expected.Component, loss, "component");
            Expect.LogitScaleGradient(numbers[3], expected.GradLogitScale, expected.Loss, gradient);
            Check(gradients[..(4 * size)], expected.Local, options, gradient, "local");
            Check(gradients[(4 * size)..], expected.Gathered, options, gradient, "gathered");
        });
    }

    private static void Check(double[] actual, MoLoReferenceOperands expected, MoLoOptions options, double tolerance, string name)
    {
        int size = actual.Length / 4;
        ReferenceMatrix images = options.ReconstructsImages ? expected.Images : expected.Images + expected.ComponentImages;
        ReferenceMatrix texts = options.ReconstructsTexts ? expected.Texts : expected.Texts + expected.ComponentTexts;
        Expect.Gradient(actual[..size], images.Elements, tolerance, $"{name} images");
        Expect.Gradient(actual[size..(2 * size)], texts.Elements, tolerance, $"{name} texts");
        if (options.ReconstructsImages)
        {
            Expect.Gradient(actual[(2 * size)..(3 * size)], expected.ComponentImages.Elements, tolerance, $"{name} component images");
        }

        if (options.ReconstructsTexts)
        {
            Expect.Gradient(actual[(3 * size)..], expected.ComponentTexts.Elements, tolerance, $"{name} component texts");
        }
    }

    public static MoLoReferenceOperands Operands(int rows, int width, int seed) => new(
        Unit(rows, width, seed), Unit(rows, width, seed + 1), 0.3 * Batch.RandomMatrix(rows, width, seed + 2), 0.3 * Batch.RandomMatrix(rows, width, seed + 3));

    private static ReferenceMatrix Unit(int rows, int width, int seed) => L2NormalizeReference.Forward(Batch.RandomMatrix(rows, width, seed));

    public static MoLoReferenceOperands WithoutUnused(MoLoReferenceOperands operands, MoLoOptions options) => operands with
    {
        ComponentImages = options.ReconstructsImages ? operands.ComponentImages : operands.Images,
        ComponentTexts = options.ReconstructsTexts ? operands.ComponentTexts : operands.Texts,
    };

    public static float[] Flat(params MoLoReferenceOperands[] all) =>
        [.. all.SelectMany(each => new[] { each.Images, each.Texts, each.ComponentImages, each.ComponentTexts }).SelectMany(matrix => Batch.Single(matrix.Elements))];

    private static MoLoGpuFeatures Views(ArrayView<float> all, int start, int size, MoLoOptions options) => new()
    {
        Images = all.SubView(start, size),
        Texts = all.SubView(start + size, size),
        ComponentImages = options.ReconstructsImages ? all.SubView(start + (2 * size), size) : default,
        ComponentTexts = options.ReconstructsTexts ? all.SubView(start + (3 * size), size) : default,
    };
}
