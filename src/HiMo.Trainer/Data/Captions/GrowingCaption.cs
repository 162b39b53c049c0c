// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Serialization;

namespace HiMo.Trainer;

/// <summary>An image with captions that grow, the gist first and the whole caption last.</summary>
/// <param name="Image">Name as the file has it.</param>
/// <param name="ImagePath">The image file.</param>
/// <param name="Captions">At least one, none blank.</param>
internal sealed record GrowingCaption(string Image, string ImagePath, string[] Captions);

/// <summary>HiMo-Docci's layout: one JSON object per line with <c>img_path</c> and <c>caption</c>, the list of growing captions.</summary>
internal static partial class GrowingCaptions
{
    private const int MaxLine = 1 << 20;

    /// <summary>Reads all records in file order.</summary>
    /// <param name="path">The file; or a folder with captions.jsonl or himo_docci_data.json, or with a folder eval that has one.</param>
    /// <param name="imageRoot">Folder of the images; else the file's folder, or images beside the file where that exists.</param>
    /// <exception cref="UserError">The file is missing or malformed; the message names the line.</exception>
    public static List<GrowingCaption> Load(string path, string? imageRoot = null)
    {
        string file = Directory.Exists(path) ? InFolder(path) : path;
        string folder = Path.GetDirectoryName(Path.GetFullPath(file))!;
        string images = Path.Combine(folder, "images");
        string root = Path.GetFullPath(imageRoot ?? (Directory.Exists(images) ? images : folder));
        List<GrowingCaption> all = [];
        int number = 0;
        foreach (string line in TextFile.Lines(file, MaxLine))
        {
            number++;
            if (!string.IsNullOrWhiteSpace(line))
            {
                all.Add(Parse(line, $"{file}: line {number}", root));
            }
        }

        return all.Count > 0 ? all : throw new UserError($"{file}: holds no record");
    }

    private static string InFolder(string folder)
    {
        string[] names = [Path.Combine("eval", "captions.jsonl"), "captions.jsonl", "himo_docci_data.json"];
        return names.Select(name => Path.Combine(folder, name)).FirstOrDefault(File.Exists)
            ?? throw new UserError($"{folder}: holds none of {string.Join(", ", names)}, so there is nothing to evaluate");
    }

    private static GrowingCaption Parse(string line, string where, string root)
    {
        try
        {
            Entry? entry = JsonSerializer.Deserialize(line, GrowingCaptionJson.Default.Entry);
            return entry is { Image.Length: > 0, Captions.Length: > 0 } && !entry.Captions.Any(string.IsNullOrWhiteSpace)
                ? new GrowingCaption(entry.Image, TextFile.Resolve(entry.Image, root), entry.Captions!)
                : throw new UserError($"{where}: needs img_path and a list caption without blanks");
        }
        catch (JsonException failure)
        {
            throw new UserError($"{where}: is no JSON object of this layout ({failure.Message})", failure);
        }
    }

    internal sealed record Entry(
        [property: JsonPropertyName("img_path")] string? Image,
        [property: JsonPropertyName("caption")] string[]? Captions);

    [JsonSerializable(typeof(Entry))]
    private sealed partial class GrowingCaptionJson : JsonSerializerContext;
}
