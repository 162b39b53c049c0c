// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

[Platform("Linux")]
internal sealed class TrainingMemoryTests
{
    /// <summary>In processes of their own: memory that the allocator kept from other tests would hide what is allocated here.</summary>
    [Test]
    public void Blocks_computed_again_take_less_than_half_of_the_memory()
    {
        TorchLoader.EnsureLoaded();
        using TrainingScenes scenes = new();
        string wide = scenes.Folder("wide.safetensors");
        using (ClipModel model = ClipModel.Create(
            new ClipConfig
            {
                EmbedDim = 32, ImageResolution = 112, PatchSize = 8, VisionWidth = 128, VisionLayers = 8, ContextLength = 128, VocabSize = 256, TextWidth = 16, TextLayers = 1,
            },
            seed: 1))
        {
            model.Save(wide, new Dictionary<string, string> { [WordTokenizer.MetadataKey] = string.Join('\n', DatasetDescription.Read(scenes.Data)!.Words) }, float32);
        }

        long little = Peak("2", "on"), kept = Peak("16", "off"), again = Peak("16", "on");
        TestContext.Out.WriteLine($"{little >> 20} MiB with two pairs, {kept >> 20} MiB with everything kept, {again >> 20} MiB with blocks computed again");
        Assert.That(again - little, Is.LessThan((kept - little) / 2));

        long Peak(string batch, string again) => HimoProgram.PeakMemory(scenes.Arguments(
            scenes.Folder($"{batch}-{again}"), "--base", wide, "--steps", "2", "--warmup-steps", "1", "--batch", batch, "--workers", "1", "--activation-checkpointing", again));
    }

    /// <summary>Ten thousand steps in the long form.</summary>
    [Test]
    public void Memory_does_not_grow_with_the_steps()
    {
        int steps = TestLength.Pick(300, 10_000);
        using TrainingParts parts = new(new TrainingConfig { Data = "", Ema = 0.9 }, TrainingModels.Create());
        TrainingConfig config = new() { Data = "", Batch = 16, MicroBatch = 8, Threads = 1, ActivationCheckpointing = true };
        using BatchGradient gradient = new(config, parts.Model);
        TrainingBatch batch = TrainingModels.RandomBatch(16);
        long early = 0;
        for (int step = 0; step < steps; step++)
        {
            _ = gradient.Compute(batch, 1.0);
            using (no_grad())
            {
                parts.Optimizer.Step(1e-4, 1.0);
            }

            parts.Average!.Update(parts.Optimizer.Count);
            early = step == steps / 3 ? Settled() : early;
        }

        long grown = Settled() - early;
        Assert.That(grown, Is.LessThan(8L << 20), $"bytes in {2 * steps / 3} steps");

        static long Settled()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            return ProcessMemory.Resident;
        }
    }
}
