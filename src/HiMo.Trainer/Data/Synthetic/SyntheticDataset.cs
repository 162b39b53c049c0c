// SPDX-License-Identifier: Apache-2.0
using System.Text.Encodings.Web;
using System.Text.Json;

namespace HiMo.Trainer;

/// <summary>
/// Writes scenes as a data folder: images and captions.json in ShareGPT4V's layout, a held-out evaluation split with growing captions, and
/// dataset.json, which says what the folder was made from. The folder appears complete or not at all; the same parameters give the same
/// bytes for any number of threads.
/// </summary>
internal static class SyntheticDataset
{
    /// <summary>Held-out scenes.</summary>
    public const int EvaluationCount = 1000;

    /// <summary>Positions of the text encoder that hold every caption with room for fillers.</summary>
    public const int Context = 88;

    // Part of every seed's meaning: a change of what is drawn or painted needs a new number.
    private const int Generator = 1;
    private const long TrainingSplit = 1;
    private const long EvaluationSplit = 2;

    private static readonly JsonWriterOptions s_json = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes the folder, or leaves it as it is where it was made from the same parameters.</summary>
    /// <param name="folder">Folder to create; may exist if it is empty or complete.</param>
    /// <param name="count">Training scenes, at least 1.</param>
    /// <param name="seed">Chooses all scenes.</param>
    /// <param name="threads">Worker threads; 0 takes one per processor.</param>
    /// <param name="evaluationCount">Held-out scenes.</param>
    /// <param name="progress">Receives the number of finished scenes; may be null.</param>
    /// <param name="cancel">Stops the work; nothing is left behind.</param>
    /// <returns>False if the complete folder was already there.</returns>
    /// <exception cref="UserError">The folder holds something else, or the file system refuses.</exception>
    public static bool Write(
        string folder, int count, long seed, int threads = 0, int evaluationCount = EvaluationCount, Action<int>? progress = null, CancellationToken cancel = default)
    {
        string target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        byte[] description = Describe(count, seed, evaluationCount);
        if (IsComplete(target, description))
        {
            return false;
        }

        string partial = $"{target}.{Environment.ProcessId}.partial";
        try
        {
            RemoveAbandoned(target);
            ParallelOptions parallel = new() { MaxDegreeOfParallelism = threads > 0 ? threads : Environment.ProcessorCount, CancellationToken = cancel };
            int done = 0;
            string[][] WriteScenes(string images, long split, int scenes)
            {
                _ = Directory.CreateDirectory(images);
                string[][] captions = new string[scenes][];
                _ = Parallel.For(0, scenes, parallel, () => new SceneRenderer(), (index, _, renderer) =>
                {
                    SeededRandom random = new(seed, split, index);
                    Scene scene = Scene.Draw(random);
                    File.WriteAllBytes(Path.Combine(images, FileName(index)), renderer.Png(scene, random));
                    captions[index] = SceneCaption.Sentences(scene);
                    progress?.Invoke(Interlocked.Increment(ref done));
                    return renderer;
                }, _ => { });
                return captions;
            }

            WriteCaptions(partial, WriteScenes(Path.Combine(partial, "images"), TrainingSplit, count));
            WriteGrowingCaptions(partial, WriteScenes(Path.Combine(partial, "eval", "images"), EvaluationSplit, evaluationCount));
            File.WriteAllBytes(Path.Combine(partial, DatasetDescription.FileName), description);
            if (Directory.Exists(target))
            {
                Directory.Delete(target); // succeeds for an empty folder only
            }

            Directory.Move(partial, target);
            return true;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new UserError($"{folder}: cannot be written ({failure.Message})", failure);
        }
        finally
        {
            if (Directory.Exists(partial))
            {
                Directory.Delete(partial, recursive: true);
            }
        }
    }

    private static string FileName(int index) => $"{index:D6}.png";

    private static bool IsComplete(string target, byte[] description)
    {
        if (!Directory.Exists(target) || !Directory.EnumerateFileSystemEntries(target).Any())
        {
            return false;
        }

        string marker = Path.Combine(target, DatasetDescription.FileName);
        return File.Exists(marker) && File.ReadAllBytes(marker).AsSpan().SequenceEqual(description)
            ? true
            : throw new UserError($"{target}: holds something other than this data set; give another --out, or remove the folder");
    }

    /// <summary>Removes what killed runs left: folders of processes that are gone.</summary>
    private static void RemoveAbandoned(string target)
    {
        string parent = Path.GetDirectoryName(target) ?? target;
        _ = Directory.CreateDirectory(parent);
        foreach (string folder in Directory.EnumerateDirectories(parent, $"{Path.GetFileName(target)}.*.partial"))
        {
            string process = Path.GetFileName(folder)[(Path.GetFileName(target).Length + 1)..^".partial".Length];
            if (int.TryParse(process, out int id) && !IsRunning(id))
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    private static bool IsRunning(int process)
    {
        try
        {
            using System.Diagnostics.Process running = System.Diagnostics.Process.GetProcessById(process);
            return !running.HasExited;
        }
        catch (ArgumentException)
        {
            return false; // this is how GetProcessById says that there is none
        }
    }

    private static void WriteCaptions(string folder, string[][] captions)
    {
        using FileStream stream = File.Create(Path.Combine(folder, "captions.json"));
        using Utf8JsonWriter json = new(stream, s_json);
        json.WriteStartArray();
        for (int i = 0; i < captions.Length; i++)
        {
            json.WriteStartObject();
            json.WriteString("id", $"{i:D6}");
            json.WriteString("image", $"images/{FileName(i)}");
            json.WriteStartArray("conversations");
            WriteTurn(json, "human", "<image>");
            WriteTurn(json, "gpt", string.Join(' ', captions[i]));
            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteTurn(Utf8JsonWriter json, string speaker, string text)
    {
        json.WriteStartObject();
        json.WriteString("from", speaker);
        json.WriteString("value", text);
        json.WriteEndObject();
    }

    private static void WriteGrowingCaptions(string folder, string[][] captions)
    {
        using FileStream stream = File.Create(Path.Combine(folder, "eval", "captions.jsonl"));
        for (int i = 0; i < captions.Length; i++)
        {
            using (Utf8JsonWriter json = new(stream))
            {
                json.WriteStartObject();
                json.WriteString("img_path", FileName(i));
                json.WriteStartArray("caption");
                for (int sentences = 1; sentences <= captions[i].Length; sentences++)
                {
                    json.WriteStringValue(string.Join(' ', captions[i][..sentences]));
                }

                json.WriteEndArray();
                json.WriteString("raw_caption", string.Join(' ', captions[i]));
                json.WriteEndObject();
            }

            stream.WriteByte((byte)'\n');
        }
    }

    private static byte[] Describe(int count, long seed, int evaluationCount) => JsonSerializer.SerializeToUtf8Bytes(
        new DatasetDescription
        {
            Kind = "himo-scenes",
            Generator = Generator,
            Seed = seed,
            Count = count,
            EvaluationCount = evaluationCount,
            ImageSize = SceneRenderer.Size,
            Context = Context,
            Words = WordTokenizer.Layout(SceneVocabulary.Words),
            Filler = SceneVocabulary.Filler,
        },
        DatasetDescriptionJson.Default.DatasetDescription);
}
