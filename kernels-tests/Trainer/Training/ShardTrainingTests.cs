// SPDX-License-Identifier: Apache-2.0
using System.Formats.Tar;
using System.Text;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>Training on tar shards is training on the files that they hold, and goes on inside a shard.</summary>
internal sealed class ShardTrainingTests
{
    private const int Shards = 3;

    private TrainingScenes _scenes = null!;
    private TrainingConfig _config = null!;

    [OneTimeSetUp]
    public void WriteShards()
    {
        _scenes = new TrainingScenes();
        TrainingScenes.Train(_scenes.Folder("base"), _scenes.Config with { Steps = 1, WarmupSteps = 0 }); // brings its words
        CaptionDataset data = CaptionDataset.Load(_scenes.Data);
        for (int shard = 0; shard < Shards; shard++)
        {
            using TarWriter writer = new(File.Create(_scenes.Folder($"{shard:D5}.tar")));
            for (int i = shard * data.Count / Shards; i < (shard + 1) * data.Count / Shards; i++)
            {
                Write(writer, $"{i:D6}.png", File.ReadAllBytes(data[i].ImagePath));
                Write(writer, $"{i:D6}.txt", Encoding.UTF8.GetBytes(data[i].Caption));
            }
        }

        _config = _scenes.Config with { Base = Path.Combine(_scenes.Folder("base"), TrainingRun.ModelFile), Data = _scenes.Folder("{00000..00002}.tar"), Filler = 0.0, Steps = 4 };

        static void Write(TarWriter writer, string name, byte[] content) =>
            writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(content) });
    }

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    [Test]
    public void The_run_is_that_of_the_files_and_a_stop_inside_a_shard_changes_nothing()
    {
        TrainingScenes.Train(_scenes.Folder("files"), _config with { Data = Path.Combine(_scenes.Data, "captions.json") });
        TrainingScenes.Train(_scenes.Folder("shards"), _config);
        for (int i = 0; i < 2; i++)
        {
            using CancellationTokenSource stop = new();
            stop.Cancel(); // one step a call: a third of an epoch, from all shards
            Assert.That(() => TrainingScenes.Train(_scenes.Folder("stopped"), _config, resume: true, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        }

        TrainingScenes.Train(_scenes.Folder("stopped"), _config, resume: true);
        using ClipModel files = ClipModel.Load(Path.Combine(_scenes.Folder("files"), TrainingRun.ModelFile)), shards = ClipModel.Load(Path.Combine(_scenes.Folder("shards"), TrainingRun.ModelFile));
        Assert.Multiple(() =>
        {
            Assert.That(shards.Fingerprint(), Is.EqualTo(files.Fingerprint()), "the same weights");
            Assert.That(TrainingScenes.Model(_scenes.Folder("stopped")), Is.EqualTo(TrainingScenes.Model(_scenes.Folder("shards"))), "the same bytes");
        });
    }
}
