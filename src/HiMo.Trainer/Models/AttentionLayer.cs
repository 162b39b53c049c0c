// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace HiMo.Trainer;

/// <summary>
/// Multi-head self-attention, softmax(q k' / sqrt(width / heads)) v, through torch's fused operator, so the B x heads x T x T
/// weights never exist. Rows of the input projection are q, then k, then v.
/// </summary>
internal sealed class AttentionLayer : Layer
{
    private readonly int _width;
    private readonly int _heads;
    [ComponentName(Name = "in_proj_weight")]
    private readonly Parameter _weight;

    [ComponentName(Name = "in_proj_bias")]
    private readonly Parameter _bias;

    private readonly LinearLayer _out;

    public AttentionLayer(int width)
        : base(nameof(AttentionLayer))
    {
        _width = width;
        _heads = ClipConfig.Heads(width);
        _weight = Register("in_proj_weight", 3L * width, width);
        _bias = Register("in_proj_bias", 3L * width);
        _out = Add("out_proj", new LinearLayer(width, width));
    }

    /// <summary>Every position attends to every other, or with <paramref name="causal"/> to itself and those before it.</summary>
    /// <param name="x">B x T x width.</param>
    /// <param name="causal">Whether later positions are hidden.</param>
    /// <returns>B x T x width.</returns>
    public Tensor Forward(Tensor x, bool causal)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor[] parts = Split(functional.linear(Operand(x), Operand(_weight), Operand(_bias)), 3);
        Tensor mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_casual: causal);
        return _out.Forward(Join(mixed)).MoveToOuterDisposeScope();
    }

    /// <summary>The row of <see cref="Forward"/> at one position of each sample, without computing the others.</summary>
    /// <param name="x">B x T x width.</param>
    /// <param name="pooled">B x 1 x width: the rows of <paramref name="x"/> at the wanted positions.</param>
    /// <param name="visible">B x 1 x 1 x T, true where the wanted position may look; null for everywhere.</param>
    /// <returns>B x 1 x width.</returns>
    public Tensor ForwardPooled(Tensor x, Tensor pooled, Tensor? visible)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor weight = Operand(_weight), bias = Operand(_bias);
        Tensor query = Split(functional.linear(Operand(pooled), weight.narrow(0, 0, _width), bias.narrow(0, 0, _width)), 1)[0];
        Tensor[] parts = Split(functional.linear(Operand(x), weight.narrow(0, _width, 2L * _width), bias.narrow(0, _width, 2L * _width)), 2);
        Tensor mixed = functional.scaled_dot_product_attention(query, parts[0], parts[1], visible!);
        return _out.Forward(Join(mixed)).MoveToOuterDisposeScope();
    }

    /// <summary>B x T x (count * width) to count tensors of B x heads x T x (width / heads).</summary>
    private Tensor[] Split(Tensor projected, int count) =>
        projected.view(projected.shape[0], projected.shape[1], count, _heads, _width / _heads).permute(2, 0, 3, 1, 4).unbind(0);

    private Tensor Join(Tensor mixed) => mixed.transpose(1, 2).reshape(mixed.shape[0], mixed.shape[2], _width);
}
