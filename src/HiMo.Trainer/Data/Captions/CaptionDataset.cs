// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// Images with captions, and the order in which training sees them: a permutation per epoch that is a function of seed and epoch alone.
/// </summary>
internal sealed class CaptionDataset
{
    private readonly CaptionStore _records;
    private readonly string _root;
    private readonly int _first; // a split is a range of the records

    private CaptionDataset(string root, CaptionStore records, int first, int count, int blank)
    {
        (_root, _records, _first, Count, Blank) = (root, records, first, count, blank);
    }

    /// <summary>Number of pairs.</summary>
    public int Count { get; }

    /// <summary>Records of the file that are left out, because their caption is blank.</summary>
    public int Blank { get; }

    /// <summary>The pair at a position, its image path made absolute.</summary>
    /// <param name="index">From 0 to <see cref="Count"/> - 1.</param>
    public CaptionRecord this[int index]
    {
        get
        {
            CaptionRecord record = _records[_first + index];
            return record with { ImagePath = TextFile.Resolve(record.ImagePath, _root) };
        }
    }

    /// <summary>
    /// Reads a ShareGPT4V .json, a .tsv or .csv with a header, or the captions.json, captions.tsv or captions.csv
    /// of a folder. Image paths are relative to the file's folder. Tar shards of webdataset, <c>data/{00000..00099}.tar</c>, hold images and captions.
    /// </summary>
    /// <param name="path">A file, a folder, or a pattern of shards.</param>
    /// <param name="imageRoot">Folder of the images where it is another one.</param>
    /// <param name="columns">Of .tsv and .csv files; null takes open_clip's usual ones.</param>
    /// <exception cref="UserError">Nothing readable is there, or it holds no pair.</exception>
    public static CaptionDataset Load(string path, string? imageRoot = null, CaptionColumns? columns = null)
    {
        string file = Directory.Exists(path) ? InFolder(path) : path;
        IEnumerable<CaptionRecord> records = Path.GetExtension(file).ToLowerInvariant() switch
        {
            ".json" => ShareGpt4VReader.Read(file),
            ".tsv" or ".csv" => DelimitedReader.Read(file, columns),
            ".tar" => TarShards.Read(file),
            string other => throw new UserError($"{file}: captions are read from .json (ShareGPT4V), .tsv, .csv and .tar, not from '{other}'"),
        };
        CaptionStore all = new();
        int blank = 0;
        foreach (CaptionRecord record in records)
        {
            if (string.IsNullOrWhiteSpace(record.Caption))
            {
                blank++;
            }
            else
            {
                all.Add(record);
            }
        }

        return all.Count > 0
            ? new CaptionDataset(ImageRoot(file, imageRoot), all, 0, all.Count, blank)
            : throw new UserError($"{file}: holds no caption");
    }

    /// <summary>The first pairs alone.</summary>
    /// <param name="count">How many, from 0 to <see cref="Count"/>.</param>
    public CaptionDataset First(int count) => new(_root, _records, _first, count, Blank);

    /// <summary>The pairs without the first ones.</summary>
    /// <param name="count">How many are left out, from 0 to <see cref="Count"/>.</param>
    public CaptionDataset After(int count) => new(_root, _records, _first + count, Count - count, Blank);

    /// <summary>The positions of all pairs in the order of one epoch.</summary>
    /// <param name="seed">The run's seed.</param>
    /// <param name="epoch">From 0.</param>
    public int[] Order(long seed, long epoch) => new SeededRandom(seed, epoch).Permutation(Count);

    private static string InFolder(string folder)
    {
        string[] names = ["captions.json", "captions.tsv", "captions.csv"];
        return names.Select(name => Path.Combine(folder, name)).FirstOrDefault(File.Exists)
            ?? throw new UserError($"{folder}: holds none of {string.Join(", ", names)}; './himo dataset synthesize --out {folder}' makes such a folder");
    }

    /// <summary>Members of shards are named with the path that the shards were named with, so with that of the working folder.</summary>
    private static string ImageRoot(string file, string? given) =>
        Path.GetFullPath(Path.GetExtension(file).Equals(".tar", StringComparison.OrdinalIgnoreCase) ? "." : given ?? Path.GetDirectoryName(Path.GetFullPath(file))!);
}
