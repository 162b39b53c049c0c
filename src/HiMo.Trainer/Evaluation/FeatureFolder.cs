// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Win32.SafeHandles;

namespace HiMo.Trainer;

/// <summary>
/// A folder of features: <c>features.npy</c> (n x e, float32, unit rows), <c>index.jsonl</c> with a line for every row and for every image that
/// was skipped, and <c>encode.json</c> with what was encoded by which model.
/// </summary>
internal sealed class FeatureFolder
{
    /// <summary>The features, there only when they are complete.</summary>
    public const string FeaturesFile = "features.npy";

    /// <summary>What the rows are.</summary>
    public const string IndexFile = "index.jsonl";

    /// <summary>What was encoded by which model.</summary>
    public const string DescriptionFile = "encode.json";

    private const int BlockRows = 4096;
    private const int MaxLine = 1 << 22;

    private readonly string _features;
    private readonly long _dataStart;

    private FeatureFolder(string folder, JsonObject description, (int Rows, int Width, long DataStart) shape, string[] names)
    {
        (_features, Names, Rows, Width, _dataStart) = (Path.Combine(folder, FeaturesFile), names, shape.Rows, shape.Width, shape.DataStart);
        Kind = Text(description, "kind");
        Root = Text(description, "root");
        Model = Text(description, "model");

        string Text(JsonObject json, string key) => json[key] is JsonValue value && value.TryGetValue(out string? text)
            ? text
            : throw new UserError($"{Path.Combine(folder, DescriptionFile)}: has no text '{key}'");
    }

    /// <summary><see cref="EncodingSource.Image"/> or <see cref="EncodingSource.Text"/>.</summary>
    public string Kind { get; }

    /// <summary>Folder that image names are relative to.</summary>
    public string Root { get; }

    /// <summary>Fingerprint of the model, <see cref="ClipModel.Fingerprint"/>.</summary>
    public string Model { get; }

    /// <summary>Number of rows.</summary>
    public int Rows { get; }

    /// <summary>Number of columns, e.</summary>
    public int Width { get; }

    /// <summary>Name of the image, or the text, of each row.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>What a row is: the path of an image, or the text.</summary>
    /// <param name="row">From 0 to <see cref="Rows"/> - 1.</param>
    public string NameOf(int row) => Kind == EncodingSource.Image ? Path.Combine(Root, Names[row]) : Names[row];

    /// <summary>Opens a complete folder; the features stay on disk.</summary>
    /// <param name="folder">From <c>encode</c>.</param>
    /// <exception cref="UserError">It is missing, incomplete or damaged.</exception>
    public static FeatureFolder Open(string folder)
    {
        string features = Path.Combine(folder, FeaturesFile);
        if (!File.Exists(features))
        {
            throw new UserError(File.Exists(Path.Combine(folder, DescriptionFile))
                ? $"{folder}: its features are not complete; call the same 'himo encode' again, it goes on where it stopped"
                : $"{folder}: holds no {FeaturesFile}; 'himo encode --image-folder DIR --out {folder}' makes it");
        }

        (string type, int[] shape, long start) = NpyFile.ReadHeader(features);
        string[] names = [.. ReadIndex(Path.Combine(folder, IndexFile)).Where(entry => entry.Error is null).Select(entry => entry.Name)];
        return type == "f4" && shape is [int rows, int width] && rows == names.Length
            ? new FeatureFolder(folder, ReadDescription(folder), (rows, width, start), names)
            : throw new UserError($"{features}: holds {string.Join(" x ", shape)} values of type {type}, but {IndexFile} names {names.Length} rows; delete {folder} and encode again");
    }

    /// <summary>The description of a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="UserError">It is missing or no JSON object.</exception>
    public static JsonObject ReadDescription(string folder) => ComparisonTable.Read(Path.Combine(folder, DescriptionFile));

    /// <summary>The lines of an index: a name, and why it has no row where it was skipped.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">A line is no such object.</exception>
    public static IEnumerable<(string Name, string? Error)> ReadIndex(string path)
    {
        int number = 0;
        foreach (string line in TextFile.Lines(path, MaxLine))
        {
            number++;
            yield return Parse(line) ?? throw new UserError($"{path}: line {number} is no JSON object with a name");
        }
    }

    /// <summary>A line of an index, or null where it is none, as the last one of a killed run.</summary>
    /// <param name="line">The line without its end.</param>
    public static (string Name, string? Error)? Parse(string line)
    {
        try
        {
            JsonObject? json = JsonText.Node(line) as JsonObject;
            return json?["name"]?.GetValue<string>() is { } name ? (name, json["skipped"]?.GetValue<string>()) : null;
        }
        catch (Exception failure) when (failure is JsonException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>The rows most similar to a query. The file is read once, a block at a time.</summary>
    /// <param name="query">e values, a unit vector.</param>
    /// <param name="count">How many rows are wanted.</param>
    /// <param name="cancel">Stops between blocks.</param>
    /// <returns>Rows and cosines, the most similar first.</returns>
    /// <exception cref="UserError">The file cannot be read.</exception>
    public IReadOnlyList<(int Row, float Similarity)> Search(float[] query, int count, CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(query.Length, Width);
        float[] scores = new float[Rows];
        float[] block = new float[Math.Min(BlockRows, Rows) * Width];
        try
        {
            using SafeFileHandle file = File.OpenHandle(_features, options: FileOptions.SequentialScan);
            for (int first = 0; first < Rows; first += BlockRows)
            {
                cancel.ThrowIfCancellationRequested();
                int start = first, rows = Math.Min(BlockRows, Rows - start);
                ReadAll(file, MemoryMarshal.AsBytes(block.AsSpan(0, rows * Width)), _dataStart + ((long)start * Width * sizeof(float)));
                Parallel.For(0, rows, row => scores[start + row] = TensorPrimitives.Dot(block.AsSpan(row * Width, Width), query));
            }
        }
        catch (IOException failure)
        {
            throw new UserError($"{_features}: cannot be read ({failure.Message})", failure);
        }

        return [.. QueryHits.Highest(scores, count).Select(row => (row, scores[row]))];
    }

    private void ReadAll(SafeFileHandle file, Span<byte> target, long offset)
    {
        while (target.Length > 0)
        {
            int read = RandomAccess.Read(file, target, offset);
            if (read == 0)
            {
                throw new UserError(string.Create(CultureInfo.InvariantCulture, $"{_features}: ends at byte {offset}; it is truncated"));
            }

            target = target[read..];
            offset += read;
        }
    }
}
