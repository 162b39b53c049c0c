// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

public sealed partial class ClipModel
{
    private const string ActivationKey = "himo.activation";

    /// <summary>Loads a checkpoint in float32; its kind is told by its content, its architecture by its shapes.</summary>
    /// <param name="path">The file.</param>
    /// <param name="context">Longest text wanted, or null for the checkpoint's own; a longer one stretches the positions.</param>
    /// <exception cref="UserError">The file is missing, malformed, no CLIP, or has no such context.</exception>
    public static ClipModel Load(string path, int? context = null)
    {
        TorchLoader.EnsureLoaded();
        using Checkpoint checkpoint = Checkpoint.Read(path);
        ClipActivation activation = ReadActivation(path, checkpoint.Metadata);
        ClipConfig config = Architecture.Infer(path, checkpoint.Tensors.ToDictionary(pair => pair.Key, pair => pair.Value.Shape), activation);
        ClipModel model = new(config) { Metadata = checkpoint.Metadata };
        try
        {
            foreach ((string name, Parameter parameter) in model.named_parameters())
            {
                checkpoint.Tensors[name].CopyTo(parameter);
            }

            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Writes safetensors in OpenAI's names, complete or not at all.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="metadata">Text to keep beside the weights; the activation is added.</param>
    /// <param name="dtype">The weights' type in the file: float32, float16 or bfloat16; the logit scale stays float32.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public void Save(string path, IReadOnlyDictionary<string, string> metadata, ScalarType dtype)
    {
        Dictionary<string, string> all = new(metadata) { [ActivationKey] = ActivationName(Config.Activation) };
        SafetensorsFile.Write(path, named_parameters().Select(pair => (pair.name, (Tensor)pair.parameter)), all, dtype);
    }

    private static string ActivationName(ClipActivation activation) => activation == ClipActivation.Gelu ? "gelu" : "quick_gelu";

    private static ClipActivation ReadActivation(string path, IReadOnlyDictionary<string, string> metadata) => metadata.GetValueOrDefault(ActivationKey) switch
    {
        null or "quick_gelu" => ClipActivation.QuickGelu,
        "gelu" => ClipActivation.Gelu,
        string other => throw new UserError($"{path}: its metadata names the activation '{other}'; known are quick_gelu and gelu"),
    };
}
