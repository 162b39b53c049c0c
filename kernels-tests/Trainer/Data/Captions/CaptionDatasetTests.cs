// SPDX-License-Identifier: Apache-2.0
using System.Text;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class CaptionDatasetTests : FolderTests
{
    private const string ShareGpt = """
        [{"id":"000","image":"sam/images/sa_1.jpg","width":3,"conversations":[{"from":"human","value":"<image>\nDescribe."},{"from":"gpt","value":"The image.\n\nA dog."}]},
         {"id":7,"image":"b.png","conversations":[{"from":"human","value":""},{"from":"gpt","value":"caf\u00e9 \"x\""}, {"from":"human","value":"more"}]}]
        """;

    [Test]
    public void ShareGpt4V_is_read()
    {
        CaptionDataset data = CaptionDataset.Load(Save("captions.json", ShareGpt));
        Assert.Multiple(() =>
        {
            Assert.That(data.Count, Is.EqualTo(2));
            Assert.That(data[0], Is.EqualTo(new CaptionRecord(Path.Combine(Folder, "sam/images/sa_1.jpg"), "The image.  A dog.")));
            Assert.That(data[1].Caption, Is.EqualTo("café \"x\""));
            Assert.That(CaptionDataset.Load(Folder).Count, Is.EqualTo(2), "the folder stands for its captions.json");
            Assert.That(CaptionDataset.Load(Folder, "/elsewhere")[1].ImagePath, Is.EqualTo(Path.GetFullPath("/elsewhere/b.png")));
        });
    }

    [Test]
    public void Records_are_streamed()
    {
        string path = Save("captions.json", ShareGpt.TrimEnd(']') + new string(' ', 1 << 20) + "garbage");
        Assert.That(ShareGpt4VReader.Read(path).First().ImagePath, Is.EqualTo("sam/images/sa_1.jpg"), "the first record is there before the file is read to its broken end");
    }

    [TestCase("filepath\ttitle\na.png\tA dog.\nb.png\tA \"cat\".\n")]
    [TestCase("filepath\ttitle\r\na.png\tA dog.\r\nb.png\t\"A \"\"cat\"\".\"")]
    [TestCase("id\ttitle\tfilepath\n1\tA dog.\ta.png\n\n2\t\"A \"\"cat\"\".\"\tb.png\n3\t \tempty.png\n")]
    [TestCase("\ufefffilepath\ttitle\na.png\tA dog.\nb.png\t\"A \"\"cat\"\".\"\n")]
    public void Tables_are_read(string content)
    {
        CaptionDataset data = CaptionDataset.Load(Save("captions.tsv", content));
        Assert.Multiple(() =>
        {
            Assert.That(data.Count, Is.EqualTo(2));
            Assert.That(data[0], Is.EqualTo(new CaptionRecord(Path.Combine(Folder, "a.png"), "A dog.")));
            Assert.That(data[1].Caption, Is.EqualTo("A \"cat\"."));
        });
    }

    [Test]
    public void Quoted_fields_hold_separators_and_newlines()
    {
        CaptionDataset data = CaptionDataset.Load(Save("captions.csv", "filepath,title\n\"a,1.png\",\"One,\ntwo\"\n/abs/b.png,x"));
        Assert.Multiple(() =>
        {
            Assert.That(data[0], Is.EqualTo(new CaptionRecord(Path.Combine(Folder, "a,1.png"), "One, two")));
            Assert.That(data[1].ImagePath, Is.EqualTo("/abs/b.png"));
        });
    }

    [Test]
    public void Blank_captions_are_counted_and_columns_may_have_other_names()
    {
        // open_clip writes tabs into .csv files.
        CaptionDataset data = CaptionDataset.Load(Save("captions.csv", "picture\tcaption, long\na.png\tOne.\nb.png\t \nc.png\tNA\n"), columns: new CaptionColumns("picture", "caption, long"));
        Assert.Multiple(() =>
        {
            Assert.That((data.Count, data.Blank), Is.EqualTo((2, 1)));
            Assert.That(data[1].Caption, Is.EqualTo("NA"), "a word like any other");
            Assert.That((data.First(1).Count, data.First(1)[0].Caption, data.After(1)[0].Caption), Is.EqualTo((1, "One.", "NA")));
            Assert.That(() => CaptionDataset.Load(Path.Combine(Folder, "captions.csv")), Throws.TypeOf<UserError>().With.Message.Contains("--image-column"));
        });
    }

    [Test]
    public void The_order_is_a_function_of_seed_and_epoch()
    {
        StringBuilder table = new("filepath\ttitle\n");
        for (int i = 0; i < 100; i++)
        {
            table.Append($"{i}.png\tnumber {i}\n");
        }

        CaptionDataset data = CaptionDataset.Load(Save("captions.tsv", table.ToString()));
        Assert.Multiple(() =>
        {
            Assert.That(data.Order(3, 1).Order(), Is.EqualTo(Enumerable.Range(0, 100)));
            Assert.That(data.Order(3, 1), Is.EqualTo(data.Order(3, 1)));
            Assert.That(data.Order(3, 2), Is.Not.EqualTo(data.Order(3, 1)));
            Assert.That(data.Order(4, 1), Is.Not.EqualTo(data.Order(3, 1)));
        });
    }

    [TestCase("x.json", "", "is no JSON array")]
    [TestCase("x.json", "{}", "is no JSON array")]
    [TestCase("x.json", "[1]", "is no JSON array")]
    [TestCase("x.json", "[null]", "record 0")]
    [TestCase("x.json", "[]", "holds no caption")]
    [TestCase("x.json", "[{\"id\":\"a\"}]", "record 0 ('a') names no image")]
    [TestCase("x.json", "[{\"image\":\"a.png\",\"conversations\":[{\"value\":\"x\"}]}]", "no second turn")]
    [TestCase("x.json", "[{\"image\":\"a.png\",\"conversations\":[{\"value\":\"x\"},{}]}]", "no second turn")]
    [TestCase("x.json", "[{\"image\":\"a.png\",\"conversations\":\"y\"}]", "is no JSON array")]
    [TestCase("x.json", "[{\"id\":[],\"image\":\"a.png\"}]", "is no JSON array")]
    [TestCase("x.tsv", "", "is empty")]
    [TestCase("x.tsv", "path,title\n", "no column 'filepath'; its first line names 'path', 'title' (separated by ',')")]
    [TestCase("x.tsv", "filepath\tcaption\n", "no column 'title'")]
    [TestCase("x.tsv", "filepath\ttitle\n", "holds no caption")]
    [TestCase("x.tsv", "filepath\ttitle\na.png\n", "line 2 has 1 fields")]
    [TestCase("x.tsv", "filepath\ttitle\na.png\tok\nb.png\t\"open\n\n", "line 3 is never closed")]
    [TestCase("x.txt", "hello", "captions are read from")]
    public void Bad_files_are_refused(string name, string content, string reason) =>
        Assert.That(() => CaptionDataset.Load(Save(name, content)), Throws.TypeOf<UserError>().With.Message.Contains(reason).And.Message.Contains(name));

    [Test]
    public void Every_truncation_is_refused()
    {
        for (int length = 0; length < ShareGpt.Length - 1; length++)
        {
            string path = Save("cut.json", ShareGpt[..length]);
            Assert.That(() => CaptionDataset.Load(path), Throws.TypeOf<UserError>(), $"cut to {length} characters");
        }
    }

    [Test]
    public void Fields_without_end_and_bytes_that_are_no_text_are_refused()
    {
        string endless = Save("endless.tsv", "filepath\ttitle\na\t\"" + new string('x', 2 << 20));
        string binary = Path.Combine(Folder, "binary.tsv");
        File.WriteAllBytes(binary, [.. "filepath\ttitle\n"u8, 0xC3, 0x28]);
        Assert.Multiple(() =>
        {
            Assert.That(() => CaptionDataset.Load(endless), Throws.TypeOf<UserError>().With.Message.Contains("longer than"));
            Assert.That(() => CaptionDataset.Load(binary), Throws.TypeOf<UserError>().With.Message.Contains("not UTF-8"));
            Assert.That(() => CaptionDataset.Load(Path.Combine(Folder, "none.json")), Throws.TypeOf<UserError>().With.Message.Contains("cannot be read"));
            Assert.That(() => CaptionDataset.Load(Folder), Throws.TypeOf<UserError>().With.Message.Contains("captions.json"));
        });
    }

    private string Save(string name, string content)
    {
        string path = Path.Combine(Folder, name);
        File.WriteAllText(path, content);
        return path;
    }
}
