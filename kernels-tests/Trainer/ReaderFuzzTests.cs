// SPDX-License-Identifier: Apache-2.0
using System.Formats.Tar;
using System.IO.Compression;
using System.Text;
using HiMo.Trainer;
using NUnit.Framework;
using SkiaSharp;

namespace HiMo.Kernels.Tests;

/// <summary>Every reader of data, vocabularies, images and results on mutated files; those of checkpoints are in CheckpointFuzzTests.</summary>
public sealed class ReaderFuzzTests : FolderTests
{
    private const string Special = "\"<|startoftext|>\":3,\"<|endoftext|>\":4";
    private const long LargestImage = 4 * ImageFile.MaxPixels;

    [Test]
    public void Npy([Values("f4", "i8")] string type)
    {
        string path = Path.Combine(Folder, "seed.npy");
        if (type == "f4")
        {
            NpyFile.Write<float>(path, new float[6], 2, 3);
            Fuzzing.Repeat(File.ReadAllBytes(path), InFile("x.npy", file => NpyFile.Read<float>(file)));
        }
        else
        {
            NpyFile.Write<long>(path, new long[6], 6);
            Fuzzing.Repeat(File.ReadAllBytes(path), InFile("x.npy", file => NpyFile.Read<long>(file)));
        }
    }

    [Test]
    public void Table([Values('\t', ',')] char separator) => Text(
        $"filepath{separator}title\na.png{separator}A dog.\nb.png{separator}\"A \"\"cat\"\"{separator}\nblack\"\n", separator == ',' ? "x.csv" : "x.tsv", path => CaptionDataset.Load(path));

    [Test]
    public void ShareGpt4V() => Text(
        """[{"id":"000","image":"sam/1.jpg","conversations":[{"from":"human","value":"<image>"},{"from":"gpt","value":"The caf\u00e9.\n\nA dog."}]},{"id":7,"image":"b.png","conversations":[{"value":""},{"value":"x"}]}]""",
        "x.json", path => CaptionDataset.Load(path));

    [Test]
    public void Growing_captions() => Text("""{"img_path":"a.jpg","caption":["A dog.","A dog. It runs."],"raw_caption":"x"}""" + "\n" + """{"img_path":"b.jpg","caption":["caf\u00e9"]}""" + "\n", "x.jsonl", path => GrowingCaptions.Load(path));

    [Test]
    public void Docci() => Text("""{"example_id":"test_0","split":"test","image_file":"a.jpg","description":" A caf\u00e9. "}""" + "\n" + """{"split":"train"}""" + "\n", "test_set.jsonl", path => RetrievalSets.Load(Protocol.Docci, path, null));

    [Test]
    public void Coco() => Text(
        $$"""{"images":[{"id":139,"file_name":"a.jpg"}],"annotations":[{{string.Join(',', Enumerable.Range(0, 5).Select(i => $$"""{"image_id":139,"id":{{i}},"caption":"caf\u00e9 {{i}}"}"""))}}]}""",
        "x.json", path => RetrievalSets.Load(Protocol.Coco, path, null));

    [Test]
    public void Karpathy() => Text(
        """{"images":[{"filepath":"val2014","filename":"a.jpg","split":"test","sentences":[{"raw":"caf\u00e9"},{"raw":"b"},{"raw":"c"},{"raw":"d"},{"raw":"e"}]},{"split":"train"}]}""",
        "x.json", path => RetrievalSets.Load(Protocol.Karpathy, path, null));

    [Test]
    public void Flickr30k() => Text(string.Concat(Enumerable.Range(0, 10).Select(i => $"{i / 5}.jpg#{i % 5}\tcaption {i}\n")), "x.token", path => RetrievalSets.Load(Protocol.Flickr30k, path, null));

    [Test]
    public void Cola() => Text("""[["https://a.b/1.jpg","caf\u00e9 one","https://a.b/2.jpg","two"],["3.jpg","x","4.jpg","y"]]""", "x.json", path => ColaPairs.Load(path, null));

    [Test]
    public void Class_names()
    {
        foreach (string name in new[] { "n01", "n02" })
        {
            File.WriteAllText(Path.Combine(Directory.CreateDirectory(Path.Combine(Folder, "classes", name)).FullName, "a.png"), "");
        }

        Text("n01 tench, fish\nn02\tgoldfish\n", "names.txt", path => ImageFolder.Load(Path.Combine(Folder, "classes"), path));
    }

    [Test]
    public void Data_description() => Text("""{"kind":"scenes","generator":1,"seed":2,"count":3,"evaluation_count":4,"image_size":72,"context":80,"words":["a","b"],"filler":[["x"],["y","z"]]}""", DatasetDescription.FileName, path => DatasetDescription.Read(Path.GetDirectoryName(path)!)?.FillerSentences);

    [Test]
    public void Tokenizer_json() => Text(
        $$$"""{"added_tokens":[{"id":4,"content":"<|startoftext|>"},{"id":5,"content":"<|endoftext|>"}],"model":{"type":"BPE","vocab":{"a":0,"b</w>":1,"ab</w>":2,"aa":3},"merges":["a b</w>",["a","a"]]}}""", "tokenizer.json", LoadAndUse);

    [Test]
    public void Vocab_json()
    {
        File.WriteAllText(Path.Combine(Folder, "merges.txt"), "#version: 0.2\na b</w>\n");
        Text($$"""{"a":0,"b</w>":1,"ab</w>":2,{{Special}}}""", "vocab.json", LoadAndUse);
    }

    [Test]
    public void Merges()
    {
        string vocabulary = Path.Combine(Folder, "vocab.json");
        File.WriteAllText(vocabulary, $$"""{"a":0,"b</w>":1,"ab</w>":2,{{Special}}}""");
        Text("#version: 0.2\na b</w>\n", "merges.txt", _ => LoadAndUse(vocabulary));
    }

    [Test]
    public void OpenAi_vocabulary()
    {
        // 162 letters, alone and at the end of a word, make 52,488 different pairs of letters.
        string[] letters = [.. Enumerable.Range('!', 94).Concat(Enumerable.Range(0x100, 68)).Select(code => ((char)code).ToString())];
        IEnumerable<string> merges = letters.SelectMany(left => letters.SelectMany(right => new[] { $"{left} {right}\n", $"{left} {right}</w>\n" })).Take(48894);
        using MemoryStream packed = new();
        using (GZipStream zip = new(packed, CompressionLevel.SmallestSize, leaveOpen: true))
        {
            zip.Write(Encoding.UTF8.GetBytes("\"#version: 0.2\n" + string.Concat(merges)));
        }

        // A line holds 1000 characters at most, and there are 48,894 of them, whatever the file inflates to. Reading that many takes 50 ms, so the long form has fewer.
        Fuzzing.Repeat(packed.ToArray(), InFile("x.gz", path => ClipVocabulary.Load(path)), allowed: 200 << 20, shortCount: 40, longCount: 4_000);
    }

    [TestCase("config.json", """{"model_type":"clip","text_config":{"hidden_act":"quick_gelu","num_attention_heads":2},"vision_config":{"hidden_act":"quick_gelu","num_attention_heads":1}}""")]
    [TestCase("open_clip_config.json", """{"model_cfg":{"embed_dim":16,"quick_gelu":true,"vision_cfg":{"layers":1,"width":64},"text_cfg":{"heads":2,"width":128}}}""")]
    public void Model_configuration(string name, string content)
    {
        CheckpointLayout layout = name == "config.json" ? CheckpointLayout.HuggingFace : CheckpointLayout.OpenAi;
        Text(content, name, path => ModelSettings.Find(Path.Combine(Path.GetDirectoryName(path)!, "model.safetensors"), layout, new Dictionary<string, string>()));
    }

    [Test]
    public void Tar()
    {
        using MemoryStream stream = new();
        using (TarWriter writer = new(stream, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach ((string name, string content) in new[] { ("0.png", "no image"), ("0.txt", "one"), ("1.json", """{"caption":"caf\u00e9"}"""), ("1.jpg", "x") })
            {
                writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(Encoding.UTF8.GetBytes(content)) });
            }
        }

        // A header may announce 1 MiB of text, which is read as bytes and as characters.
        Fuzzing.Repeat(stream.ToArray(), InFile("x.tar", path => CaptionDataset.Load(path)), allowed: 8 << 20, asText: true);
    }

    [Test]
    public void Image([Values] SKEncodedImageFormatChoice format)
    {
        using SKBitmap bitmap = new(24, 16);
        for (int i = 0; i < 24 * 16; i++)
        {
            bitmap.SetPixel(i % 24, i / 24, new SKColor((byte)(i * 7), (byte)(i * 13), (byte)(i * 29)));
        }

        using SKData data = bitmap.Encode(format switch { SKEncodedImageFormatChoice.Png => SKEncodedImageFormat.Png, SKEncodedImageFormatChoice.Jpeg => SKEncodedImageFormat.Jpeg, _ => SKEncodedImageFormat.Webp }, 80);
        // A header of 30 bytes may announce 25 million pixels of 4 bytes.
        Fuzzing.Repeat(data.ToArray(), bytes => _ = PillowResize.ResizeAndCrop(ImageFile.Decode(bytes, "fuzz", rgbFirst: false), 8, "fuzz"), allowed: LargestImage + (LargestImage / 4));
    }

    [Test]
    public void Evaluation_result() => Text("""{"checkpoint":"a.pt","protocol":"urban1k","image_to_text_R@1":0.5,"text_to_image_R@1":0.25,"images":100,"texts":100}""", "x.json", path => ComparisonTable.From([(path, ComparisonTable.Read(path))]).Select(table => table.ToMarkdown()).ToList());

    [Test]
    public void Feature_index() => Text("""{"name":"a.jpg"}""" + "\n" + """{"name":"caf\u00e9.jpg","skipped":"why"}""" + "\n", FeatureFolder.IndexFile, path => FeatureFolder.ReadIndex(path).ToList());

    [Test]
    public void Run_log() => Text(
        """{"kind":"step","step":1,"loss":2.5,"global":1.25,"m":3,"relative_gap":"Infinity"}""" + "\n" + """{"kind":"eval","step":1,"himo":{"himo@K":0.5}}""" + "\n", "log.jsonl", path => RunFolder.Read(Path.GetDirectoryName(path)!).StepValues("loss"));

    /// <summary>The three kinds that are read; SkiaSharp's own list has many more.</summary>
    public enum SKEncodedImageFormatChoice
    {
        Png,
        Jpeg,
        Webp,
    }

    private static object LoadAndUse(string path) => new ClipTokenizer(ClipVocabulary.Load(path)).Encode("ab b", 5);

    private void Text(string seed, string name, Func<string, object?> read) => Fuzzing.Repeat(Encoding.UTF8.GetBytes(seed), InFile(name, read), allowed: 4 << 20, asText: true);

    private Action<byte[]> InFile(string name, Func<string, object?> read)
    {
        string path = Path.Combine(Folder, name);
        return bytes =>
        {
            File.WriteAllBytes(path, bytes);
            _ = read(path);
        };
    }
}
