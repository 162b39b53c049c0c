// SPDX-License-Identifier: Apache-2.0
using System.Formats.Tar;
using System.Text;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class TarShardsTests : FolderTests
{
    [TestCase(TarEntryFormat.Pax)]
    [TestCase(TarEntryFormat.Gnu)]
    [TestCase(TarEntryFormat.Ustar)]
    [TestCase(TarEntryFormat.V7)]
    public void Samples_are_read_in_order_and_images_decode(TarEntryFormat format)
    {
        byte[] gradient = File.ReadAllBytes(TestData.Get("golden", "preprocess", "images", "01_gradient.png"));
        byte[] noise = File.ReadAllBytes(TestData.Get("golden", "preprocess", "images", "02_noise.png"));
        string shard = Write("00000.tar", format, ("000.png", gradient), ("000.txt", Text("A gradient.\n")), ("000.json", Text("{\"caption\":\"not this\"}")), ("dir/001.json", Text("{\"caption\":\"Some\\nnoise.\"}")), ("dir/001.PNG", noise));
        CaptionDataset data = CaptionDataset.Load(shard);
        ImagePreprocessor preprocessor = new(64);
        Assert.Multiple(() =>
        {
            Assert.That(data.Count, Is.EqualTo(2));
            Assert.That((data[0].Caption, data[1].Caption), Is.EqualTo(("A gradient.", "Some noise.")));
            Assert.That(preprocessor.LoadPixels(data[0].ImagePath), Is.EqualTo(NpyFile.Read<byte>(TestData.Get("golden", "preprocess", "out64", "01_gradient.rgb8.npy")).Elements));
            Assert.That(preprocessor.LoadPixels(data[1].ImagePath), Is.EqualTo(NpyFile.Read<byte>(TestData.Get("golden", "preprocess", "out64", "02_noise.rgb8.npy")).Elements));
        });
    }

    [Test]
    public void Incomplete_samples_and_foreign_members_are_left_out()
    {
        string shard = Write(
            "x.tar", TarEntryFormat.Pax,
            ("a.txt", Text("no image")), ("b.png", [1]), ("c.png", [1]), ("c.txt", Text("  ")), ("__info__.json", Text("{}")), ("noext", Text("x")),
            ("d.png", [1]), ("d.txt", Text("one")), ("d.png", [1]), ("d.txt", Text("two")), ("e.f.png", [1]), ("e.txt", Text("three")));
        Assert.That(CaptionDataset.Load(shard).Blank, Is.EqualTo(2), "b and c are counted");
        Assert.That(TarShards.Read(shard).Select(record => record.Caption).Where(caption => caption.Length > 0), Is.EqualTo(new[] { "one", "two" }), "a repeated suffix starts a sample; of e only 'e.f.png' and 'e.txt' are there, and f.png is no image suffix");
    }

    [TestCase("a.tar", new[] { "a.tar" })]
    [TestCase("d/{08..11}.tar", new[] { "d/08.tar", "d/09.tar", "d/10.tar", "d/11.tar" })]
    [TestCase("{0..1}.tar::b{3..3}.tar", new[] { "0.tar", "1.tar", "b3.tar" })]
    [TestCase("{0..1}/{5..6}.tar", new[] { "0/5.tar", "0/6.tar", "1/5.tar", "1/6.tar" })]
    public void Patterns_expand(string pattern, string[] shards) => Assert.That(TarShards.Expand(pattern), Is.EqualTo(shards));

    [TestCase("{0..}.tar")]
    [TestCase("{3..1}.tar")]
    [TestCase("{a,b}.tar")]
    [TestCase("}{.tar")]
    [TestCase("{0..999999999}.tar")]
    [TestCase("{0..1.tar")]
    public void Bad_patterns_are_refused(string pattern) => Assert.That(() => TarShards.Expand(pattern), Throws.TypeOf<UserError>().With.Message.Contains("braces"));

    [Test]
    public void Damage_gives_samples_or_one_clear_error()
    {
        byte[] whole = File.ReadAllBytes(Write("whole.tar", TarEntryFormat.Pax, ("000.png", new byte[700]), ("000.txt", Text("one")), ("001.json", Text("{\"caption\":\"two\"}")), ("001.png", new byte[5])));
        string path = Path.Combine(Folder, "damaged.tar");
        SeededRandom random = new(4);
        int refused = 0;
        int count = TestLength.Pick(300, 100_000);
        for (int i = 0; i < count; i++)
        {
            byte[] bytes = i % 3 == 0 ? whole[..random.Next(0, whole.Length)] : [.. whole];
            for (int change = i % 3 == 0 ? 0 : random.Next(1, 8); change > 0; change--)
            {
                bytes[random.Next(0, bytes.Length)] = (byte)random.Next(0, 256);
            }

            File.WriteAllBytes(path, bytes);
            try
            {
                Assert.That(TarShards.Read(path).Count(), Is.LessThanOrEqualTo(2));
            }
            catch (UserError failure)
            {
                Assert.That(failure.Message, Does.StartWith(path));
                refused++;
            }
        }

        Assert.That(refused, Is.GreaterThan(count / 20));
    }

    [TestCase("77777777777")]
    [TestCase("20000000000")]
    [TestCase("00077777777")]
    [TestCase("07777777777")]
    public void Attributes_that_claim_absurd_sizes_are_refused(string size)
    {
        string path = Write("absurd.tar", TarEntryFormat.Pax, ("000.txt", Text("one")));
        byte[] bytes = File.ReadAllBytes(path);
        Span<byte> header = bytes.AsSpan(0, 512);
        Assert.That(header[156], Is.EqualTo((byte)'x'), "a header of extended attributes");
        Encoding.ASCII.GetBytes(size, header[124..]);
        header[148..156].Fill((byte)' ');       // as which the checksum counts itself
        int sum = 0;
        foreach (byte value in header)
        {
            sum += value;
        }

        Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0 ", header[148..]);
        File.WriteAllBytes(path, bytes);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => TarShards.Read(path).Count(), Throws.TypeOf<UserError>().With.Message.StartsWith(path).And.Message.Contains("claim"));
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1 << 20), "bytes, for a file of a few thousand");
    }

    [Test]
    public void Captions_that_are_no_text_or_too_long_are_refused() => Assert.Multiple(() =>
    {
        Assert.That(() => TarShards.Read(Write("a.tar", TarEntryFormat.Pax, ("0.txt", [0xC3, 0x28]))).Count(), Throws.TypeOf<UserError>().With.Message.Contains("'0.txt'"));
        Assert.That(() => TarShards.Read(Write("b.tar", TarEntryFormat.Pax, ("0.json", Text("{")))).Count(), Throws.TypeOf<UserError>().With.Message.Contains("'0.json' is no JSON"));
        Assert.That(() => TarShards.Read(Write("c.tar", TarEntryFormat.Pax, ("0.txt", new byte[(1 << 20) + 1]))).Count(), Throws.TypeOf<UserError>().With.Message.Contains("too many for a caption"));
        Assert.That(() => TarShards.Read(Path.Combine(Folder, "none.tar")).Count(), Throws.TypeOf<UserError>().With.Message.Contains("none.tar: cannot be read"));
    });

    [TestCase("/a/b.png", null)]
    [TestCase("/a/b.tar!x+3!n", null)]
    [TestCase("/a/b.tar!1+3", null)]
    [TestCase("/a/b.tar!12+3!d/n.png", "/a/b.tar")]
    public void Members_are_paths(string path, string? tar)
    {
        TarMember? member = TarMember.Parse(path);
        Assert.That(member?.Tar, Is.EqualTo(tar));
        Assert.That(member?.ToString() ?? path, Is.EqualTo(path));
    }

    private static byte[] Text(string text) => Encoding.UTF8.GetBytes(text);

    private string Write(string name, TarEntryFormat format, params (string Name, byte[] Data)[] members)
    {
        string path = Path.Combine(Folder, name);
        using FileStream stream = File.Create(path);
        using TarWriter writer = new(stream, format);
        foreach ((string member, byte[] data) in members)
        {
            TarEntry entry = format switch
            {
                TarEntryFormat.Pax => new PaxTarEntry(TarEntryType.RegularFile, member),
                TarEntryFormat.Gnu => new GnuTarEntry(TarEntryType.RegularFile, member),
                TarEntryFormat.Ustar => new UstarTarEntry(TarEntryType.RegularFile, member),
                _ => new V7TarEntry(TarEntryType.V7RegularFile, member),
            };
            entry.DataStream = new MemoryStream(data);
            writer.WriteEntry(entry);
        }

        return path;
    }
}
