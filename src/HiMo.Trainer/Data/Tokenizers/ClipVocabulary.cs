// SPDX-License-Identifier: Apache-2.0
using System.IO.Compression;
using System.Text;
using System.Text.Json;

namespace HiMo.Trainer;

/// <summary>
/// Tokens with their ids, and the merges in order of rank. Read from OpenAI's bpe_simple_vocab_16e6.txt.gz, from Hugging Face's vocab.json
/// with merges.txt beside it, or from a tokenizer.json.
/// </summary>
internal sealed class ClipVocabulary
{
    /// <summary>Ends the last symbol of each piece.</summary>
    public const string EndOfWord = "</w>";

    private const int OpenAiMerges = 49152 - 256 - 2;
    private const int MaxLine = 1000;
    private const long MaxJson = 64 << 20;

    private ClipVocabulary(string path, Dictionary<string, int> ids, List<string> merges)
    {
        Ids = ids;
        Merges = merges;
        if (ids.Values.Min() < 0 || ids.Values.Distinct().Count() < ids.Count)
        {
            throw new UserError($"{path}: gives two tokens the same id, or a negative one");
        }

        Start = Special(ClipWords.StartText);
        End = Special(ClipWords.EndText);
        if (End != ids.Values.Max())
        {
            throw new UserError($"{path}: the id {End} of {ClipWords.EndText} is not the highest, where CLIP's text encoder reads its result");
        }

        int Special(string token) => ids.TryGetValue(token, out int id) ? id : throw new UserError($"{path}: lacks the token {token}; it is no vocabulary of CLIP's");
    }

    /// <summary>The files looked for in a folder, the preferred one first.</summary>
    public static IReadOnlyList<string> FileNames { get; } = ["bpe_simple_vocab_16e6.txt.gz", "vocab.json", "tokenizer.json"];

    /// <summary>Every token's id.</summary>
    public Dictionary<string, int> Ids { get; }

    /// <summary>Pairs as "left right", the first to be merged first.</summary>
    public List<string> Merges { get; }

    /// <summary>Id of the start token.</summary>
    public int Start { get; }

    /// <summary>Id of the end token, the highest.</summary>
    public int End { get; }

    /// <summary>The first of <see cref="FileNames"/> in a folder, or null.</summary>
    /// <param name="folder">An existing folder.</param>
    public static string? FindIn(string folder) => FileNames.Select(name => Path.Combine(folder, name)).FirstOrDefault(File.Exists);

    /// <summary>Reads a vocabulary, told apart by its name.</summary>
    /// <param name="path">A .gz, vocab.json or tokenizer.json.</param>
    /// <exception cref="UserError">The file is missing, damaged or something else.</exception>
    public static ClipVocabulary Load(string path)
    {
        try
        {
            return Path.GetFileName(path) switch
            {
                { } name when name.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) => ReadOpenAi(path),
                "tokenizer.json" => ReadTokenizerJson(path),
                { } name when name.EndsWith(".json", StringComparison.OrdinalIgnoreCase) => ReadVocabJson(path),
                _ => throw new UserError($"{path}: a vocabulary is a .gz of OpenAI's, a vocab.json with merges.txt beside it, or a tokenizer.json"),
            };
        }
        catch (Exception failure) when (failure is InvalidDataException or IOException or JsonException or DecoderFallbackException or InvalidOperationException or KeyNotFoundException or ArgumentException or FormatException)
        {
            throw new UserError($"{path}: is no readable vocabulary ({failure.Message})", failure);
        }
    }

    private static ClipVocabulary ReadOpenAi(string path)
    {
        using GZipStream unpacked = new(TextFile.Open(path), CompressionMode.Decompress);
        List<string> merges = ReadMerges(unpacked, path, OpenAiMerges);
        if (merges.Count < OpenAiMerges)
        {
            throw new UserError($"{path}: ends after {merges.Count} of {OpenAiMerges} merges; it is truncated");
        }

        List<string> tokens = ByteAlphabet();
        tokens.AddRange(tokens.ConvertAll(character => character + EndOfWord));
        tokens.AddRange(merges.Select(merge => merge.Replace(" ", "")));
        tokens.AddRange([ClipWords.StartText, ClipWords.EndText]);
        Dictionary<string, int> ids = new(tokens.Count);
        for (int i = 0; i < tokens.Count; i++)
        {
            ids[tokens[i]] = i;
        }

        return new ClipVocabulary(path, ids, CheckMerges(merges, ids, path));
    }

    private static ClipVocabulary ReadVocabJson(string path)
    {
        string mergesPath = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, "merges.txt");
        using FileStream stream = OpenJson(path);
        Dictionary<string, int> ids = JsonSerializer.Deserialize<Dictionary<string, int>>(stream) ?? throw new JsonException("it holds null");
        using FileStream mergesStream = TextFile.Open(mergesPath);
        return new ClipVocabulary(path, ids, CheckMerges(ReadMerges(mergesStream, mergesPath, int.MaxValue), ids, mergesPath));
    }

    private static ClipVocabulary ReadTokenizerJson(string path)
    {
        using FileStream stream = OpenJson(path);
        using JsonDocument document = JsonText.Document(stream);
        if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty("model", out JsonElement model)
            || !model.TryGetProperty("vocab", out JsonElement vocabulary) || !model.TryGetProperty("merges", out JsonElement pairs))
        {
            throw new UserError($"{path}: has no model with vocab and merges");
        }

        Dictionary<string, int> ids = vocabulary.EnumerateObject().ToDictionary(token => token.Name, token => token.Value.GetInt32());
        if (document.RootElement.TryGetProperty("added_tokens", out JsonElement added))
        {
            foreach (JsonElement token in added.EnumerateArray())
            {
                ids[token.GetProperty("content").GetString()!] = token.GetProperty("id").GetInt32();
            }
        }

        List<string> merges = [.. pairs.EnumerateArray().Select(pair => pair.ValueKind == JsonValueKind.Array ? string.Join(' ', pair.EnumerateArray().Select(token => token.GetString())) : pair.GetString()!)];
        return new ClipVocabulary(path, ids, CheckMerges(merges, ids, path));
    }

    /// <summary>A merge of what is no token, or into what is none, would give ids that do not exist; the same merge twice has no rank.</summary>
    private static List<string> CheckMerges(List<string> merges, Dictionary<string, int> ids, string path)
    {
        HashSet<string> seen = [];
        string? bad = merges.Find(merge => merge.Split(' ') is not [string left, string right] || !ids.ContainsKey(left) || !ids.ContainsKey(right) || !ids.ContainsKey(left + right) || !seen.Add(merge));
        return bad is null ? merges : throw new UserError($"{path}: the merge '{(bad.Length <= 60 ? bad : bad[..60])}' joins no two tokens to a third, or stands there twice");
    }

    private static FileStream OpenJson(string path)
    {
        FileStream stream = TextFile.Open(path);
        if (stream.Length > MaxJson)
        {
            stream.Dispose();
            throw new UserError($"{path}: {stream.Length} bytes are not plausible for a vocabulary (at most {MaxJson})");
        }

        return stream;
    }

    private static List<string> ReadMerges(Stream stream, string path, int limit)
    {
        using StreamReader reader = new(stream, new UTF8Encoding(false, throwOnInvalidBytes: true));
        string? header = ReadLine(reader, path);
        if (header?.Contains("#version", StringComparison.Ordinal) != true)
        {
            throw new UserError($"{path}: its first line is not the '#version' of a merge file");
        }

        List<string> merges = [];
        while (merges.Count < limit && ReadLine(reader, path) is { Length: > 0 } merge)
        {
            if (merge.Count(character => character == ' ') != 1)
            {
                throw new UserError($"{path}: line {merges.Count + 2} is not two symbols with a space between them");
            }

            merges.Add(merge);
        }

        return merges;
    }

    /// <summary>A line that ends at \n alone, and is refused before it fills memory.</summary>
    private static string? ReadLine(StreamReader reader, string path)
    {
        StringBuilder line = new();
        int next;
        while ((next = reader.Read()) >= 0 && next != '\n')
        {
            if (line.Append((char)next).Length > MaxLine)
            {
                throw new UserError($"{path}: a line is longer than {MaxLine} characters; it is no merge file");
            }
        }

        return next < 0 && line.Length == 0 ? null : line.ToString().TrimEnd('\r');
    }

    /// <summary>The 256 characters that stand for bytes, in vocabulary order: printable Latin-1 for itself, then U+0100 onward.</summary>
    private static List<string> ByteAlphabet()
    {
        int[] printable = [.. Enumerable.Range('!', 94), .. Enumerable.Range(0xA1, 12), .. Enumerable.Range(0xAE, 82)];
        return [.. printable.Concat(Enumerable.Range(0x100, 256 - printable.Length)).Select(code => ((char)code).ToString())];
    }
}
