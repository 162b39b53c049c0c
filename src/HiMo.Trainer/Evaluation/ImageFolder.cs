// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// Images sorted into one folder a class, as torchvision's ImageFolder reads them: classes in ordinal order of their folders, images of a
/// class in ordinal order of their paths, folders inside a class included.
/// </summary>
/// <param name="Folders">Folder name of each class.</param>
/// <param name="Names">What each class is called in a prompt.</param>
/// <param name="Images">All image files.</param>
/// <param name="Labels">Class of each image.</param>
internal sealed record ImageFolder(IReadOnlyList<string> Folders, IReadOnlyList<string> Names, IReadOnlyList<string> Images, IReadOnlyList<int> Labels)
{
    /// <summary>Names of the classes, where the folder brings them.</summary>
    public const string NamesFile = "classes.txt";

    private const int MaxLine = 1 << 16;
    private static readonly string[] s_suffixes = [".jpg", ".jpeg", ".png", ".webp"];

    /// <summary>Finds classes and images.</summary>
    /// <param name="path">The folder of the class folders.</param>
    /// <param name="namesFile">
    /// A line for every class: its folder's name, white space, its name; what follows a comma is another name and not used, as in ImageNet's
    /// LOC_synset_mapping.txt. Null takes classes.txt of the folder; without one the folders' names are used, underscores as spaces.
    /// </param>
    /// <exception cref="UserError">A folder or a name is missing, or there are fewer than two classes.</exception>
    public static ImageFolder Load(string path, string? namesFile)
    {
        string[] folders = Directory.Exists(path)
            ? [.. Directory.GetDirectories(path).Select(folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal)]
            : throw new UserError($"{path}: no such folder; zero-shot classification reads one folder of images for every class");
        if (folders.Length < 2)
        {
            throw new UserError($"{path}: holds {folders.Length} folders; zero-shot classification chooses among two classes or more, one folder of images each");
        }

        string? file = namesFile ?? (File.Exists(Path.Combine(path, NamesFile)) ? Path.Combine(path, NamesFile) : null);
        string[] names = file is null ? [.. folders.Select(folder => folder.Replace('_', ' '))] : ReadNames(file, folders);
        List<string> images = [];
        List<int> labels = [];
        for (int label = 0; label < folders.Length; label++)
        {
            string[] own = [.. Find(Path.Combine(path, folders[label]))];
            images.AddRange(own.Length > 0 ? own : throw new UserError($"{Path.Combine(path, folders[label])}: holds no image ({string.Join(", ", s_suffixes)})"));
            labels.AddRange(Enumerable.Repeat(label, own.Length));
        }

        return new ImageFolder(folders, names, images, labels);
    }

    /// <summary>All image files below a folder in ordinal order.</summary>
    /// <param name="folder">An existing folder.</param>
    public static IEnumerable<string> Find(string folder) => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .Where(file => s_suffixes.Contains(Path.GetExtension(file).ToLowerInvariant())).Order(StringComparer.Ordinal);

    private static string[] ReadNames(string file, string[] folders)
    {
        Dictionary<string, string> names = [];
        foreach (string line in TextFile.Lines(file, MaxLine).Where(line => !string.IsNullOrWhiteSpace(line)))
        {
            int end = line.IndexOfAny([' ', '\t']);
            string name = end < 0 ? "" : line[end..].Split(',')[0].Trim();
            if (name.Length == 0 || !names.TryAdd(line[..end], name))
            {
                throw new UserError($"{file}: the line '{line}' is not a class folder, white space and a name, or names a class again");
            }
        }

        string[] missing = [.. folders.Where(folder => !names.ContainsKey(folder))];
        return missing.Length == 0
            ? [.. folders.Select(folder => names[folder])]
            : throw new UserError($"{file}: names none of the classes {string.Join(", ", missing.Take(10))}{(missing.Length > 10 ? $" and {missing.Length - 10} more" : "")}");
    }
}
