// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class LengthBucketsTests
{
    [TestCase(1)]
    [TestCase(16)]
    [TestCase(67)]
    public void Features_are_those_of_the_whole_batch_in_its_order(int rows)
    {
        const int Context = 20;
        ClipConfig config = new()
        {
            EmbedDim = 8, ImageResolution = 4, PatchSize = 4, VisionWidth = 8, VisionLayers = 1, ContextLength = Context, VocabSize = 12, TextWidth = 16, TextLayers = 2,
        };
        using DisposeScope scope = NewDisposeScope();
        using ClipModel model = ClipModel.Create(config, 1);
        long[] ids = new long[rows * Context];
        SeededRandom random = new(4);
        for (int row = 0; row < rows; row++)
        {
            int length = random.Next(2, Context + 1);
            for (int i = 0; i < length; i++)
            {
                ids[(row * Context) + i] = i == length - 1 ? 11 : random.Next(1, 11);
            }
        }

        using IDisposable constant = no_grad();
        Tensor whole = model.EncodeText(tensor(ids, [rows, Context])), parts = LengthBuckets.EncodeText(model, ids, rows);
        Assert.That((whole - parts).abs().max().item<float>(), Is.LessThan(1e-5 * whole.abs().max().item<float>()));
    }
}
