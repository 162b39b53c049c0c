// SPDX-License-Identifier: Apache-2.0
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>JSON as results are written, and as files of unknown origin are read: whatever is wrong with a text shows when it is parsed, not where a part of it is used.</summary>
internal static class JsonText
{
    /// <summary>Indented, for people and scripts.</summary>
    public static JsonSerializerOptions Readable { get; } = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static readonly JsonDocumentOptions s_strict = new() { AllowDuplicateProperties = false };

    /// <summary>The string that a node holds; null for anything else, as for no node.</summary>
    /// <param name="node">A property's value, or null.</param>
    public static string? String(JsonNode? node) => node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    /// <summary>Parses a text.</summary>
    /// <param name="text">JSON.</param>
    /// <exception cref="JsonException">It is none, names a property twice, or holds half a surrogate pair.</exception>
    public static JsonDocument Document(string text) => Checked(() => JsonDocument.Parse(text, s_strict));

    /// <summary>The same for a stream of UTF-8.</summary>
    /// <param name="stream">JSON.</param>
    /// <exception cref="JsonException">As above.</exception>
    public static JsonDocument Document(Stream stream) => Checked(() => JsonDocument.Parse(stream, s_strict));

    /// <summary>The same as nodes; null for a text <c>null</c>.</summary>
    /// <param name="text">JSON.</param>
    /// <exception cref="JsonException">As above.</exception>
    public static JsonNode? Node(string text)
    {
        JsonElement root = Document(text).RootElement; // stays alive within the node
        return root.ValueKind switch
        {
            JsonValueKind.Object => JsonObject.Create(root),
            JsonValueKind.Array => JsonArray.Create(root),
            JsonValueKind.Null => null,
            _ => JsonValue.Create(root),
        };
    }

    private static JsonDocument Checked(Func<JsonDocument> parse)
    {
        try
        {
            JsonDocument document = parse();
            Check(document.RootElement);
            return document;
        }
        catch (InvalidOperationException failure)
        {
            throw new JsonException(failure.Message, failure);
        }
    }

    /// <summary>Reads every text once: half a surrogate pair is an escape that the parser lets through and that no string can hold.</summary>
    private static void Check(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    _ = property.Name;
                    Check(property.Value);
                }

                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in element.EnumerateArray())
                {
                    Check(item);
                }

                break;
            case JsonValueKind.String:
                _ = element.GetString();
                break;
        }
    }
}
