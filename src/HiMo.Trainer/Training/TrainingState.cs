// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// What a run needs to go on as if it had never stopped: the weights (checkpoints/step_000120.safetensors) and the optimizer's moments
/// (the same name with .state). Batches and captions are functions of seed and step, so no random state is kept. The .state is written
/// last and makes the pair valid; only the newest one is kept, the weights all.
/// </summary>
internal static class TrainingState
{
    private const string StepKey = "himo.step";
    private const string StateEnding = ".state";
    private const string WeightsEnding = ".safetensors";

    /// <summary>Writes both files.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="model">The weights.</param>
    /// <param name="metadata">Travels with the weights.</param>
    /// <param name="optimizer">The moments and the number of steps done.</param>
    /// <exception cref="UserError">The file system refuses; earlier checkpoints are as they were.</exception>
    public static void Save(string folder, ClipModel model, IReadOnlyDictionary<string, string> metadata, FusedAdamW optimizer)
    {
        string stem = Path.Combine(Checkpoints(folder), $"step_{optimizer.Count:D6}");
        string[] older = States(folder);
        model.Save(stem + WeightsEnding, metadata, ScalarType.Float32);
        Dictionary<string, string> step = new() { [StepKey] = optimizer.Count.ToString(CultureInfo.InvariantCulture) };
        SafetensorsFile.Write(stem + StateEnding, optimizer.Moments, step);
        foreach (string state in older.Where(state => state != stem + StateEnding))
        {
            File.Delete(state);
        }
    }

    /// <summary>Restores the newest checkpoint; false if the run has none.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="model">Receives the weights.</param>
    /// <param name="optimizer">Receives the moments and the number of steps done.</param>
    /// <exception cref="UserError">A file is damaged or belongs to another model.</exception>
    public static bool TryRestore(string folder, ClipModel model, FusedAdamW optimizer)
    {
        if (States(folder).LastOrDefault() is not { } state)
        {
            return false;
        }

        using TensorFile weights = TensorFile.Open(Path.ChangeExtension(state, WeightsEnding)), moments = TensorFile.Open(state);
        foreach ((string name, Parameter parameter) in model.named_parameters())
        {
            Tensor(weights, name, parameter, state).CopyTo(parameter);
        }

        foreach ((string name, Tensor moment) in optimizer.Moments)
        {
            Tensor(moments, name, moment, state).CopyTo(moment);
        }

        optimizer.Count = long.Parse(moments.Metadata.GetValueOrDefault(StepKey, ""), NumberStyles.None, CultureInfo.InvariantCulture);
        return true;
    }

    private static StoredTensor Tensor(TensorFile file, string name, Tensor target, string state) =>
        file.Tensors.TryGetValue(name, out StoredTensor? stored) && stored.Shape.AsSpan().SequenceEqual(target.shape)
            ? stored
            : throw new UserError($"{state}: holds no {name} of {string.Join(" x ", target.shape)}; the checkpoint belongs to another model");

    private static string Checkpoints(string folder) => Path.Combine(folder, "checkpoints");

    /// <summary>All states, oldest first.</summary>
    private static string[] States(string folder) => Directory.Exists(Checkpoints(folder))
        ? [.. Directory.EnumerateFiles(Checkpoints(folder), $"step_*{StateEnding}").OrderBy(path => path.Length).ThenBy(path => path, StringComparer.Ordinal)]
        : [];
}
