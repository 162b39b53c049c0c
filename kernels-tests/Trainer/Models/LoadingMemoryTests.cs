// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>Loading takes memory for one copy of the weights: tensors are read one by one into their place.</summary>
[Platform("Linux")]
internal sealed class LoadingMemoryTests : FolderTests
{
    private const long Overhead = 64L << 20; // buffers of one piece, the header, the collector's slack

    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    /// <summary>ViT-L/14 in the long form, 1.7 GB; a model of a tenth of that in the short form.</summary>
    [TestCase(ExportFormat.Safetensors)]
    [TestCase(ExportFormat.LongClip)]
    public void One_copy_of_the_weights(ExportFormat format)
    {
        ClipConfig config = new()
        {
            EmbedDim = 768, ImageResolution = 224, PatchSize = 14, VisionWidth = TestLength.Pick(512, 1024), VisionLayers = TestLength.Pick(6, 24),
            ContextLength = 248, VocabSize = 49408, TextWidth = TestLength.Pick(256, 768), TextLayers = TestLength.Pick(4, 12), HasFrozenPositions = true,
        };
        string path = Path.Combine(Folder, "model");
        long weights;
        using (ClipModel model = ClipModel.Create(config, seed: 0))
        {
            weights = 4 * model.parameters().Sum(parameter => parameter.numel());
            CheckpointExport.Write(model, format, path, ScalarType.Float32);
        }

        GC.Collect();
        long before = ProcessMemory.Resident;
        ProcessMemory.ForgetPeak();
        using ClipModel loaded = ClipModel.Load(path);
        long peak = ProcessMemory.Peak - before;
        TestContext.Out.WriteLine($"{weights >> 20} MiB of weights, {peak >> 20} MiB at the peak");
        Assert.That(peak, Is.LessThan(weights + Overhead), $"{weights} bytes of weights");
    }
}
