// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>Tiny models and random batches for tests of one training step.</summary>
internal static class TrainingModels
{
    public const int Context = 20;
    private const int Side = 8;

    public static ClipModel Create(int seed = 1, int layers = 3)
    {
        TorchLoader.EnsureLoaded();
        return ClipModel.Create(
            new ClipConfig
            {
                EmbedDim = 12, ImageResolution = Side, PatchSize = 4, VisionWidth = 16, VisionLayers = layers, ContextLength = Context, VocabSize = 12, TextWidth = 16, TextLayers = layers,
            },
            seed);
    }

    public static TrainingBatch RandomBatch(int rows, int seed = 4)
    {
        SeededRandom random = new(seed);
        TrainingBatch batch = new(new byte[rows * 3 * Side * Side], new long[rows * Context], new CaptionRecord[rows]);
        for (int i = 0; i < batch.Planes.Length; i++)
        {
            batch.Planes[i] = (byte)random.Next(0, 256);
        }

        for (int row = 0; row < rows; row++)
        {
            int length = random.Next(3, Context + 1);
            for (int i = 0; i < length; i++)
            {
                batch.Ids[(row * Context) + i] = i == length - 1 ? 11 : random.Next(1, 11);
            }

            batch.Pairs[row] = new CaptionRecord($"{row}.png", $"caption {row}");
        }

        return batch;
    }

    /// <summary>All gradients in one array after one computation, in the order of the parameters; parameters without gradient are left out.</summary>
    public static (LossMeasures Measures, double[] Gradients) Gradient(TrainingConfig config, ClipModel model, TrainingBatch batch, double factor = 1.0)
    {
        using BatchGradient gradient = new(config, model);
        LossMeasures measures = gradient.Compute(batch, factor);
        (model.Tape, model.ProductType) = (null, null);
        return (measures, Gradients(model));
    }

    public static double[] Gradients(ClipModel model) =>
        [.. model.named_parameters().Where(pair => pair.parameter.grad is not null).SelectMany(pair => pair.parameter.grad!.to(float64, CPU).flatten().data<double>().ToArray())];
}
