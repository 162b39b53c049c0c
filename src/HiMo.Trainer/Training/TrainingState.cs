// SPDX-License-Identifier: Apache-2.0
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// What a run needs to go on as if it had never stopped: the weights (checkpoints/step_000120.safetensors) and what else changes
/// (the same name with .state: moments, average, counters). Batches and captions are functions of seed and step, so no random state is kept. The .state is written
/// last and makes the pair valid; only the newest one is kept.
/// </summary>
internal static class TrainingState
{
    private const string StateEnding = ".state";
    private const string WeightsEnding = ".safetensors";

    /// <summary>Writes both files.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="parts">What the run consists of.</param>
    /// <param name="metadata">Travels with the weights.</param>
    /// <param name="keep">Checkpoints whose weights are kept, this one included; 0 keeps all.</param>
    /// <exception cref="UserError">The file system refuses; earlier checkpoints are as they were.</exception>
    public static void Save(string folder, TrainingParts parts, IReadOnlyDictionary<string, string> metadata, int keep)
    {
        string stem = Path.Combine(Checkpoints(folder), $"step_{parts.Done:D6}");
        string[] older = Files(folder, StateEnding);
        parts.Model.Save(stem + WeightsEnding, metadata, ScalarType.Float32);
        SafetensorsFile.Write(stem + StateEnding, parts.Tensors, parts.Counters);
        IEnumerable<string> weights = keep > 0 ? Files(folder, WeightsEnding).SkipLast(keep) : [];
        foreach (string file in older.Where(state => state != stem + StateEnding).Concat(weights))
        {
            File.Delete(file);
        }
    }

    /// <summary>Restores the newest checkpoint; false if the run has none.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="parts">Receives everything.</param>
    /// <exception cref="UserError">A file is damaged or belongs to another model.</exception>
    public static bool TryRestore(string folder, TrainingParts parts)
    {
        if (Files(folder, StateEnding).LastOrDefault() is not { } state)
        {
            return false;
        }

        using TensorFile weights = TensorFile.Open(Path.ChangeExtension(state, WeightsEnding)), others = TensorFile.Open(state);
        foreach ((string name, Parameter parameter) in parts.Model.named_parameters())
        {
            Tensor(weights, name, parameter, state).CopyTo(parameter);
        }

        foreach ((string name, Tensor tensor) in parts.Tensors)
        {
            Tensor(others, name, tensor, state).CopyTo(tensor);
        }

        parts.Counters = others.Metadata;
        return true;
    }

    private static StoredTensor Tensor(TensorFile file, string name, Tensor target, string state) =>
        file.Tensors.TryGetValue(name, out StoredTensor? stored) && stored.Shape.AsSpan().SequenceEqual(target.shape)
            ? stored
            : throw new UserError($"{state}: holds no {name} of {string.Join(" x ", target.shape)}; the checkpoint belongs to another model");

    private static string Checkpoints(string folder) => Path.Combine(folder, "checkpoints");

    /// <summary>All files of a kind, oldest first.</summary>
    private static string[] Files(string folder, string ending) => Directory.Exists(Checkpoints(folder))
        ? [.. Directory.EnumerateFiles(Checkpoints(folder), $"step_*{ending}").OrderBy(path => path.Length).ThenBy(path => path, StringComparer.Ordinal)]
        : [];
}
