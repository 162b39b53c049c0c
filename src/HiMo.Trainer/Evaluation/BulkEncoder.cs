// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Encodes many images or texts into a <see cref="FeatureFolder"/>, batch by batch; the next batch of images is decoded meanwhile. A batch's rows reach
/// the disk before its lines of the index, so a run that was killed goes on after the last complete batch, with the same bits.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="tokenizer">Its tokenizer; null where images are encoded.</param>
/// <param name="source">What to encode.</param>
/// <param name="folder">The folder to write.</param>
internal sealed class BulkEncoder(ClipModel model, ITokenizer? tokenizer, EncodingSource source, string folder)
{
    private const string Partial = FeatureFolder.FeaturesFile + ".partial";

    private readonly string _index = Path.Combine(folder, FeatureFolder.IndexFile);

    /// <summary>Items encoded at once.</summary>
    public int BatchSize { get; init; } = 32;

    /// <summary>Images that may be missing or damaged before the run fails.</summary>
    public int MaxBadImages { get; init; } = 100;

    private sealed record Loaded(float[] Pixels, (string Name, string? Error)[] Entries);

    /// <summary>Encodes what is not encoded yet.</summary>
    /// <param name="checkpoint">Name of the model's file, for the description.</param>
    /// <param name="progress">Shows how far it is; its total is the number of names.</param>
    /// <param name="cancel">Stops after a batch; what is encoded is kept.</param>
    /// <returns>Rows, and images without one.</returns>
    /// <exception cref="UserError">The folder holds something else, too many images are broken, or the file system refuses.</exception>
    public (int Rows, int Broken) Run(string checkpoint, Progress progress, CancellationToken cancel)
    {
        Claim(checkpoint);
        string complete = Path.Combine(folder, FeatureFolder.FeaturesFile);
        if (File.Exists(complete))
        {
            FeatureFolder done = FeatureFolder.Open(folder);
            return (done.Rows, source.Names.Count - done.Rows);
        }

        (int rows, int broken) = Encode(progress, cancel);
        File.Move(Path.Combine(folder, Partial), complete);
        return (rows, broken);
    }

    private (int Rows, int Broken) Encode(Progress progress, CancellationToken cancel)
    {
        using FileStream features = Open(Path.Combine(folder, Partial));
        using FileStream index = Open(_index);
        (int done, int rows) = Recover(features, index);
        int broken = done - rows;
        Stopwatch clock = Stopwatch.StartNew();
        Stopwatch waiting = new();
        int begun = done;
        Task<Loaded> next = Load(done);
        while (done < source.Names.Count)
        {
            cancel.ThrowIfCancellationRequested();
            waiting.Start();
            Loaded batch = next.GetAwaiter().GetResult();
            waiting.Stop();
            next = Load(done + batch.Entries.Length);
            float[] values = Features(batch);
            broken += batch.Entries.Count(entry => entry.Error is not null);
            if (broken > MaxBadImages)
            {
                throw new UserError($"more than {MaxBadImages} images cannot be read, the last one: {batch.Entries.Last(entry => entry.Error is not null).Error}; mend them, or allow more with --max-bad-images");
            }

            features.Write(MemoryMarshal.AsBytes<float>(values));
            features.Flush(flushToDisk: true);
            index.Write(Encoding.UTF8.GetBytes(string.Concat(batch.Entries.Select(Line))));
            index.Flush(flushToDisk: true);
            (done, rows) = (done + batch.Entries.Length, rows + (values.Length / model.Config.EmbedDim));
            progress.Report(done, string.Create(CultureInfo.InvariantCulture, $"{(done - begun) / clock.Elapsed.TotalSeconds:F0}/s, waiting for images {100 * waiting.Elapsed / clock.Elapsed:F0} %{(broken > 0 ? $", {broken} broken" : "")}"));
        }

        features.Position = 0;
        features.Write(NpyFile.Float32Header(rows, model.Config.EmbedDim));
        features.Flush(flushToDisk: true);
        return (rows, broken);
    }

    /// <summary>Makes the folder this job's, or finds that it is.</summary>
    private void Claim(string checkpoint)
    {
        JsonObject description = new()
        {
            ["kind"] = source.Kind,
            ["root"] = source.Root,
            ["names"] = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', source.Names)))),
            ["model"] = model.Fingerprint(),
            ["checkpoint"] = checkpoint,
            ["width"] = model.Config.EmbedDim,
            ["batch"] = BatchSize,
        };
        string path = Path.Combine(folder, FeatureFolder.DescriptionFile);
        if (!File.Exists(path))
        {
            AtomicFile.WriteText(path, description.ToJsonString(JsonText.Readable) + "\n");
            return;
        }

        JsonObject found = FeatureFolder.ReadDescription(folder);
        foreach ((string key, string what) in new[] { ("model", "another model"), ("kind", "something else"), ("root", "another source"), ("names", "other names; the source has changed"), ("batch", "another batch size") })
        {
            if (found[key]?.ToString() != description[key]!.ToString())
            {
                throw new UserError($"{folder}: was begun with {what}, from {found["root"]} by {found["checkpoint"]} in batches of {found["batch"]}; name another folder, or delete this one");
            }
        }
    }

    /// <summary>Cuts both files back to the last complete batch that is in both.</summary>
    private (int Done, int Rows) Recover(FileStream features, FileStream index)
    {
        int rowBytes = model.Config.EmbedDim * sizeof(float);
        long header = NpyFile.Float32Header(0, model.Config.EmbedDim).Length;
        long complete = Math.Max(0, (features.Length - header) / rowBytes);
        (int lines, int rows, long bytes) = (0, 0, 0);
        (int Done, int Rows, long Bytes) kept = default;
        using (StreamReader reader = new(index, Encoding.UTF8, detectEncodingFromByteOrderMarks: false, bufferSize: 1 << 16, leaveOpen: true))
        {
            // A line without its end is the last and is not parsed: its batch is not complete.
            while (reader.ReadLine() is { } line && FeatureFolder.Parse(line) is { } entry && rows + (entry.Error is null ? 1 : 0) <= complete)
            {
                bytes += Encoding.UTF8.GetByteCount(line) + 1;
                (lines, rows) = (lines + 1, rows + (entry.Error is null ? 1 : 0));
                kept = bytes <= index.Length && (lines % BatchSize == 0 || lines == source.Names.Count) ? (lines, rows, bytes) : kept;
            }
        }

        features.SetLength(header + ((long)kept.Rows * rowBytes));
        features.Position = features.Length;
        index.SetLength(kept.Bytes);
        index.Position = kept.Bytes;
        return (kept.Done, kept.Rows);
    }

    private Task<Loaded> Load(int first)
    {
        int count = Math.Min(BatchSize, source.Names.Count - first);
        return count <= 0 || source.Kind == EncodingSource.Text
            ? Task.FromResult(new Loaded([], [.. Enumerable.Range(first, Math.Max(0, count)).Select(i => (source.Names[i], (string?)null))]))
            : Task.Run(() =>
            {
                ImagePreprocessor preprocessor = new(model.Config.ImageResolution);
                float[] pixels = new float[count * preprocessor.ValuesPerImage];
                UserError?[] errors = preprocessor.TryLoad([.. Enumerable.Range(first, count).Select(source.PathOf)], pixels);
                return new Loaded(pixels, [.. errors.Select((error, i) => (source.Names[first + i], error?.Message))]);
            });
    }

    private float[] Features(Loaded batch)
    {
        using DisposeScope scope = NewDisposeScope();
        if (source.Kind == EncodingSource.Text)
        {
            return FeatureEncoder.Texts(model, tokenizer!, [.. batch.Entries.Select(entry => entry.Name)]).Features.data<float>().ToArray();
        }

        // A broken image is encoded as zeros, so that the others keep their place in the batch and thereby their bits.
        float[] all = FeatureEncoder.Images(model, batch.Pixels).data<float>().ToArray();
        int width = model.Config.EmbedDim;
        return [.. batch.Entries.SelectMany((entry, i) => entry.Error is null ? all[(i * width)..((i + 1) * width)] : [])];
    }

    private static string Line((string Name, string? Error) entry)
    {
        JsonObject json = new() { ["name"] = entry.Name };
        if (entry.Error is not null)
        {
            json["skipped"] = entry.Error;
        }

        return json.ToJsonString() + "\n";
    }

    private static FileStream Open(string path)
    {
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new UserError($"{path}: cannot be written ({failure.Message}); is another run at work there?", failure);
        }
    }
}
