// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Serialization;

namespace HiMo.Trainer;

/// <summary>
/// ShareGPT4V's annotation file: one JSON array of conversations. The caption is the second turn with each newline replaced by a space.
/// The file is read record by record (the published one holds 1.2 million in 1.5 GB).
/// Source: HiMo-CLIP train/sharegpt4v.py.
/// </summary>
internal static partial class ShareGpt4VReader
{
    /// <summary>The records in file order.</summary>
    /// <param name="path">The JSON file.</param>
    /// <exception cref="UserError">The file is missing or no such array; the message names the line or the record.</exception>
    public static IEnumerable<CaptionRecord> Read(string path)
    {
        using FileStream stream = TextFile.Open(path);
        IAsyncEnumerable<Entry?> entries = JsonSerializer.DeserializeAsyncEnumerable(stream, ShareGpt4VJson.Default.Entry);
        using IEnumerator<Entry?> enumerator = entries.ToBlockingEnumerable().GetEnumerator();
        for (int index = 0; MoveNext(enumerator, path); index++)
        {
            yield return ToRecord(enumerator.Current, path, index);
        }
    }

    private static bool MoveNext(IEnumerator<Entry?> entries, string path)
    {
        try
        {
            return entries.MoveNext();
        }
        catch (JsonException failure)
        {
            throw new UserError($"{path}: is no JSON array of ShareGPT4V records, or is damaged ({failure.Message})", failure);
        }
        catch (IOException failure)
        {
            throw new UserError($"{path}: cannot be read ({failure.Message})", failure);
        }
    }

    private static CaptionRecord ToRecord(Entry? entry, string path, int index)
    {
        string where = $"{path}: record {index}{(entry?.Id is { } id ? $" ('{id}')" : "")}";
        if (string.IsNullOrEmpty(entry?.Image))
        {
            throw new UserError($"{where} names no image; a ShareGPT4V record has id, image and conversations");
        }

        if (entry.Conversations is not { Length: >= 2 } turns || turns[1]?.Value is not { } caption)
        {
            throw new UserError($"{where} has no second turn in its conversations, where the caption belongs");
        }

        return new CaptionRecord(entry.Image, caption.Replace('\n', ' '));
    }

    internal sealed record Entry(
        [property: JsonPropertyName("id"), JsonConverter(typeof(IdConverter))] string? Id,
        [property: JsonPropertyName("image")] string? Image,
        [property: JsonPropertyName("conversations")] Turn?[]? Conversations);

    internal sealed record Turn([property: JsonPropertyName("value")] string? Value);

    /// <summary>Some files write the id as a number.</summary>
    internal sealed class IdConverter : JsonConverter<string>
    {
        /// <inheritdoc/>
        public override string? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.TokenType switch
        {
            JsonTokenType.String => reader.GetString(),
            JsonTokenType.Number => reader.GetInt64().ToString(System.Globalization.CultureInfo.InvariantCulture),
            _ => throw new JsonException("an id is a string or a whole number"),
        };

        /// <inheritdoc/>
        public override void Write(Utf8JsonWriter writer, string value, JsonSerializerOptions options) => writer.WriteStringValue(value);
    }

    [JsonSerializable(typeof(Entry))]
    private sealed partial class ShareGpt4VJson : JsonSerializerContext;
}
