// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>What a step computed with when its loss or gradient was not finite, so that it can be looked into.</summary>
internal static class DivergedStep
{
    /// <summary>Writes the batch (planes.npy, ids.npy, pairs.json) and the weights before the step into a folder of its own.</summary>
    /// <param name="run">The run's folder.</param>
    /// <param name="step">The step, from 1.</param>
    /// <param name="batch">Its pairs.</param>
    /// <param name="model">Its weights.</param>
    /// <param name="metadata">Travels with the weights.</param>
    /// <returns>The folder.</returns>
    /// <exception cref="UserError">The file system refuses.</exception>
    public static string Save(string run, long step, TrainingBatch batch, ClipModel model, IReadOnlyDictionary<string, string> metadata)
    {
        string folder = Path.Combine(run, $"diverged_step_{step:D6}");
        int rows = batch.Pairs.Length, context = model.Config.ContextLength, side = model.Config.ImageResolution;
        NpyFile.Write<byte>(Path.Combine(folder, "planes.npy"), batch.Planes, rows, 3, side, side);
        NpyFile.Write<long>(Path.Combine(folder, "ids.npy"), batch.Ids, rows, context);
        JsonArray pairs = [.. batch.Pairs.Select(pair => new JsonObject { ["image"] = pair.ImagePath, ["caption"] = pair.Caption })];
        AtomicFile.WriteText(Path.Combine(folder, "pairs.json"), pairs.ToJsonString(JsonText.Readable) + "\n");
        model.Save(Path.Combine(folder, TrainingRun.ModelFile), metadata, ScalarType.Float32);
        return folder;
    }
}
