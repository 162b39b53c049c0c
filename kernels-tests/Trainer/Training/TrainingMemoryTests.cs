// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Trainer;

[Platform("Linux")]
internal sealed class TrainingMemoryTests
{
    /// <summary>Freed memory that the allocator kept from other tests would hide what is allocated here.</summary>
    [Test]
    [Explicit("measures the process's own memory, so it must be the only test in it: dotnet test --filter Name~Blocks_computed_again")]
    public void Blocks_computed_again_take_less_than_half_of_the_memory()
    {
        TorchLoader.EnsureLoaded();
        using ClipModel model = ClipModel.Create(
            new ClipConfig
            {
                EmbedDim = 32, ImageResolution = 112, PatchSize = 8, VisionWidth = 128, VisionLayers = 8, ContextLength = 8, VocabSize = 12, TextWidth = 16, TextLayers = 1,
            },
            seed: 1);
        const int Rows = 16;
        TrainingBatch batch = new(new byte[Rows * 3 * 112 * 112], new long[Rows * 8], new CaptionRecord[Rows]);
        new Random(3).NextBytes(batch.Planes);
        for (int row = 0; row < Rows; row++)
        {
            (batch.Ids[8 * row], batch.Ids[(8 * row) + 1]) = (1 + (row % 10), 11);
        }

        TrainingConfig config = new() { Data = "", Batch = Rows, Threads = 1 };
        _ = Peak(config);                                  // what torch allocates once
        long kept = Peak(config), again = Peak(config with { ActivationCheckpointing = true });
        TestContext.Out.WriteLine($"{kept >> 20} MiB with everything kept, {again >> 20} MiB with blocks computed again");
        Assert.That(again, Is.LessThan(kept / 2));

        long Peak(TrainingConfig form)
        {
            using BatchGradient gradient = new(form, model);
            GC.Collect();
            long before = ProcessMemory.Resident;
            ProcessMemory.ForgetPeak();
            _ = gradient.Compute(batch, 1.0);
            model.Tape = null;
            return ProcessMemory.Peak - before;
        }
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
