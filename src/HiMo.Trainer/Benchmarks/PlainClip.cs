// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace HiMo.Trainer;

/// <summary>
/// The same CLIP as one would write it in TorchSharp: every position of every block, texts at full length, patches by a convolution, torch's fused
/// attention. What <see cref="ClipModel"/> is timed against; its parameters are copies of that model's.
/// </summary>
internal sealed class PlainClip : IDisposable
{
    private static readonly Scalar s_quickGelu = 1.702;

    private readonly ClipConfig _config;
    private readonly Dictionary<string, Parameter> _parameters;

    /// <summary>Copies a model's parameters.</summary>
    /// <param name="model">With one table of positions, or with a frozen one and a trained one.</param>
    public PlainClip(ClipModel model)
    {
        _config = model.Config;
        _parameters = model.named_parameters().ToDictionary(pair => pair.name, pair => new Parameter(pair.parameter.detach().clone(), pair.parameter.requires_grad));
    }

    public IReadOnlyCollection<Parameter> Parameters => _parameters.Values;

    public Parameter LogitScale => _parameters[ClipShapes.LogitScale];

    /// <summary>B x e features of B x 3 x R x R images, not normalised.</summary>
    public Tensor EncodeImage(Tensor images)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor patches = F.conv2d(images, this["visual.conv1.weight"], strides: [_config.PatchSize, _config.PatchSize]).flatten(2).transpose(1, 2);
        Tensor tokens = cat([this["visual.class_embedding"].expand(images.shape[0], 1, -1), patches], 1).Plus(this["visual.positional_embedding"]);
        Tensor x = Blocks(Norm(tokens, "visual.ln_pre"), "visual.", _config.VisionLayers, causal: false);
        return Norm(x.select(1, 0), "visual.ln_post").matmul(this["visual.proj"]).MoveToOuterDisposeScope();
    }

    /// <summary>B x e features of B x L ids, not normalised.</summary>
    public Tensor EncodeText(Tensor ids)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = this["token_embedding.weight"].index_select(0, ids.flatten()).view(ids.shape[0], ids.shape[1], -1).Plus(Positions());
        x = Norm(Blocks(x, "", _config.TextLayers, causal: true), "ln_final");
        Tensor pooled = x.gather(1, ids.argmax(1).view(-1, 1, 1).expand(-1, 1, x.shape[2])).squeeze(1);
        return pooled.matmul(this["text_projection"]).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (Parameter parameter in _parameters.Values)
        {
            parameter.Dispose();
        }
    }

    private Parameter this[string name] => _parameters[name];

    /// <summary>As the authors put them together: the start of the frozen table, the rest of the trained one.</summary>
    private Tensor Positions() => _parameters.TryGetValue(ClipShapes.TrainedPositions, out Parameter? trained)
        ? cat([this[ClipShapes.Positions].narrow(0, 0, PositionalTable.Frozen), trained.narrow(0, PositionalTable.Frozen, _config.ContextLength - PositionalTable.Frozen)])
        : this[ClipShapes.Positions];

    private Tensor Blocks(Tensor x, string tower, int layers, bool causal)
    {
        for (int layer = 0; layer < layers; layer++)
        {
            x = Block(x, $"{tower}transformer.resblocks.{layer}", causal);
        }

        return x;
    }

    private Tensor Block(Tensor x, string name, bool causal)
    {
        using DisposeScope scope = NewDisposeScope();
        long batch = x.shape[0], length = x.shape[1], width = x.shape[2], heads = ClipConfig.Heads((int)width);
        Tensor[] parts = F.linear(Norm(x, $"{name}.ln_1"), this[$"{name}.attn.in_proj_weight"], this[$"{name}.attn.in_proj_bias"]).chunk(3, -1);
        Tensor[] heard = [.. parts.Select(part => part.view(batch, length, heads, width / heads).transpose(1, 2))];
        Tensor mixed = F.scaled_dot_product_attention(heard[0], heard[1], heard[2], is_casual: causal).transpose(1, 2).reshape(batch, length, width);
        x = x.Plus(Linear(mixed, $"{name}.attn.out_proj"));
        Tensor hidden = Linear(Norm(x, $"{name}.ln_2"), $"{name}.mlp.c_fc");
        hidden = _config.Activation == ClipActivation.QuickGelu ? hidden * hidden.mul(s_quickGelu).sigmoid() : F.gelu(hidden);
        return x.Plus(Linear(hidden, $"{name}.mlp.c_proj")).MoveToOuterDisposeScope();
    }

    private Tensor Linear(Tensor x, string name) => F.linear(x, this[$"{name}.weight"], this[$"{name}.bias"]);

    private Tensor Norm(Tensor x, string name) => F.layer_norm(x, [x.shape[^1]], this[$"{name}.weight"], this[$"{name}.bias"]);
}
