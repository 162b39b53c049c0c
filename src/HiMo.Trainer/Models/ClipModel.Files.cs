// SPDX-License-Identifier: Apache-2.0
using System.Security.Cryptography;
using System.Text;
using HiMo.Interop;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

public sealed partial class ClipModel
{
    /// <summary>Loads a checkpoint in float32; its kind is told by its content, its architecture by its shapes.</summary>
    /// <param name="path">
    /// safetensors (one file or an index of several), torch.save or TorchScript; in the names of OpenAI, Long-CLIP, open_clip or Hugging Face.
    /// </param>
    /// <param name="context">Longest text wanted, or null for the checkpoint's own L; 4 L - 60 (248 for 77) stretches the positions.</param>
    /// <param name="precision">How stretched positions are rounded.</param>
    /// <param name="activation">Overrules what the checkpoint or a configuration beside it says; null believes them.</param>
    /// <exception cref="UserError">The file is missing, malformed, no CLIP, or has no such context.</exception>
    public static ClipModel Load(string path, int? context = null, StretchPrecision precision = StretchPrecision.F32, ClipActivation? activation = null)
    {
        TorchLoader.EnsureLoaded();
        using Checkpoint checkpoint = Checkpoint.Read(path);
        ClipConfig config = checkpoint.InferConfig();
        config = config with { Activation = activation ?? config.Activation };
        bool stretch = NeedsStretch(path, config, context);
        ClipModel model = new(stretch ? config with { ContextLength = context!.Value, HasFrozenPositions = true } : config) { Metadata = checkpoint.Metadata, _source = path };
        try
        {
            foreach ((string name, Parameter parameter) in model.named_parameters())
            {
                if (!stretch || name is not (ClipShapes.Positions or ClipShapes.TrainedPositions))
                {
                    checkpoint.Tensors[name].CopyTo(parameter);
                }
            }

            if (stretch)
            {
                model.Stretch(checkpoint.Tensors[ClipShapes.Positions], precision);
            }

            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static bool NeedsStretch(string path, ClipConfig config, int? context)
    {
        int own = config.ContextLength;
        if (context is null || context == own)
        {
            return false;
        }

        int stretched = PositionalTable.StretchedLength(own);
        bool canStretch = !config.HasFrozenPositions && own > PositionalTable.Frozen;
        return canStretch && context == stretched
            ? true
            : throw new UserError($"{path}: has {own} text positions{(canStretch ? $", which stretch to {stretched}" : "")}; a context of {context} cannot be had from it, shorter texts can be encoded as they are");
    }

    private void Stretch(CheckpointTensor positions, StretchPrecision precision)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor own = empty(positions.Shape, float32);
        positions.CopyTo(own);
        Tensor stretched = PositionalTable.Stretch(own, precision);
        _ = _positions.copy_(stretched);
        _ = _trainedPositions!.copy_(stretched);
    }

    /// <summary>SHA-256 over all weights and the activation, in hexadecimal: equal for models that give equal features, whatever file they came from.</summary>
    internal string Fingerprint()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(ModelSettings.Name(Config.Activation)));
        foreach ((string name, Parameter parameter) in named_parameters().OrderBy(pair => pair.name, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes(name));
            using Tensor host = parameter.detach().cpu();
            hash.AppendData(host.bytes);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Writes safetensors in OpenAI's names, complete or not at all.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="metadata">Text to keep beside the weights; the activation is added.</param>
    /// <param name="dtype">The weights' type in the file: float32, float16 or bfloat16; the logit scale stays float32.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public void Save(string path, IReadOnlyDictionary<string, string> metadata, ScalarType dtype)
    {
        Dictionary<string, string> all = new(metadata) { [Checkpoint.ActivationKey] = ModelSettings.Name(Config.Activation) };
        SafetensorsFile.Write(path, named_parameters().Select(pair => (pair.name, (Tensor)pair.parameter)), all, dtype);
    }
}
