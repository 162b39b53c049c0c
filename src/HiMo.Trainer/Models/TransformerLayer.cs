// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>One pre-norm block: x += attention(ln_1(x)); x += mlp(ln_2(x)).</summary>
internal sealed class BlockLayer : Layer
{
    private readonly AttentionLayer _attention;
    private readonly NormLayer _norm1;
    private readonly MlpLayer _mlp;
    private readonly NormLayer _norm2;

    public BlockLayer(int width, int hidden, ClipActivation activation)
        : base(nameof(BlockLayer))
    {
        _attention = Add("attn", new AttentionLayer(width));
        _norm1 = Add("ln_1", new NormLayer(width));
        _mlp = Add("mlp", new MlpLayer(width, hidden, activation));
        _norm2 = Add("ln_2", new NormLayer(width));
    }

    public Tensor Forward(Tensor x, bool causal)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor mixed = x.Plus(_attention.Forward(_norm1.Forward(x), causal));
        return mixed.Plus(_mlp.Forward(_norm2.Forward(mixed))).MoveToOuterDisposeScope();
    }

    /// <summary>The block's output at one position of each sample only; what the last block of a tower needs.</summary>
    /// <param name="x">B x T x width.</param>
    /// <param name="positions">B positions, or null for position 0 of every sample without a causal mask.</param>
    /// <returns>B x width.</returns>
    public Tensor ForwardPooled(Tensor x, Tensor? positions)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor? hidden = positions is null ? null : (TensorArithmetic.Numbers(x.shape[1]).On(positions.device).unsqueeze(0) > positions.unsqueeze(1)).unsqueeze(1);
        Tensor normalized = _norm1.Forward(x);
        Tensor mixed = Pool(x, positions).Plus(_attention.ForwardPooled(normalized, Pool(normalized, positions), hidden));
        return mixed.Plus(_mlp.Forward(_norm2.Forward(mixed))).squeeze(1).MoveToOuterDisposeScope();
    }

    private static Tensor Pool(Tensor x, Tensor? positions) => positions is null
        ? x.narrow(1, 0, 1)
        : x.gather(1, positions.view(-1, 1, 1).expand(-1, 1, x.shape[2]));
}

/// <summary>A stack of blocks of which only one position per sample is wanted at the end.</summary>
internal sealed class TransformerLayer : Layer
{
    private readonly ModuleList<BlockLayer> _blocks;

    public TransformerLayer(int layers, int width, int hidden, ClipActivation activation)
        : base(nameof(TransformerLayer))
    {
        BlockLayer[] blocks = new BlockLayer[layers];
        for (int i = 0; i < layers; i++)
        {
            blocks[i] = new BlockLayer(width, hidden, activation);
        }

        _blocks = Add("resblocks", new ModuleList<BlockLayer>(blocks));
    }

    /// <summary>Where blocks are computed again in the backward pass; null keeps what is inside them.</summary>
    public ActivationTape? Tape { get; set; }

    /// <summary>Runs all blocks.</summary>
    /// <param name="x">B x T x width.</param>
    /// <param name="positions">The position wanted of each sample under a causal mask, or null for position 0 without a mask.</param>
    /// <returns>B x width.</returns>
    public Tensor Forward(Tensor x, Tensor? positions)
    {
        using DisposeScope scope = NewDisposeScope();
        for (int i = 0; i < _blocks.Count - 1; i++)
        {
            BlockLayer block = _blocks[i];
            bool causal = positions is not null;
            bool again = Tape is not null && is_grad_enabled() && (x.requires_grad || block.parameters().Any(parameter => parameter.requires_grad));
            x = again ? Tape!.Run(input => block.Forward(input, causal), x) : block.Forward(x, causal);
        }

        return _blocks[^1].ForwardPooled(x, positions).MoveToOuterDisposeScope();
    }
}
