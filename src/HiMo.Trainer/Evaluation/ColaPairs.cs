// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;

namespace HiMo.Trainer;

/// <summary>Two images and the caption of each, made of the same words.</summary>
/// <param name="FirstImage">The image of the first caption.</param>
/// <param name="FirstCaption">Its caption.</param>
/// <param name="SecondImage">The image of the second caption.</param>
/// <param name="SecondCaption">Its caption.</param>
internal sealed record ColaPair(string FirstImage, string FirstCaption, string SecondImage, string SecondCaption);

/// <summary>COLA's multi-object file: an array of <c>[image url, caption, image url, caption]</c>. Images are found by the url's last part.</summary>
internal static class ColaPairs
{
    /// <summary>Reads all pairs.</summary>
    /// <param name="path">The JSON file, or a folder with COLA_multiobjects_matching_benchmark.json.</param>
    /// <param name="imageRoot">Folder of the images; else images beside the file, else the file's folder.</param>
    /// <exception cref="UserError">The file is missing or malformed.</exception>
    public static List<ColaPair> Load(string path, string? imageRoot)
    {
        string file = Directory.Exists(path) ? Path.Combine(path, "COLA_multiobjects_matching_benchmark.json") : path;
        string own = Path.GetDirectoryName(Path.GetFullPath(file))!;
        string root = Path.GetFullPath(imageRoot ?? (Directory.Exists(Path.Combine(own, "images")) ? Path.Combine(own, "images") : own));
        string[][] rows = Read(file);
        List<ColaPair> pairs = [];
        foreach (string[] row in rows)
        {
            if (row is not [{ Length: > 0 }, { Length: > 0 }, { Length: > 0 }, { Length: > 0 }])
            {
                throw new UserError($"{file}: entry {pairs.Count} is not [image, caption, image, caption]");
            }

            pairs.Add(new ColaPair(Image(row[0]), row[1], Image(row[2]), row[3]));
        }

        return pairs.Count > 0 ? pairs : throw new UserError($"{file}: holds no pair");

        string Image(string url) => Path.Combine(root, url[(url.LastIndexOf('/') + 1)..]);
    }

    private static string[][] Read(string file)
    {
        using FileStream stream = TextFile.Open(file);
        try
        {
            return JsonSerializer.Deserialize<string[][]>(stream) ?? [];
        }
        catch (JsonException failure)
        {
            throw new UserError($"{file}: is no array of quadruples of texts ({failure.Message})", failure);
        }
    }
}
