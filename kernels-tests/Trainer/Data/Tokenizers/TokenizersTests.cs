// SPDX-License-Identifier: Apache-2.0
using System.IO.Compression;
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Which vocabulary is taken, and which files are refused.</summary>
[NonParallelizable]
public sealed class TokenizersTests
{
    private static readonly Dictionary<string, string> s_noMetadata = [];

    private string _folder = "";
    private string? _variable;

    [SetUp]
    public void CreateFolder()
    {
        _folder = Directory.CreateTempSubdirectory("himo-vocab-").FullName;
        _variable = Environment.GetEnvironmentVariable(Tokenizers.Variable);
        Environment.SetEnvironmentVariable(Tokenizers.Variable, null);
    }

    [TearDown]
    public void DeleteFolder()
    {
        Environment.SetEnvironmentVariable(Tokenizers.Variable, _variable);
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public void Words_of_the_checkpoint_come_first()
    {
        Dictionary<string, string> metadata = new() { [WordTokenizer.MetadataKey] = "<pad>\na\n<sot>\n<eot>" };
        Assert.Multiple(() =>
        {
            Assert.That(Tokenizers.For(metadata, null, null).Encode("a", 4), Is.EqualTo(new[] { 2, 1, 3, 0 }));
            Assert.That(() => Tokenizers.For(metadata, "x.gz", null), Throws.TypeOf<UserError>().With.Message.Contains("leave --vocab out"));
        });
    }

    [Test]
    public void Option_then_variable_then_folder()
    {
        string option = Save("option", "vocab.json");
        string variable = Save("variable", "tokenizer.json");
        string beside = Save("beside", "bpe_simple_vocab_16e6.txt.gz");
        string checkpoint = Path.Combine(_folder, "beside", "model.safetensors");
        Assert.That(Tokenizers.FindVocabulary(null, checkpoint), Is.EqualTo(beside));
        Assert.That(Tokenizers.FindVocabulary(null, Path.Combine(_folder, "beside")), Is.EqualTo(beside), "a checkpoint may be a folder");
        Environment.SetEnvironmentVariable(Tokenizers.Variable, Path.Combine(_folder, "variable"));
        Assert.That(Tokenizers.FindVocabulary(null, checkpoint), Is.EqualTo(variable));
        Assert.That(Tokenizers.FindVocabulary(option, checkpoint), Is.EqualTo(option));
    }

    [Test]
    public void A_missing_vocabulary_names_the_three_places() => Assert.That(
        () => Tokenizers.For(s_noMetadata, null, Path.Combine(_folder, "model.safetensors")),
        Throws.TypeOf<UserError>().With.Message.Contains("--vocab").And.Message.Contains(Tokenizers.Variable).And.Message.Contains(_folder));

    [Test]
    public void A_named_place_without_vocabulary_is_an_error_even_if_the_folder_has_one()
    {
        Save("beside", "vocab.json");
        string checkpoint = Path.Combine(_folder, "beside", "model.safetensors");
        Directory.CreateDirectory(Path.Combine(_folder, "empty"));
        Assert.That(() => Tokenizers.FindVocabulary("/nowhere", checkpoint), Throws.TypeOf<UserError>().With.Message.Contains("--vocab /nowhere"));
        Assert.That(() => Tokenizers.FindVocabulary(Path.Combine(_folder, "empty"), checkpoint), Throws.TypeOf<UserError>().With.Message.Contains("holds none of"));
        Environment.SetEnvironmentVariable(Tokenizers.Variable, "/nowhere");
        Assert.That(() => Tokenizers.FindVocabulary(null, checkpoint), Throws.TypeOf<UserError>().With.Message.Contains("HIMO_VOCAB /nowhere"));
    }

    [TestCase(true)]
    [TestCase(false)]
    public void Hugging_Face_files_give_the_same_ids(bool single)
    {
        string original = TestData.Get("data", "bpe_simple_vocab_16e6.txt.gz");
        ClipVocabulary vocabulary = ClipVocabulary.Load(original);
        if (single)
        {
            File.WriteAllText(Path.Combine(_folder, "tokenizer.json"), JsonSerializer.Serialize(new
            {
                added_tokens = new[] { new { id = vocabulary.Start, content = "<|startoftext|>" }, new { id = vocabulary.End, content = "<|endoftext|>" } },
                model = new
                {
                    type = "BPE",
                    vocab = vocabulary.Ids.Where(token => token.Value < vocabulary.Start).ToDictionary(),
                    merges = vocabulary.Merges.Select((merge, i) => i % 2 == 0 ? (object)merge : merge.Split(' ')), // both forms occur
                },
            }));
        }
        else
        {
            File.WriteAllText(Path.Combine(_folder, "vocab.json"), JsonSerializer.Serialize(vocabulary.Ids));
            File.WriteAllLines(Path.Combine(_folder, "merges.txt"), ["#version: 0.2", .. vocabulary.Merges, ""]);
        }

        ITokenizer converted = Tokenizers.For(s_noMetadata, _folder, null);
        ClipTokenizer tokenizer = new(vocabulary);
        string[] texts = ["a photo of a cat", "Hello, World! it's 2024", "na\u00efve caf\u00e9 \U0001F600", "<|endoftext|> x"];
        Assert.That(texts.Select(text => converted.Encode(text, 20)), Is.EqualTo(texts.Select(text => tokenizer.Encode(text, 20))));
    }

    [TestCase("x.gz", "hello", "no readable vocabulary")]
    [TestCase("x.txt", "hello", "a vocabulary is")]
    [TestCase("vocab.json", "", "no readable vocabulary")]
    [TestCase("vocab.json", "[1]", "no readable vocabulary")]
    [TestCase("vocab.json", "{\"a\":\"b\"}", "no readable vocabulary")]
    [TestCase("vocab.json", "{\"a\":1}", "merges.txt")]
    [TestCase("tokenizer.json", "{\"a\":1}", "no model with vocab and merges")]
    [TestCase("tokenizer.json", "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", "lacks the token <|startoftext|>")]
    [TestCase("tokenizer.json", "{\"model\":{\"vocab\":{\"<|startoftext|>\":2,\"<|endoftext|>\":0},\"merges\":[]}}", "not the highest")]
    [TestCase("tokenizer.json", "{\"model\":{\"vocab\":{\"<|startoftext|>\":0,\"<|endoftext|>\":1},\"merges\":[\"a b\"]}}", "'a b' joins no two tokens")]
    [TestCase("tokenizer.json", "{\"model\":{\"vocab\":[],\"merges\":[]}}", "no readable vocabulary")]
    [TestCase("tokenizer.json", "{\"model\":3}", "no readable vocabulary")]
    public void Foreign_files_are_refused(string name, string content, string reason)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllText(path, content);
        Assert.That(() => ClipVocabulary.Load(path), Throws.TypeOf<UserError>().With.Message.Contains(reason));
    }

    [TestCase("no version\n", "'#version'")]
    [TestCase("#version: 0.2\na b\nabc\n", "line 3")]
    [TestCase("#version: 0.2\na b\n", "truncated")]
    public void Damaged_merges_are_refused(string content, string reason)
    {
        string path = Path.Combine(_folder, "x.gz");
        using (GZipStream packed = new(File.Create(path), CompressionLevel.Fastest))
        {
            packed.Write(System.Text.Encoding.UTF8.GetBytes(content));
        }

        Assert.That(() => ClipVocabulary.Load(path), Throws.TypeOf<UserError>().With.Message.Contains(reason));
    }

    [Test]
    public void A_compressed_flood_is_refused_before_it_fills_memory()
    {
        string path = Path.Combine(_folder, "bomb.gz");
        using (GZipStream packed = new(File.Create(path), CompressionLevel.Fastest))
        {
            byte[] block = new byte[1 << 20];
            Array.Fill(block, (byte)'x');
            for (int i = 0; i < 64; i++)
            {
                packed.Write(block);
            }
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => ClipVocabulary.Load(path), Throws.TypeOf<UserError>().With.Message.Contains("longer than"));
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1 << 20));
    }

    [Test]
    public void A_truncated_original_is_refused()
    {
        byte[] whole = File.ReadAllBytes(TestData.Get("data", "bpe_simple_vocab_16e6.txt.gz"));
        string path = Path.Combine(_folder, "cut.gz");
        Assert.Multiple(() =>
        {
            foreach (int length in new[] { 0, 5, 100, 10_000, 100_000 })
            {
                File.WriteAllBytes(path, whole[..length]);
                Assert.That(() => ClipVocabulary.Load(path), Throws.TypeOf<UserError>(), $"{length} bytes");
            }
        });
    }

    private string Save(string folder, string name)
    {
        string path = Path.Combine(Directory.CreateDirectory(Path.Combine(_folder, folder)).FullName, name);
        File.WriteAllText(path, "");
        return path;
    }
}
