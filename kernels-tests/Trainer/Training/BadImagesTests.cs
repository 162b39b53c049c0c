// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>A data folder in which some images are missing, cut, no images, or too large.</summary>
internal sealed class BadImagesTests
{
    private static readonly int[] s_bad = [3, 17, 29, 40];

    private TrainingScenes _scenes = null!;
    private string[] _files = [];

    [OneTimeSetUp]
    public void DamageScenes()
    {
        _scenes = new TrainingScenes();
        CaptionDataset data = CaptionDataset.Load(_scenes.Data);
        _files = [.. s_bad.Select(index => data[index].ImagePath)];
        File.Delete(_files[0]);
        File.WriteAllBytes(_files[1], File.ReadAllBytes(_files[1])[..100]);
        File.WriteAllText(_files[2], "this is no image");
        File.WriteAllBytes(_files[3], HugePng(6000, 5000));
    }

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    [Test]
    public void The_first_one_ends_the_run_unless_some_are_allowed()
    {
        string folder = _scenes.Folder("strict");
        Assert.That(() => TrainingScenes.Train(folder, _scenes.Config), Throws.TypeOf<UserError>().With.Message.Contains("--max-bad-images"));
        Assert.That(_files, Has.Some.EqualTo(Listed(folder).Single()));
    }

    [Test]
    public void Too_many_end_the_run_with_count_and_list()
    {
        string folder = _scenes.Folder("limit");
        Assert.That(
            () => TrainingScenes.Train(folder, _scenes.Config with { MaxBadImages = 2 }),
            Throws.TypeOf<UserError>().With.Message.Contains("number 3").And.Message.Contains(BadImages.FileName).And.Message.Contains("it is 2"));
        Assert.That(Listed(folder), Has.Length.EqualTo(3));
    }

    [Test]
    public void Allowed_ones_are_counted_named_and_replaced_the_same_for_any_workers_and_after_a_stop()
    {
        TrainingConfig config = _scenes.Config with { Steps = 4, MaxBadImages = 4 }; // three steps go through all pairs
        string whole = _scenes.Folder("whole");
        StringWriter messages = new();
        using (TrainingRun run = TrainingRun.Open(whole, config with { Workers = 1, Prefetch = 1 }, resume: false))
        {
            RunTraining.Execute(run, vocabulary: null, evaluate: false, messages, CancellationToken.None);
        }

        Assert.That(Listed(whole), Is.EquivalentTo(_files));
        string list = File.ReadAllText(Path.Combine(whole, BadImages.FileName));
        Assert.That(list, Does.Contain("6000 x 5000").And.Contains("no readable image"), "the reasons");
        Assert.That(messages.ToString(), Does.Contain("4 images could not be read").And.Contains(BadImages.FileName));
        JsonNode last = JsonNode.Parse(File.ReadLines(Path.Combine(whole, TrainingLog.FileName)).Last())!;
        Assert.That((int)last["bad_images"]!, Is.EqualTo(4));

        TrainingScenes.Train(_scenes.Folder("workers"), config with { Workers = 3, Prefetch = 5 });
        Assert.That(TrainingScenes.Model(_scenes.Folder("workers")), Is.EqualTo(TrainingScenes.Model(whole)));

        string stopped = _scenes.Folder("stopped");
        using (CancellationTokenSource stop = new())
        {
            stop.Cancel(); // after the first step
            Assert.That(() => TrainingScenes.Train(stopped, config, cancel: stop.Token), Throws.InstanceOf<OperationCanceledException>());
        }

        TrainingScenes.Train(stopped, config, resume: true);
        Assert.That(TrainingScenes.Model(stopped), Is.EqualTo(TrainingScenes.Model(whole)));
        Assert.That(Listed(stopped), Is.EquivalentTo(_files), "each once");
    }

    private static string[] Listed(string folder) => [.. File.ReadLines(Path.Combine(folder, BadImages.FileName)).Select(line => line.Split('\t')[0])];

    /// <summary>A PNG whose header promises more than 25 million pixels and whose data hold none.</summary>
    private static byte[] HugePng(int width, int height)
    {
        byte[] header = [0, 0, 0, 13, .. "IHDR"u8, .. BigEndian(width), .. BigEndian(height), 8, 2, 0, 0, 0];
        byte[] data = [0, 0, 0, 8, .. "IDAT"u8, 0x78, 0x9C, 0x03, 0, 0, 0, 0, 1];
        return [0x89, .. "PNG\r\n"u8, 0x1A, (byte)'\n', .. header, .. BigEndian(unchecked((int)Checksum(header.AsSpan(4)))), .. data, .. BigEndian(unchecked((int)Checksum(data.AsSpan(4))))];
    }

    private static byte[] BigEndian(int value) => [(byte)(value >> 24), (byte)(value >> 16), (byte)(value >> 8), (byte)value];

    private static uint Checksum(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in bytes)
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xEDB88320 : crc >> 1;
            }
        }

        return ~crc;
    }
}
