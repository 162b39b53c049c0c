// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Ids against those of the authors' tokenizer, without ftfy.</summary>
public sealed class ClipTokenizerTests
{
    private const string VocabularyName = "bpe_simple_vocab_16e6.txt.gz";

    private static readonly Lazy<ClipTokenizer> s_tokenizer = new(() => new ClipTokenizer(ClipVocabulary.Load(TestData.Get("data", VocabularyName))));

    [TestCase(248)]
    [TestCase(77)]
    public void Golden_ids_in_a_context(int context)
    {
        string[] texts = GoldenTexts();
        long[] expected = NpyFile.Read<long>(TestData.Get("golden", "tokenizer", $"tokens_{context}.npy")).Elements;
        long[] actual = [.. texts.SelectMany(text => s_tokenizer.Value.Encode(text, context)).Select(id => (long)id)];
        Assert.That(actual, Is.EqualTo(expected));
    }

    [Test]
    public void Golden_ids_of_whole_texts()
    {
        string[] texts = GoldenTexts();
        int[][] actual = [.. texts.Select(s_tokenizer.Value.EncodeWhole)];
        Assert.Multiple(() =>
        {
            Assert.That(actual.Select(ids => (long)ids.Length), Is.EqualTo(NpyFile.Read<long>(TestData.Get("golden", "tokenizer", "full_lengths.npy")).Elements));
            Assert.That(actual.SelectMany(ids => ids).Select(id => (long)id), Is.EqualTo(NpyFile.Read<long>(TestData.Get("golden", "tokenizer", "full_ids.npy")).Elements));
            Assert.That(texts.Select(s_tokenizer.Value.Count), Is.EqualTo(actual.Select(ids => ids.Length)));
        });
    }

    [Test]
    public void The_encoder_reads_where_the_authors_read()
    {
        long[] expected = NpyFile.Read<long>(TestData.Get("golden", "tokenizer", "eot_index_248.npy")).Elements;
        Assert.That(GoldenTexts().Select(text => s_tokenizer.Value.Encode(text, 248)).Select(ids => (long)Array.IndexOf(ids, ids.Max())), Is.EqualTo(expected));
    }

    [TestCase("a photo of a cat", new[] { 320, 1125, 539, 320, 2368 })]
    [TestCase("A corgi wearing sunglasses runs on the beach.", new[] { 320, 31320, 3309, 12906, 5586, 525, 518, 2117, 269 })]
    [TestCase("Hello, World! it's 2024", new[] { 3306, 267, 1002, 256, 585, 568, 273, 271, 273, 275 })]
    [TestCase("na\u00efve caf\u00e9", new[] { 1097, 35689, 563, 15304 })]
    [TestCase("\U0001D400bc", new[] { 15889, 222, 2162 })]
    [TestCase("x<|endoftext|>y", new[] { 343, 49407, 344 })]
    [TestCase("\u0130", new[] { 328, 16384 })]
    [TestCase("", new int[0])]
    public void Published_vectors(string text, int[] ids) => Assert.That(s_tokenizer.Value.EncodeWhole(text)[1..^1], Is.EqualTo(ids));

    [TestCaseSource(nameof(PythonCases))]
    public void Pieces_and_cleaning_as_in_Python(string text, int[] ids) => Assert.That(s_tokenizer.Value.EncodeWhole(text)[1..^1], Is.EqualTo(ids));

    /// <summary>Ids from Python's regex, html and str modules with the same merges, for what the golden strings leave out.</summary>
    private static IEnumerable<TestCaseData> PythonCases()
    {
        yield return new TestCaseData("!<|endoftext|>", new[] { 0, 27, 347, 40786, 4160, 91, 285 });
        yield return new TestCaseData("a\u0345b!\u0345", new[] { 320, 321, 256 });
        yield return new TestCaseData("\u00aa\u03a3.", new[] { 126, 103, 139, 480, 269 });
        yield return new TestCaseData("<|\u017ftartoftext|>", new[] { 27, 91, 129, 123, 2002, 6659, 18169, 91, 285 });
        yield return new TestCaseData("\U0001d7d8\U0001d7d9 x\u0661", new[] { 6874, 253, 502, 6874, 253, 503, 343, 149, 350 });
        yield return new TestCaseData("\u0391\u03a3\u0301. \u03a3", new[] { 138, 109, 139, 480, 136, 223, 269, 139, 481 });
        yield return new TestCaseData("&NotEqualTilde;&notit; &#128; &#x110000; &#1;", new[] { 22684, 224, 136, 116, 126, 361, 585, 282, 6309, 39802 });
        yield return new TestCaseData("'\u017fo'LL", new[] { 6, 129, 379, 334, 1342 });
        yield return new TestCaseData("\u001cabc\u001f", new[] { 5334 });
        yield return new TestCaseData("&amp;amp;lt;b", new[] { 261, 3333, 282, 321 });
        yield return new TestCaseData("\u0391\u03a3'\u0391", new[] { 138, 109, 139, 481, 262, 138, 365 });
    }

    [Test]
    public void Long_words_and_texts_take_linear_time()
    {
        string word = string.Concat(Enumerable.Repeat("abcdefghij", 3000));
        int[] ids = s_tokenizer.Value.Encode(word, 77);
        Assert.That(ids[^1], Is.EqualTo(49407));
    }

    private static string[] GoldenTexts()
    {
        using JsonDocument strings = JsonDocument.Parse(File.ReadAllText(TestData.Get("golden", "tokenizer", "strings.json")));
        return [.. strings.RootElement.EnumerateArray().Select(entry => entry.GetProperty("text").GetString()!)];
    }
}
