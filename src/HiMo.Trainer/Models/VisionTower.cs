// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace HiMo.Trainer;

/// <summary>The image encoder: patches, class token, transformer, ln_post of the class token, projection.</summary>
internal sealed class VisionTower : Layer
{
    private readonly ClipConfig _config;
    [ComponentName(Name = "class_embedding")]
    private readonly Parameter _class;

    [ComponentName(Name = "positional_embedding")]
    private readonly Parameter _positions;

    [ComponentName(Name = "proj")]
    private readonly Parameter _projection;

    private readonly PatchLayer _patches;
    private readonly NormLayer _normBefore;
    private readonly TransformerLayer _transformer;
    private readonly NormLayer _normAfter;

    public VisionTower(ClipConfig config)
        : base(nameof(VisionTower))
    {
        _config = config;
        int width = config.VisionWidth;
        _class = Register("class_embedding", width);
        _positions = Register("positional_embedding", ((long)config.Grid * config.Grid) + 1, width);
        _projection = Register("proj", width, config.EmbedDim);
        _patches = Add("conv1", new PatchLayer(width, config.PatchSize));
        _normBefore = Add("ln_pre", new NormLayer(width));
        _transformer = Add("transformer", new TransformerLayer(config.VisionLayers, width, config.VisionMlpWidth, config.Activation));
        _normAfter = Add("ln_post", new NormLayer(width));
    }

    public Tensor Forward(Tensor images)
    {
        int side = _config.ImageResolution;
        if (images.shape is not [_, 3, long height, long width] || height != side || width != side)
        {
            throw new ArgumentException($"images must be B x 3 x {side} x {side}; they are {string.Join(" x ", images.shape)}.", nameof(images));
        }

        using DisposeScope scope = NewDisposeScope();
        Tensor patches = _patches.Forward(images.On(_class.device).to(_class.dtype)).to(_class.dtype);
        Tensor tokens = cat([_class.expand(images.shape[0], 1, -1), patches], 1).Plus(_positions);
        Tensor pooled = _transformer.Forward(_normBefore.Forward(tokens), positions: null);
        return Operand(_normAfter.Forward(pooled)).matmul(Operand(_projection)).to(_projection.dtype).MoveToOuterDisposeScope();
    }
}

/// <summary>A convolution whose stride is its size, without bias: one matrix product over the pixels of each patch.</summary>
internal sealed class PatchLayer : Layer
{
    private readonly int _size;
    [ComponentName(Name = "weight")]
    private readonly Parameter _weight;

    public PatchLayer(int width, int size)
        : base(nameof(PatchLayer))
    {
        _size = size;
        _weight = Register("weight", width, 3, size, size);
    }

    /// <summary>B x 3 x R x R to B x (R / size)^2 x width, patches row by row.</summary>
    public Tensor Forward(Tensor images)
    {
        using DisposeScope scope = NewDisposeScope();
        long batch = images.shape[0], grid = images.shape[2] / _size;
        Tensor patches = images.reshape(batch, 3, grid, _size, grid, _size).permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, 3L * _size * _size);
        return functional.linear(Operand(patches), Operand(_weight).flatten(1)).MoveToOuterDisposeScope();
    }
}
