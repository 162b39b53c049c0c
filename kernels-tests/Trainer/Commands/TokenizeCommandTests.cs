// SPDX-License-Identifier: Apache-2.0
using System.Text;
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class TokenizeCommandTests
{
    private static readonly WordTokenizer s_words = new(WordTokenizer.Layout(["a", "b"])); // ids 1 and 2, start 3, end 4

    [TestCase("a b\n\nb", "[3,1,2,4,0]\n[3,4,0,0,0]\n[3,2,4,0,0]\n")]
    [TestCase("a\n", "[3,1,4,0,0]\n")]
    [TestCase("\n\n", "[3,4,0,0,0]\n[3,4,0,0,0]\n")]
    [TestCase("", "")]
    [TestCase("a\r\nb", "[3,1,4,0,0]\n[3,2,4,0,0]\n")]
    [TestCase("a\rb\u2028a", "[3,1,2,1,4]\n")]
    public void Every_line_gives_one_array(string input, string output) => Assert.That(Run(Encoding.UTF8.GetBytes(input)), Is.EqualTo(output));

    [Test]
    public void Lines_longer_than_any_buffer_are_whole()
    {
        string output = Run(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("b ", 50_000)) + "\na"));
        Assert.That(output, Is.EqualTo("[3,2,2,2,4]\n[3,1,4,0,0]\n"));
    }

    [Test]
    public void Bytes_that_are_no_text_are_refused() =>
        Assert.That(() => Run([(byte)'a', (byte)'\n', 0xFF]), Throws.TypeOf<UserError>().With.Message.Contains("not UTF-8"));

    [Test]
    public void The_program_gives_the_golden_ids()
    {
        string vocab = TestData.Get("data", "bpe_simple_vocab_16e6.txt.gz");
        using JsonDocument strings = JsonDocument.Parse(File.ReadAllText(TestData.Get("golden", "tokenizer", "strings.json")));
        string[] texts = [.. strings.RootElement.EnumerateArray().Select(entry => entry.GetProperty("text").GetString()!)];
        int[] lines = [.. Enumerable.Range(0, texts.Length).Where(i => !texts[i].Contains('\n'))];
        NpyArray<long> golden = NpyFile.Read<long>(TestData.Get("golden", "tokenizer", "tokens_77.npy"));

        ProgramResult result = HimoProgram.Run(["tokenize", "--vocab", vocab, "--context", "77"], string.Concat(lines.Select(i => texts[i] + "\n")));

        long[][] ids = [.. result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonSerializer.Deserialize<long[]>(line)!)];
        Assert.Multiple(() =>
        {
            Assert.That(result.ExitCode, Is.Zero, result.Error);
            Assert.That(result.Error, Is.Empty);
            Assert.That(ids, Is.EqualTo(lines.Select(i => golden.Elements[(i * 77)..((i + 1) * 77)])));
        });
    }

    [TestCase("--context", "1", "--context 1")]
    [TestCase("--vocab", "/nowhere/x.gz", "--vocab /nowhere/x.gz")]
    public void Bad_options_are_named(string option, string value, string reason)
    {
        StringWriter error = new();
        int code = CommandRunner.Run(["tokenize", option, value], new StringWriter(), error);
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(error.ToString(), Does.Contain(reason));
        });
    }

    private static string Run(byte[] input)
    {
        StringWriter output = new();
        TokenizeCommand.Run(s_words, 5, new MemoryStream(input), output, CancellationToken.None);
        return output.ToString();
    }
}
