// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer.Reporting;

internal sealed class EventFileTests : FolderTests
{
    /// <summary>The bytes that other writers make.</summary>
    [Test]
    public void Known_records()
    {
        double now = 0.0;
        string path;
        using (EventFile file = new(Folder, () => now += 1.0))
        {
            file.Scalar("loss", 0.5, 5);
            path = file.Path;
        }

        Assert.That(Path.GetFileName(path), Does.Match(@"^events\.out\.tfevents\.0000000001\..+\.\d+\.\d+$"));
        Assert.That(Convert.ToHexStringLower(File.ReadAllBytes(path)), Is.EqualTo(
            "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a"
            + "1a00000000000000129bd82d09000000000000004010052a0d0a0b0a046c6f7373150000003fdb81a714"));
    }

    [Test]
    public void Everything_can_be_read_back()
    {
        double[] values = [0.0, 0.3, 0.3, 0.31, 2.0, -1.0];
        byte[] png = [1, 2, 3];
        string path;
        using (EventFile file = new(Folder))
        {
            file.Start(7);
            file.Histogram("h", values, 8);
            file.Image("i", 4, 6, png, 9);
            file.Text("t", "**words** äß", 300);
            path = file.Path;
        }

        EventRecord[] events = [.. EventRecord.ReadAll(path)];
        Assert.That(events.Select(record => record.Number(2)), Is.EqualTo(new long[] { 0, 7, 8, 9, 300 }));
        Assert.That(events[1].Message(7).Number(1), Is.EqualTo(1), "START");

        EventRecord histogram = events[2].Message(5).Message(1);
        Assert.That(histogram.Text(1), Is.EqualTo("h"));
        histogram = histogram.Message(5);
        Assert.That(Enumerable.Range(1, 5).Select(histogram.Double), Is.EqualTo(new[] { -1.0, 2.0, 6.0, values.Sum(), values.Sum(value => value * value) }));
        double[] limits = histogram.Doubles(6), counts = histogram.Doubles(7);
        Assert.That(limits, Has.Length.EqualTo(counts.Length).And.Ordered);
        Assert.That((counts[0], counts.Sum()), Is.EqualTo((0.0, 6.0)));
        for (int i = 1; i < limits.Length; i++)
        {
            int expected = values.Count(value => value >= limits[i - 1] && value < limits[i]);
            Assert.That(counts[i], Is.EqualTo(expected), $"from {limits[i - 1]} to {limits[i]}");
        }

        EventRecord image = events[3].Message(5).Message(1).Message(4);
        Assert.That((image.Number(1), image.Number(2), image.Number(3), image.Bytes(4)), Is.EqualTo((4L, 6L, 3L, png)));
        EventRecord text = events[4].Message(5).Message(1);
        Assert.That(text.Text(1), Is.EqualTo("t/text_summary"));
        Assert.That((text.Message(8).Number(1), text.Message(8).Text(8), text.Message(9).Message(1).Text(1)), Is.EqualTo((7L, "**words** äß", "text")));
    }

    [Test]
    public void A_flipped_bit_is_seen_by_the_reader()
    {
        string path;
        using (EventFile file = new(Folder))
        {
            file.Scalar("x", 1.0, 1);
            path = file.Path;
        }

        byte[] bytes = File.ReadAllBytes(path);
        bytes[^6] ^= 1;
        File.WriteAllBytes(path, bytes);
        Assert.That(() => EventRecord.ReadAll(path).Count(), Throws.TypeOf<InvalidDataException>());
    }
}
