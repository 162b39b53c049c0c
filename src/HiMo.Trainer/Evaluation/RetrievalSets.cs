// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>Reads the retrieval sets of the paper from the files their authors publish. Source: HiMo-CLIP eval/retrieval.</summary>
internal static partial class RetrievalSets
{
    private const int ShareGpt4VValidation = 1000;
    private const int CaptionsPerImage = 5;
    private const int MaxLine = 1 << 20;

    /// <summary>Reads one set.</summary>
    /// <param name="protocol">Which.</param>
    /// <param name="path">Its folder, or its caption file.</param>
    /// <param name="imageRoot">Folder of the images where it is not the usual one.</param>
    /// <param name="columns">Of pairs in a .tsv or .csv file; null takes the usual ones.</param>
    /// <exception cref="UserError">Files are missing or damaged.</exception>
    public static RetrievalSet Load(Protocol protocol, string path, string? imageRoot, CaptionColumns? columns = null) => protocol switch
    {
        Protocol.Pairs => AnyPairs(CaptionDataset.Load(path, imageRoot, columns)),
        Protocol.Sharegpt4v => ShareGpt4V(path, imageRoot),
        Protocol.Urban1k => Urban1k(path, imageRoot),
        Protocol.Docci => Docci(path, imageRoot),
        Protocol.LongDci => LongDci(path, imageRoot),
        Protocol.Coco => Coco(path, imageRoot),
        Protocol.Karpathy => Karpathy(path, imageRoot),
        Protocol.Flickr30k => Flickr30k(path, imageRoot),
        _ => throw new ArgumentOutOfRangeException(nameof(protocol), protocol, "is no retrieval set"),
    };

    private static RetrievalSet AnyPairs(CaptionDataset data)
    {
        CaptionRecord[] records = [.. Enumerable.Range(0, data.Count).Select(i => data[i])];
        return new RetrievalSet([.. records.Select(record => record.ImagePath)], [.. records.Select(record => record.Caption)]);
    }

    private static RetrievalSet ShareGpt4V(string path, string? imageRoot)
    {
        string file = CaptionFile(path, "share-captioner_coco_lcs_sam_1246k_1107.json", "captions.json");
        CaptionRecord[] records = [.. ShareGpt4VReader.Read(file).Take(ShareGpt4VValidation)];
        return Pairs(file, ImageFolder(file, imageRoot), records);
    }

    private static RetrievalSet Urban1k(string folder, string? imageRoot)
    {
        string captions = Path.Combine(folder, "caption");
        if (!Directory.Exists(captions))
        {
            throw new UserError($"{folder}: has no folder 'caption'; Urban1k holds caption/NAME.txt and image/NAME.jpg");
        }

        string root = Path.GetFullPath(imageRoot ?? Path.Combine(folder, "image"));
        string[] files = [.. Directory.GetFiles(captions, "*.txt").OrderBy(NaturalKey, StringComparer.Ordinal)];
        CaptionRecord[] records = [.. files.Select(file => new CaptionRecord(
            Path.GetFileNameWithoutExtension(file) + ".jpg",
            TextFile.Lines(file, MaxLine).FirstOrDefault() is { } line && !string.IsNullOrWhiteSpace(line) ? line : throw new UserError($"{file}: its first line is blank")))];
        return Pairs(captions, root, records);
    }

    private static RetrievalSet Docci(string path, string? imageRoot)
    {
        string file = CaptionFile(path, "docci_descriptions.jsonlines", "test_set.jsonl");
        List<CaptionRecord> records = [];
        int number = 0;
        foreach (string line in TextFile.Lines(file, MaxLine))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
            {
                continue;
            }

            using JsonDocument record = ParseJson(line, $"{file}: line {number}");
            if (Text(record.RootElement, "split") is null or "test")
            {
                records.Add(new CaptionRecord(
                    Text(record.RootElement, "image_file") ?? throw new UserError($"{file}: line {number} has no image_file"),
                    Text(record.RootElement, "description")?.Trim() ?? throw new UserError($"{file}: line {number} has no description")));
            }
        }

        return Pairs(file, ImageFolder(file, imageRoot, "images"), [.. records]);
    }

    private static RetrievalSet LongDci(string path, string? imageRoot)
    {
        string file = CaptionFile(path, "dci_long.csv");
        return Pairs(file, ImageFolder(file, imageRoot), [.. DelimitedReader.Read(file).Where(record => !string.IsNullOrWhiteSpace(record.Caption))]);
    }

    private static RetrievalSet Coco(string path, string? imageRoot)
    {
        string file = CaptionFile(path, "captions_val2017.json", Path.Combine("annotations", "captions_val2017.json"));
        using JsonDocument annotations = ParseJson(file);
        if (Property(annotations.RootElement, "images") is not { ValueKind: JsonValueKind.Array } images || Property(annotations.RootElement, "annotations") is not { ValueKind: JsonValueKind.Array } captions)
        {
            throw new UserError($"{file}: has no lists images and annotations; Karpathy's dataset_coco.json is another set, read by the protocol karpathy");
        }

        SortedDictionary<long, (string Name, List<string> Captions)> byId = [];
        foreach (JsonElement image in images.EnumerateArray())
        {
            byId[Number(image, "id", file)] = (Text(image, "file_name") ?? throw new UserError($"{file}: an image has no file_name"), []);
        }

        foreach (JsonElement caption in captions.EnumerateArray())
        {
            long id = Number(caption, "image_id", file);
            (byId.TryGetValue(id, out (string Name, List<string> Captions) image) ? image.Captions : throw new UserError($"{file}: a caption belongs to image {id}, which is not listed"))
                .Add(Text(caption, "caption") ?? throw new UserError($"{file}: an annotation of image {id} has no caption"));
        }

        if (byId.Count == 0)
        {
            throw new UserError($"{file}: lists no image");
        }

        foreach ((long id, (string _, List<string> own)) in byId.Where(pair => pair.Value.Captions.Count < CaptionsPerImage).Take(1))
        {
            throw new UserError($"{file}: image {id} has {own.Count} captions; the protocol takes the first {CaptionsPerImage}");
        }

        string folder = Path.GetDirectoryName(Path.GetFullPath(file))!;
        string parent = Path.GetFileName(folder) == "annotations" ? Path.GetDirectoryName(folder)! : folder;
        string root = Path.GetFullPath(imageRoot ?? Path.Combine(parent, "val2017"));
        return new RetrievalSet(
            [.. byId.Values.Select(image => TextFile.Resolve(image.Name, root))],
            [.. byId.Values.SelectMany(image => image.Captions.Take(CaptionsPerImage))],
            RgbFirst: true);
    }

    private static RetrievalSet Karpathy(string path, string? imageRoot)
    {
        string file = CaptionFile(path, "dataset_coco.json", "dataset_flickr30k.json");
        using JsonDocument document = ParseJson(file);
        if (Property(document.RootElement, "images") is not { ValueKind: JsonValueKind.Array } all)
        {
            throw new UserError($"{file}: has no list images; COCO's own annotations are read by the protocol coco");
        }

        string root = ImageFolder(file, imageRoot, "images");
        List<string> images = [];
        List<string> captions = [];
        foreach (JsonElement image in all.EnumerateArray().Where(image => Text(image, "split") == "test"))
        {
            string name = Text(image, "filename") ?? throw new UserError($"{file}: an image of the test split has no filename");
            string[] own = Property(image, "sentences") is { ValueKind: JsonValueKind.Array } sentences
                ? [.. sentences.EnumerateArray().Select(sentence => Text(sentence, "raw") ?? throw new UserError($"{file}: a sentence of {name} has no text 'raw'")).Take(CaptionsPerImage)]
                : [];
            images.Add(TextFile.Resolve(Path.Combine(Text(image, "filepath") ?? "", name), root));
            captions.AddRange(own.Length == CaptionsPerImage ? own : throw new UserError($"{file}: {name} has {own.Length} sentences; the protocol takes the first {CaptionsPerImage}"));
        }

        return images.Count > 0 ? new RetrievalSet(images, captions, RgbFirst: true) : throw new UserError($"{file}: has no image of the split 'test'");
    }

    private static RetrievalSet Flickr30k(string path, string? imageRoot)
    {
        string file = CaptionFile(path, "results_20130124.token", "results.csv");
        List<string> images = [];
        List<string> captions = [];
        int number = 0;
        foreach (string line in TextFile.Lines(file, MaxLine).Where(line => line.Length > 0 && !line.StartsWith("image_name|", StringComparison.Ordinal)))
        {
            int position = number++ % CaptionsPerImage;
            Match match = FlickrLine().Match(line);
            string image = match.Groups["image"].Value;
            if (!match.Success || match.Groups["position"].Value != position.ToString(CultureInfo.InvariantCulture) || (position > 0 && image != images[^1]))
            {
                throw new UserError($"{file}: line {number} is not caption {position} of an image, 'NAME.jpg#{position}<tab>caption'; five consecutive lines belong to one image");
            }

            if (position == 0)
            {
                images.Add(image);
            }

            captions.Add(match.Groups["caption"].Value);
        }

        string root = ImageFolder(file, imageRoot, "flickr30k-images");
        return images.Count > 0 && captions.Count == CaptionsPerImage * images.Count
            ? new RetrievalSet([.. images.Select(image => TextFile.Resolve(image, root))], captions)
            : throw new UserError($"{file}: ends after {captions.Count} captions, which are not five for every image; it is truncated");
    }

    private static RetrievalSet Pairs(string file, string root, CaptionRecord[] records) => records.Length > 0
        ? new RetrievalSet([.. records.Select(record => TextFile.Resolve(record.ImagePath, root))], [.. records.Select(record => record.Caption)])
        : throw new UserError($"{file}: holds no caption");

    private static string CaptionFile(string path, params string[] names) => !Directory.Exists(path) ? path
        : names.Select(name => Path.Combine(path, name)).FirstOrDefault(File.Exists)
            ?? throw new UserError($"{path}: holds none of {string.Join(", ", names)}");

    /// <summary>The folder given, else the usual one beside the captions, else the captions' own.</summary>
    private static string ImageFolder(string file, string? given, string? usual = null)
    {
        string own = Path.GetDirectoryName(Path.GetFullPath(file))!;
        return Path.GetFullPath(given ?? (usual is not null && Directory.Exists(Path.Combine(own, usual)) ? Path.Combine(own, usual) : own));
    }

    /// <summary>Sorts 2.txt before 10.txt.</summary>
    private static string NaturalKey(string path) => Digits().Replace(Path.GetFileName(path), number => number.Value.PadLeft(20, '0'));

    /// <summary>The token file's <c>NAME#i TAB caption</c>, or <c>NAME| i| caption</c> as Kaggle's copy has it, where one line lacks its second bar.</summary>
    [GeneratedRegex(@"^(?:(?<image>[^\t]+)#(?<position>\d)\t(?<caption>.*)|(?<image>[^|\t]+)\| *(?<position>\d) *(?:\|| {2,}) *(?<caption>.*))$")]
    private static partial Regex FlickrLine();

    [GeneratedRegex("[0-9]+")]
    private static partial Regex Digits();

    private static JsonDocument ParseJson(string text, string where)
    {
        try
        {
            return JsonText.Document(text);
        }
        catch (JsonException failure)
        {
            throw new UserError($"{where}: is no JSON ({failure.Message})", failure);
        }
    }

    private static JsonDocument ParseJson(string file)
    {
        using FileStream stream = TextFile.Open(file);
        try
        {
            return JsonText.Document(stream);
        }
        catch (JsonException failure)
        {
            throw new UserError($"{file}: is no JSON, or is damaged ({failure.Message})", failure);
        }
    }

    private static JsonElement? Property(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value) ? value : null;

    private static string? Text(JsonElement element, string name) =>
        Property(element, name) is { ValueKind: JsonValueKind.String } value ? value.GetString() : null;

    private static long Number(JsonElement element, string name, string file) =>
        Property(element, name) is { ValueKind: JsonValueKind.Number } value && value.TryGetInt64(out long number) ? number : throw new UserError($"{file}: an entry has no whole number '{name}'");
}
