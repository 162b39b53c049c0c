// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>A caption file of the published one's size is streamed, and takes no more memory than its text.</summary>
public sealed class CaptionStoreTests : FolderTests
{
    [Test]
    public void Records_come_back_as_they_were()
    {
        CaptionStore store = new();
        CaptionRecord[] records =
        [
            new("a.png", "A dog."), new("", ""), new("caf\u00e9/\U0001F600.png", "\u4e2d\u6587"), new("large.png", new string('x', 100_000)), new("b.png", "after it"),
            .. Enumerable.Range(0, 3000).Select(i => new CaptionRecord($"{i}.png", new string('y', i % 97))),
        ];
        foreach (CaptionRecord record in records)
        {
            store.Add(record);
        }

        Assert.That(Enumerable.Range(0, store.Count).Select(i => store[i]), Is.EqualTo(records));
    }

    [Test]
    public void A_file_of_the_published_size_is_streamed_and_kept_in_about_its_own_size()
    {
        int count = TestLength.Pick(100_000, 1_246_000);
        string path = Path.Combine(Folder, "captions.json");
        Write(path, count);
        long size = new FileInfo(path).Length;
        long before = GC.GetTotalMemory(forceFullCollection: true);
        long streaming = 0;
        int read = 0;
        foreach (CaptionRecord record in ShareGpt4VReader.Read(path))
        {
            if (read++ % (count / 4) == 1)
            {
                streaming = Math.Max(streaming, GC.GetTotalMemory(forceFullCollection: true) - before);
            }
        }

        CaptionDataset data = CaptionDataset.Load(path);
        long kept = GC.GetTotalMemory(forceFullCollection: true) - before;
        Assert.Multiple(() =>
        {
            Assert.That((read, data.Count), Is.EqualTo((count, count)));
            Assert.That(data[count - 1].Caption, Does.StartWith($"The image {count - 1} "));
            Assert.That(streaming, Is.LessThan(8 << 20), "bytes held while reading, besides what the caller keeps");
            Assert.That(kept, Is.LessThan(size + (32 << 20)), $"bytes of the data set of a file of {size}; one block of 16 MiB may be nearly empty");
        });
    }

    private static void Write(string path, int count)
    {
        string filler = string.Concat(Enumerable.Repeat("shows a street with an old house and a red sign on the left, ", 15)); // about as long as the published captions
        using StreamWriter writer = new(path);
        writer.Write('[');
        for (int i = 0; i < count; i++)
        {
            writer.Write(i == 0 ? "" : ",");
            writer.Write("{\"id\":\"");
            writer.Write(i);
            writer.Write("\",\"image\":\"sam/images/sa_");
            writer.Write(i);
            writer.Write(".jpg\",\"conversations\":[{\"from\":\"human\",\"value\":\"<image>\\nDescribe it.\"},{\"from\":\"gpt\",\"value\":\"The image ");
            writer.Write(i);
            writer.Write(' ');
            writer.Write(filler);
            writer.Write("\\n\\nAnd more.\"}]}");
        }

        writer.Write(']');
    }
}
