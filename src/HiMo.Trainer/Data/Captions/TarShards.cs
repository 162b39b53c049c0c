// SPDX-License-Identifier: Apache-2.0
using System.Formats.Tar;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace HiMo.Trainer;

/// <summary>
/// Tar shards of webdataset and img2dataset: members of one key (the name up to the first dot of its last part) that follow each other are
/// a sample, which needs an image and a .txt, or a .json with a field caption. Only names and captions are read; images stay where they
/// are (<see cref="TarMember"/>). Source: webdataset's tariterators, open_clip's data.
/// </summary>
internal static class TarShards
{
    private const int MaxText = 1 << 20;
    private const int MaxShards = 1_000_000;

    private static readonly string[] s_imageSuffixes = ["jpg", "png", "jpeg", "webp"];

    /// <summary>The shards that a pattern names: braces hold a range of numbers of equal width, <c>::</c> joins patterns.</summary>
    /// <param name="pattern">For example <c>data/{00000..00099}.tar</c>.</param>
    /// <exception cref="UserError">A range is malformed or absurdly long.</exception>
    public static List<string> Expand(string pattern)
    {
        List<string> all = [];
        foreach (string part in pattern.Split("::"))
        {
            int open = part.IndexOf('{');
            int close = part.IndexOf('}');
            if (open < 0 && close < 0)
            {
                all.Add(part);
                continue;
            }

            string[] ends = close > open && open >= 0 ? part[(open + 1)..close].Split("..") : [];
            if (ends.Length != 2 || !int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out int first)
                || !int.TryParse(ends[1], NumberStyles.None, CultureInfo.InvariantCulture, out int last) || last < first || last - first >= MaxShards)
            {
                throw new UserError($"{part}: its braces must hold a range of shards such as {{00000..00099}}, rising and below {MaxShards}");
            }

            string digits = $"D{ends[0].Length}";
            for (int number = first; number <= last; number++)
            {
                all.AddRange(Expand(part[..open] + number.ToString(digits, CultureInfo.InvariantCulture) + part[(close + 1)..]));
            }
        }

        return all;
    }

    /// <summary>The samples of all shards in order; those without image are left out, of those without caption it is empty.</summary>
    /// <param name="pattern">See <see cref="Expand"/>.</param>
    /// <exception cref="UserError">A shard is missing or damaged.</exception>
    public static IEnumerable<CaptionRecord> Read(string pattern)
    {
        foreach (string shard in Expand(pattern))
        {
            Sample sample = new("");
            foreach ((string name, string? text, TarMember member) in Members(shard))
            {
                int slash = name.LastIndexOf('/') + 1;
                int dot = name.IndexOf('.', slash);
                if (dot < 0 || name[slash..].StartsWith("__", StringComparison.Ordinal))
                {
                    continue;
                }

                string suffix = name[(dot + 1)..].ToLowerInvariant();
                if (name[..dot] != sample.Key || !sample.Suffixes.Add(suffix))
                {
                    if (sample.Record is { } complete)
                    {
                        yield return complete;
                    }

                    sample = new Sample(name[..dot]);
                    sample.Suffixes.Add(suffix);
                }

                if (s_imageSuffixes.Contains(suffix))
                {
                    sample.Image ??= member.ToString();
                }
                else if (!string.IsNullOrWhiteSpace(text))
                {
                    sample.Caption = suffix == "txt" || sample.Caption is null ? text : sample.Caption;
                }
            }

            if (sample.Record is { } final)
            {
                yield return final;
            }
        }
    }

    /// <summary>Name, caption (for .txt and .json) and place of every regular file.</summary>
    private static IEnumerable<(string Name, string? Text, TarMember Member)> Members(string shard)
    {
        using FileStream stream = TextFile.Open(shard);
        using TarReader reader = new(stream);
        TarHeaderCheck headers = new(stream, shard);
        headers.Check(0);
        while (Next(reader, shard) is { } entry)
        {
            headers.Check(entry.DataOffset + entry.Length);
            if (entry.EntryType is not (TarEntryType.RegularFile or TarEntryType.V7RegularFile or TarEntryType.ContiguousFile))
            {
                continue;
            }

            if (entry.DataOffset < 0 || entry.Length > stream.Length - entry.DataOffset)
            {
                throw new UserError($"{shard}: ends inside its member '{entry.Name}'; it is truncated");
            }

            string? text = Path.GetExtension(entry.Name).ToLowerInvariant() switch
            {
                ".txt" => Text(entry, shard),
                ".json" => Caption(Text(entry, shard), entry.Name, shard),
                _ => null,
            };
            yield return (entry.Name, text?.Trim().Replace('\n', ' '), new TarMember(shard, entry.DataOffset, entry.Length, entry.Name));
        }
    }

    private static TarEntry? Next(TarReader reader, string shard)
    {
        try
        {
            return reader.GetNextEntry();
        }
        catch (Exception failure) when (failure is IOException or InvalidDataException or FormatException or OverflowException or ArgumentException or InvalidOperationException)
        {
            // InvalidOperationException is what the reader gives for attributes that claim a size beyond their limit.
            throw new UserError($"{shard}: is no tar, or is damaged ({failure.Message})", failure);
        }
    }

    private static string Text(TarEntry entry, string shard)
    {
        if (entry.Length > MaxText)
        {
            throw new UserError($"{shard}: its member '{entry.Name}' holds {entry.Length} bytes, too many for a caption (at most {MaxText})");
        }

        byte[] bytes = new byte[entry.Length];
        try
        {
            entry.DataStream?.ReadExactly(bytes);
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes);
        }
        catch (Exception failure) when (failure is IOException or DecoderFallbackException)
        {
            throw new UserError($"{shard}: its member '{entry.Name}' is not UTF-8 text, or is cut ({failure.Message})", failure);
        }
    }

    private static string? Caption(string json, string name, string shard)
    {
        try
        {
            using JsonDocument document = JsonText.Document(json);
            return document.RootElement.ValueKind == JsonValueKind.Object && document.RootElement.TryGetProperty("caption", out JsonElement caption)
                && caption.ValueKind == JsonValueKind.String ? caption.GetString() : null;
        }
        catch (JsonException failure)
        {
            throw new UserError($"{shard}: its member '{name}' is no JSON ({failure.Message})", failure);
        }
    }

    /// <summary>What has been seen of one key.</summary>
    private sealed class Sample(string key)
    {
        public string Key { get; } = key;

        public HashSet<string> Suffixes { get; } = [];

        public string? Image { get; set; }

        public string? Caption { get; set; }

        public CaptionRecord? Record => Image is not null ? new CaptionRecord(Image, Caption ?? "") : null;
    }
}
