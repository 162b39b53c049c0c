// SPDX-License-Identifier: Apache-2.0
using SkiaSharp;

namespace HiMo.Trainer;

/// <summary>Pictures of an evaluation inside the page, small enough that a page of photos stays a page.</summary>
internal static class ReportPictures
{
    private const int LargestSide = 256;
    private const int LargestFile = 40_000;
    private const int LargestDrawing = 96; // pixels of a side up to which an image is shown with its pixels sharp: magnified smoothly it would be a blur
    private const int Quality = 85;

    /// <summary>An image element, or a note where the picture is not found.</summary>
    /// <param name="run">The run that was evaluated.</param>
    /// <param name="image">Its name in the evaluation.</param>
    /// <param name="missing">Receives the name where it is not found or not readable.</param>
    public static string Html(RunFolder run, string image, ICollection<string> missing)
    {
        if (Find(run, image) is not { } file || Source(file) is not { } picture)
        {
            missing.Add(image);
            return "<p class=\"missing\">picture not found</p>";
        }

        string name = Path.GetFileNameWithoutExtension(TarMember.Parse(image)?.Name ?? image);
        return $"<img alt=\"scene {ResultTable.Html(name)}\"{(picture.IsDrawing ? " class=\"pixels\"" : "")} src=\"{picture.Uri}\">";
    }

    /// <summary>The data's folder or file, and the images' own folder, as written are relative to where the run was started: here, or in a folder above the run.</summary>
    private static string? Find(RunFolder run, string image)
    {
        string data = JsonText.String(run.Evaluation?["data"]) ?? JsonText.String(run.Config["data"]) ?? "";
        string[] roots = [JsonText.String(run.Evaluation?["image_folder"]) ?? data, data, Path.GetDirectoryName(data) ?? data];
        return Ancestors(run.FolderPath).Prepend(Directory.GetCurrentDirectory())
            .SelectMany(folder => roots.Select(root => Path.Combine(folder, root)))
            .SelectMany(folder => new[] { image, Path.Combine("eval", image), Path.Combine("eval", "images", image), Path.Combine("images", image) }.Select(part => Path.Combine(folder, part)))
            .FirstOrDefault(path => File.Exists(TarMember.Parse(path)?.Tar ?? path));
    }

    private static IEnumerable<string> Ancestors(string folder)
    {
        for (DirectoryInfo? above = new DirectoryInfo(folder).Parent; above is not null; above = above.Parent)
        {
            yield return above.FullName;
        }
    }

    /// <summary>A small file as it is, a large one scaled down; null where it cannot be decoded.</summary>
    private static (string Uri, bool IsDrawing)? Source(string file)
    {
        try
        {
            byte[] bytes = ImageFile.ReadAll(file);
            Raster raster = ImageFile.Decode(bytes, file, rgbFirst: true);
            int side = Math.Max(raster.Width, raster.Height);
            if (bytes.Length > LargestFile)
            {
                return ($"data:image/jpeg;base64,{Convert.ToBase64String(Scaled(raster, Math.Min(1.0, (double)LargestSide / side)))}", side <= LargestDrawing);
            }

            string type = Path.GetExtension(file).ToLowerInvariant() switch { ".png" => "png", ".webp" => "webp", _ => "jpeg" };
            return ($"data:image/{type};base64,{Convert.ToBase64String(bytes)}", side <= LargestDrawing);
        }
        catch (UserError)
        {
            return null; // the caller names it
        }
    }

    private static byte[] Scaled(Raster raster, double scale)
    {
        using SKBitmap whole = new(new SKImageInfo(raster.Width, raster.Height, SKColorType.Rgba8888, SKAlphaType.Opaque));
        System.Runtime.InteropServices.Marshal.Copy(raster.Rgba, 0, whole.GetPixels(), raster.Rgba.Length);
        SKImageInfo small = new(Math.Max(1, (int)(raster.Width * scale)), Math.Max(1, (int)(raster.Height * scale)));
        using SKBitmap scaled = whole.Resize(small, new SKSamplingOptions(SKFilterMode.Linear, SKMipmapMode.Linear));
        using SKData data = scaled.Encode(SKEncodedImageFormat.Jpeg, Quality);
        return data.ToArray();
    }
}
