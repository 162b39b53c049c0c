// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class SyntheticDatasetTests : FolderTests
{
    [Test]
    public void Same_seed_gives_the_same_bytes_for_any_number_of_threads_and_another_seed_other_ones()
    {
        string one = Make("one", threads: 1), many = Make("many", threads: 4), other = Make("other", seed: 8);
        Assert.That(Files(one), Is.EqualTo(Files(many)));
        Assert.That(File.ReadAllBytes(Path.Combine(one, "images", "000003.png")), Is.Not.EqualTo(File.ReadAllBytes(Path.Combine(other, "images", "000003.png"))));
    }

    [Test]
    public void The_training_reader_reads_it_and_the_held_out_scenes_are_others()
    {
        string folder = Make("data");
        CaptionDataset data = CaptionDataset.Load(folder);
        Assert.That(data.Count, Is.EqualTo(40));
        Assert.That(File.Exists(data[39].ImagePath), data[39].ImagePath);
        JsonElement[] held = GrowingCaptions(folder);
        Assert.That(held, Has.Length.EqualTo(10));
        string[] training = [.. Enumerable.Range(0, data.Count).Select(index => data[index].Caption)];
        Assert.That(held.Select(item => item.GetProperty("raw_caption").GetString()!), Has.None.Matches<string>(training.Contains));
    }

    [Test]
    public void Held_out_captions_grow_by_a_sentence_from_gist_to_all()
    {
        string folder = Make("data");
        foreach (JsonElement item in GrowingCaptions(folder))
        {
            Assert.That(File.Exists(Path.Combine(folder, "eval", "images", item.GetProperty("img_path").GetString()!)));
            string[] captions = [.. item.GetProperty("caption").EnumerateArray().Select(text => text.GetString()!)];
            Assert.That(captions[^1], Is.EqualTo(item.GetProperty("raw_caption").GetString()));
            for (int i = 0; i < captions.Length; i++)
            {
                Assert.That(captions[^1], Does.StartWith(captions[i]));
                Assert.That(Sentences.Split(captions[i]), Has.Count.EqualTo(i + 1));
            }
        }
    }

    [Test]
    public void A_complete_folder_is_reused_and_never_replaced_by_another()
    {
        string folder = Make("data");
        DateTime written = File.GetLastWriteTimeUtc(Path.Combine(folder, "captions.json"));
        Assert.That(SyntheticDataset.Write(folder, 40, 7, evaluationCount: 10), Is.False);
        Assert.That(File.GetLastWriteTimeUtc(Path.Combine(folder, "captions.json")), Is.EqualTo(written));
        Assert.That(() => SyntheticDataset.Write(folder, 41, 7, evaluationCount: 10), Throws.TypeOf<UserError>().With.Message.Contains(folder));
        Assert.That(CaptionDataset.Load(folder).Count, Is.EqualTo(40));
    }

    [Test]
    public void A_stopped_run_leaves_nothing_and_remains_of_killed_ones_go()
    {
        string folder = Path.Combine(Folder, "data");
        string abandoned = $"{folder}.{int.MaxValue}.partial";
        _ = Directory.CreateDirectory(Path.Combine(abandoned, "images"));
        using CancellationTokenSource stop = new();
        Assert.That(
            () => SyntheticDataset.Write(folder, 400, 7, progress: done => { if (done == 20) { stop.Cancel(); } }, cancel: stop.Token),
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.EnumerateFileSystemEntries(Folder), Is.Empty);
    }

    [Test]
    public void Description_round_trips_and_names_damage()
    {
        string folder = Make("data");
        DatasetDescription description = DatasetDescription.Read(folder)!;
        Assert.That(description, Has.Property(nameof(DatasetDescription.Seed)).EqualTo(7).And.Property(nameof(DatasetDescription.Context)).EqualTo(88));
        Assert.That(description.Words, Is.EqualTo(WordTokenizer.Layout(SceneVocabulary.Words)));
        Assert.That(DatasetDescription.Read(Folder), Is.Null);
        File.WriteAllText(Path.Combine(folder, DatasetDescription.FileName), "{");
        Assert.That(() => DatasetDescription.Read(folder), Throws.TypeOf<UserError>().With.Message.Contains(DatasetDescription.FileName));
    }

    private string Make(string name, long seed = 7, int threads = 0)
    {
        string folder = Path.Combine(Folder, name);
        Assert.That(SyntheticDataset.Write(folder, 40, seed, threads, evaluationCount: 10), Is.True);
        return folder;
    }

    private static JsonElement[] GrowingCaptions(string folder) =>
        [.. File.ReadLines(Path.Combine(folder, "eval", "captions.jsonl")).Select(line => JsonDocument.Parse(line).RootElement)];

    private static Dictionary<string, string> Files(string folder) => Directory
        .EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .ToDictionary(path => Path.GetRelativePath(folder, path), path => Convert.ToHexString(File.ReadAllBytes(path)));
}
