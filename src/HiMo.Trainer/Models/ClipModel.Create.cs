// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

public sealed partial class ClipModel
{
    /// <summary>A model with random weights, the same for the same seed; torch's global generator is not touched.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="seed">Any value.</param>
    /// <remarks>
    /// Scales as in OpenAI's code for the text side, used for both transformers (conv1: fan-in^-1/2): normal with 0.02 for tokens, 0.01 for text positions,
    /// width^-1/2 for queries, keys, values and projections, (2 width)^-1/2 for c_fc, width^-1/2 (2 layers)^-1/2 for layers that
    /// write into the residual stream; biases zero, logit scale ln(1 / 0.07). With frozen positions both tables start equal.
    /// </remarks>
    /// <exception cref="ArgumentException">The architecture is impossible.</exception>
    public static ClipModel Create(ClipConfig config, long seed)
    {
        TorchLoader.EnsureLoaded();
        ClipModel model = new(config);
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        using Generator generator = new((ulong)seed);
        foreach ((string name, Parameter parameter) in model.named_parameters())
        {
            if (name.EndsWith("bias", StringComparison.Ordinal))
            {
                _ = parameter.zero_();
            }
            else if (name.Contains("ln_", StringComparison.Ordinal))
            {
                _ = parameter.copy_(tensor(1.0f));
            }
            else if (name == ClipShapes.LogitScale)
            {
                _ = parameter.copy_(tensor((float)Math.Log(1.0 / 0.07)));
            }
            else if (name == ClipShapes.TrainedPositions)
            {
                _ = parameter.copy_(model._positions);
            }
            else
            {
                _ = parameter.normal_(0.0, Deviation(name, config), generator);
            }
        }

        return model;
    }

    private static double Deviation(string name, ClipConfig config)
    {
        bool vision = name.StartsWith("visual.", StringComparison.Ordinal);
        double width = vision ? config.VisionWidth : config.TextWidth;
        double layers = vision ? config.VisionLayers : config.TextLayers;
        double inputs = name switch
        {
            _ when name.EndsWith("c_fc.weight", StringComparison.Ordinal) => 2.0 * width,
            _ when name.EndsWith("out_proj.weight", StringComparison.Ordinal) || name.EndsWith("c_proj.weight", StringComparison.Ordinal) => width * 2.0 * layers,
            _ when name.EndsWith("conv1.weight", StringComparison.Ordinal) => 3.0 * config.PatchSize * config.PatchSize,
            "token_embedding.weight" => 2500.0,
            ClipShapes.Positions => 10_000.0,
            _ => width,
        };
        return 1.0 / Math.Sqrt(inputs);
    }
}
