// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text;

namespace HiMo.Trainer;

/// <summary><c>tokenize</c>: captions on standard input, ids on standard output.</summary>
internal static class TokenizeCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string?> vocab = VocabOption();
        Option<int> context = new("--context") { Description = "Ids per caption; longer captions are cut. [248]", HelpName = "N", DefaultValueFactory = _ => 248 };
        Command command = new("tokenize", "CLIP's token ids of captions: one caption per line in, one JSON array per line out.") { vocab, context };
        command.Set((parse, cancellation) =>
        {
            int length = parse.GetValue(context);
            if (length < 2)
            {
                throw new UserError($"--context {length}: the start and end tokens alone need 2");
            }

            ClipTokenizer tokenizer = new(ClipVocabulary.Load(Tokenizers.FindVocabulary(parse.GetValue(vocab), checkpointPath: null)));
            using Stream input = Console.OpenStandardInput();
            Run(tokenizer, length, input, parse.InvocationConfiguration.Output, cancellation);
        });
        return command;
    }

    /// <summary>--vocab, for every command that tokenises with CLIP's vocabulary.</summary>
    public static Option<string?> VocabOption() => new("--vocab")
    {
        Description = $"CLIP's vocabulary: bpe_simple_vocab_16e6.txt.gz, vocab.json (with merges.txt), tokenizer.json, or their folder. [{Tokenizers.Variable}, else the checkpoint's folder]",
        HelpName = "FILE",
    };

    /// <summary>One line of ids for each line of input; a line ends at LF alone.</summary>
    internal static void Run(ITokenizer tokenizer, int context, Stream input, TextWriter output, CancellationToken cancellation)
    {
        using StreamReader reader = new(input, new UTF8Encoding(false, throwOnInvalidBytes: true), detectEncodingFromByteOrderMarks: false, bufferSize: 1 << 16);
        StringBuilder line = new();
        char[] buffer = new char[1 << 14];
        long number = 1;
        for (int count = Read(reader, buffer, number); count > 0; count = Read(reader, buffer, number))
        {
            ReadOnlySpan<char> rest = buffer.AsSpan(0, count);
            for (int end = rest.IndexOf('\n'); end >= 0; end = rest.IndexOf('\n'))
            {
                cancellation.ThrowIfCancellationRequested();
                line.Append(rest[..end]);
                Write(tokenizer.Encode(line.ToString(), context), output);
                line.Clear();
                number++;
                rest = rest[(end + 1)..];
            }

            line.Append(rest);
        }

        if (line.Length > 0)
        {
            Write(tokenizer.Encode(line.ToString(), context), output);
        }

        output.Flush();
    }

    private static int Read(StreamReader reader, char[] buffer, long line)
    {
        try
        {
            return reader.Read(buffer, 0, buffer.Length);
        }
        catch (DecoderFallbackException failure)
        {
            throw new UserError($"standard input is not UTF-8 in or after line {line}", failure);
        }
    }

    private static void Write(int[] ids, TextWriter output)
    {
        output.Write('[');
        output.Write(string.Join(',', ids));
        output.Write("]\n");
    }
}
