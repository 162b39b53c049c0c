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
    private static readonly Scalar s_hidden = float.NegativeInfinity;

    private readonly int _width;
    private readonly int _heads;
    private readonly Scalar _scale;
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
        _scale = 1.0 / Math.Sqrt(width / _heads);
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
        long batch = x.shape[0], length = x.shape[1];
        Tensor projected = functional.linear(Operand(x), Operand(_weight), Operand(_bias));
        Tensor[] parts = projected.view(batch, length, 3, _heads, _width / _heads).permute(2, 0, 3, 1, 4).unbind(0); // each B x heads x T x (width / heads)
        Tensor mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_casual: causal);
        return _out.Forward(mixed.transpose(1, 2).reshape(batch, length, _width)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The row of <see cref="Forward"/> at one position of each sample. One query needs no keys and values: q (W_k x_j + b_k) is (q W_k) x_j plus what
    /// softmax ignores, and the sum of a_j (W_v x_j + b_v) is W_v times the sum of a_j x_j, plus b_v. So nothing is projected per position.
    /// </summary>
    /// <param name="x">B x T x width.</param>
    /// <param name="pooled">B x 1 x width: the rows of <paramref name="x"/> at the wanted positions.</param>
    /// <param name="hidden">B x 1 x T, true where the wanted position may not look; null for nowhere.</param>
    /// <returns>B x 1 x width.</returns>
    public Tensor ForwardPooled(Tensor x, Tensor pooled, Tensor? hidden)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor weight = Operand(_weight), bias = Operand(_bias), query = weight.narrow(0, 0, _width), key = weight.narrow(0, _width, _width), value = weight.narrow(0, 2L * _width, _width);
        (x, pooled) = (Operand(x), Operand(pooled));
        Tensor q = Heads(functional.linear(pooled, query, bias.narrow(0, 0, _width)).mul(_scale));
        Tensor logits = q.matmul(key.view(_heads, -1, _width)).transpose(0, 1).matmul(x.transpose(1, 2));
        Tensor sums = (hidden is null ? logits : logits.masked_fill(hidden, s_hidden)).softmax(-1).matmul(x);
        Tensor mixed = sums.transpose(0, 1).matmul(value.view(_heads, -1, _width).transpose(1, 2)).transpose(0, 1).reshape(-1, 1, _width);
        return _out.Forward(mixed.Plus(bias.narrow(0, 2L * _width, _width))).MoveToOuterDisposeScope();
    }

    /// <summary>B x 1 x width to heads x B x (width / heads).</summary>
    private Tensor Heads(Tensor row) => row.view(row.shape[0], _heads, -1).transpose(0, 1);
}
