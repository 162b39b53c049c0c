// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>What is encoded in bulk: images by their files, or texts by themselves.</summary>
/// <param name="Kind"><see cref="Image"/> or <see cref="Text"/>.</param>
/// <param name="Root">Folder that image names are relative to; for texts the file they come from.</param>
/// <param name="Names">Image names, or the texts; in the order of the rows.</param>
internal sealed record EncodingSource(string Kind, string Root, IReadOnlyList<string> Names)
{
    /// <summary>Kind of images.</summary>
    public const string Image = "image";

    /// <summary>Kind of texts.</summary>
    public const string Text = "text";

    private const int MaxLine = 1 << 20;

    /// <summary>All images below a folder, in ordinal order of their paths.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="UserError">It is missing or holds no image.</exception>
    public static EncodingSource ImagesBelow(string folder)
    {
        string root = Path.GetFullPath(folder);
        string[] files = Directory.Exists(root)
            ? [.. ImageFolder.Find(root).Select(file => Path.GetRelativePath(root, file))]
            : throw new UserError($"{folder}: no such folder");
        return files.Length > 0 ? new EncodingSource(Image, root, files) : throw new UserError($"{folder}: holds no JPEG, PNG or WebP image");
    }

    /// <summary>The lines of a text file that are not blank.</summary>
    /// <param name="file">UTF-8, one caption a line.</param>
    /// <exception cref="UserError">It is missing or holds no caption.</exception>
    public static EncodingSource LinesOf(string file)
    {
        string[] lines = [.. TextFile.Lines(file, MaxLine).Where(line => !string.IsNullOrWhiteSpace(line))];
        return lines.Length > 0 ? new EncodingSource(Text, Path.GetFullPath(file), lines) : throw new UserError($"{file}: holds no caption");
    }

    /// <summary>The images of a data set, each once.</summary>
    /// <param name="path">As training reads it.</param>
    /// <exception cref="UserError">Nothing readable is there.</exception>
    public static EncodingSource ImagesOf(string path)
    {
        CaptionDataset data = CaptionDataset.Load(path);
        return new EncodingSource(Image, Directory.GetCurrentDirectory(), [.. Enumerable.Range(0, data.Count).Select(i => data[i].ImagePath).Distinct()]);
    }

    /// <summary>The captions of a data set, one for every pair.</summary>
    /// <param name="path">As training reads it.</param>
    /// <exception cref="UserError">Nothing readable is there.</exception>
    public static EncodingSource CaptionsOf(string path)
    {
        CaptionDataset data = CaptionDataset.Load(path);
        return new EncodingSource(Text, Path.GetFullPath(path), [.. Enumerable.Range(0, data.Count).Select(i => data[i].Caption)]);
    }

    /// <summary>The file of an image.</summary>
    /// <param name="index">Its row.</param>
    public string PathOf(int index) => Path.Combine(Root, Names[index]);
}
