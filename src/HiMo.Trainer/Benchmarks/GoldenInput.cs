// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Inputs and options of the authors' stored runs: folders with <c>v.npy</c>, <c>u.npy</c> and <c>manifest.json</c>.</summary>
internal static class GoldenInput
{
    private const string Variable = "HIMO_TEST_DATA";

    /// <summary>The folder of all stored losses: below HIMO_TEST_DATA, else below <c>shared</c> beside the working directory's checkout; may be missing.</summary>
    public static string DefaultFolder => Path.Combine(
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } set ? set : Path.Combine(Environment.CurrentDirectory, "..", "shared"), "golden", "loss");

    /// <summary>Every configuration of at most so many rows, degenerate ones included.</summary>
    /// <param name="folder">The folder of all stored losses.</param>
    /// <param name="maxRows">Larger batches are left out.</param>
    public static IEnumerable<AccuracyCase> All(string folder, int maxRows)
    {
        IEnumerable<string> folders = Directory.GetDirectories(folder, "n*").Concat(Directory.GetDirectories(Path.Combine(folder, "degenerate"))).Order(StringComparer.Ordinal);
        foreach (string path in folders)
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(path, "manifest.json")));
            JsonElement manifest = document.RootElement;
            int rows = manifest.GetProperty("N").GetInt32(), columns = manifest.GetProperty("d").GetInt32();
            if (rows > maxRows)
            {
                continue;
            }

            string name = Path.GetFileName(path);
            float[] images = NpyFile.Read<float>(Path.Combine(path, "v.npy")).Elements, texts = NpyFile.Read<float>(Path.Combine(path, "u.npy")).Elements;
            bool single = manifest.TryGetProperty("params", out JsonElement own);
            JsonElement[] configurations = single ? [own] : [.. manifest.GetProperty("configs").EnumerateArray().Select(config => config.GetProperty("params"))];
            for (int i = 0; i < configurations.Length; i++)
            {
                double logitScale = configurations[i].GetProperty("log_scale").GetDouble();
                yield return new(
                    single ? "golden, degenerate" : "golden", single ? name : $"{name} {i}", rows, columns, images, texts, logitScale, ReadOptions(configurations[i]));
            }
        }
    }

    /// <summary>The options that a manifest's <c>params</c> name.</summary>
    public static MoLoOptions ReadOptions(JsonElement given)
    {
        string[] terms = [.. given.GetProperty("terms").EnumerateArray().Select(term => term.GetString()!)];
        return new MoLoOptions
        {
            Tau = given.GetProperty("tau").GetDouble(),
            Lambda = terms.Contains("comp") ? given.GetProperty("lam").GetDouble() : 0.0,
            GlobalWeight = terms.Contains("global") ? 1.0 : 0.0,
            LabelSmoothing = given.GetProperty("label_smoothing").GetDouble(),
            Components = given.GetProperty("pca").GetString() switch
            {
                "text" => ComponentSource.Text,
                "image" => ComponentSource.Image,
                "both" => ComponentSource.TextAndImage,
                string other => throw new InvalidDataException($"pca is {other}"),
                null => throw new InvalidDataException("pca is null"),
            },
            ComponentNormalization = given.GetProperty("renorm").GetBoolean() ? ComponentNormalization.Cosine : ComponentNormalization.None,
        };
    }
}
