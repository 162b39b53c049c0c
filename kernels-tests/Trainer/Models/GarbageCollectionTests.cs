// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class GarbageCollectionTests
{
    [Test]
    public void Steps_survive_a_collector_that_frees_everything_it_may_at_any_moment()
    {
        ClipConfig config = new()
        {
            EmbedDim = 16, ImageResolution = 8, PatchSize = 4, VisionWidth = 16, VisionLayers = 2, ContextLength = 12, VocabSize = 20, TextWidth = 16, TextLayers = 2,
        };
        using ClipModel model = ClipModel.Create(config, 1);
        using Tensor pictures = randn(8, 3, 8, 8);
        float[] expected = Step(model, pictures);
        using CancellationTokenSource stop = new();
        Thread collector = new(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                GC.Collect(0);
                GC.WaitForPendingFinalizers();
            }
        });
        collector.Start();
        try
        {
            for (int step = 0; step < TestLength.Pick(300, 5000); step++)
            {
                Assert.That(Step(model, pictures), Is.EqualTo(expected), $"gradient of step {step}");
            }
        }
        finally
        {
            stop.Cancel();
            collector.Join();
        }
    }

    // The gradient of the text projection, which every operation of the text tower reaches.
    private static float[] Step(ClipModel model, Tensor pictures)
    {
        using DisposeScope scope = NewDisposeScope();
        long[] ids = [.. Enumerable.Range(0, 8 * 12).Select(i => i % 12 == 11 ? 19L : (i % 17) + 1)];
        Tensor images = model.EncodeImage(pictures), texts = model.EncodeText(tensor(ids, [8, 12]));
        model.zero_grad();
        (images * texts * model.LogitScale).sum().backward();
        return model.named_parameters().Single(entry => entry.name == "text_projection").parameter.grad!.data<float>().ToArray();
    }
}
