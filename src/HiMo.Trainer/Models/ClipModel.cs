// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace HiMo.Trainer;

/// <summary>
/// CLIP with OpenAI's parameter names: two pre-norm transformers that map images and token ids into one space.
/// Source: openai/CLIP; positions beyond 77 as in Long-CLIP and HiMo-CLIP (arXiv:2511.06653).
/// </summary>
/// <remarks>
/// Only the pooled position is computed in the last block, and text beyond the last end token of a batch is not computed
/// at all: a causal mask hides both from the result, so features and gradients are those of the full computation.
/// A GPU computes where <c>model.to(device)</c> has moved the parameters there; inputs may lie on the CPU.
/// </remarks>
public sealed partial class ClipModel : Module
{
    private readonly VisionTower _visual;
    private readonly TransformerLayer _transformer;
    private readonly NormLayer _finalNorm;
    private readonly EmbeddingTable _tokens;
    [ComponentName(Name = ClipShapes.Positions)]
    private readonly Parameter _positions;

    [ComponentName(Name = ClipShapes.TrainedPositions)]
    private readonly Parameter? _trainedPositions;

    [ComponentName(Name = "text_projection")]
    private readonly Parameter _textProjection;

    [ComponentName(Name = ClipShapes.LogitScale)]
    private readonly Parameter _logitScale;

    private ClipModel(ClipConfig config)
        : base(nameof(ClipModel))
    {
        config.Validate();
        Config = config;
        _positions = Register(ClipShapes.Positions, requiresGradient: !config.HasFrozenPositions, config.ContextLength, config.TextWidth);
        if (config.HasFrozenPositions)
        {
            _trainedPositions = Register(ClipShapes.TrainedPositions, requiresGradient: true, config.ContextLength, config.TextWidth);
        }

        _textProjection = Register("text_projection", requiresGradient: true, config.TextWidth, config.EmbedDim);
        _logitScale = Register(ClipShapes.LogitScale, requiresGradient: true);
        _visual = Add("visual", new VisionTower(config));
        _transformer = Add("transformer", new TransformerLayer(config.TextLayers, config.TextWidth, config.TextMlpWidth, config.Activation));
        _tokens = Add("token_embedding", new EmbeddingTable(config.VocabSize, config.TextWidth));
        _finalNorm = Add("ln_final", new NormLayer(config.TextWidth));
    }

    /// <summary>The architecture.</summary>
    public ClipConfig Config { get; }

    /// <summary>Where the parameters lie, and features come out.</summary>
    internal Device Device => _logitScale.device;

    /// <summary>The temperature as a natural logarithm: logits are exp(LogitScale) times cosines.</summary>
    public Parameter LogitScale => _logitScale;

    /// <summary>What the file said beside the weights; empty for a new model.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; private set; } = new Dictionary<string, string>();

    /// <summary>Image features, not normalised.</summary>
    /// <param name="images">B x 3 x R x R, normalised as in preprocessing, R = <see cref="ClipConfig.ImageResolution"/>; on any device.</param>
    /// <returns>B x e, on the model's device.</returns>
    /// <exception cref="ArgumentException">The shape differs; the message gives both.</exception>
    public Tensor EncodeImage(Tensor images) => _visual.Forward(images);

    /// <summary>Text features at the first position of the largest id (the end token), not normalised.</summary>
    /// <param name="ids">B x T int64 token ids in [0, <see cref="ClipConfig.VocabSize"/>), T at most <see cref="ClipConfig.ContextLength"/>; on any
    /// device, where they are checked: on the CPU without waiting for a GPU.</param>
    /// <returns>B x e, on the model's device.</returns>
    /// <exception cref="ArgumentException">Shape, type or an id is wrong; the message gives the value.</exception>
    public Tensor EncodeText(Tensor ids)
    {
        CheckIds(ids);
        using DisposeScope scope = NewDisposeScope();
        if (ids.shape[0] == 0)
        {
            return zeros(0, Config.EmbedDim, _textProjection.dtype, Device).MoveToOuterDisposeScope();
        }

        Tensor ends = ids.argmax(1);
        long length = ends.max().item<long>() + 1;
        (ids, ends) = (ids.narrow(1, 0, length).On(Device), ends.On(Device));
        Tensor x = _tokens.Forward(ids).Plus(PositionalTable.Merge(_positions, _trainedPositions, length));
        Tensor pooled = _finalNorm.Forward(_transformer.Forward(x, ends)), projection = _textProjection;
        if (_productType is { } type)
        {
            (pooled, projection) = (pooled.to(type), projection.to(type));
        }

        return pooled.matmul(projection).to(_textProjection.dtype).MoveToOuterDisposeScope();
    }

    private void CheckIds(Tensor ids)
    {
        if (ids.dtype != ScalarType.Int64 || ids.shape is not [long rows, long columns] || columns < 1 || columns > Config.ContextLength)
        {
            throw new ArgumentException($"ids must be int64 of B x T with T from 1 to {Config.ContextLength}; they are {ids.dtype} of {string.Join(" x ", ids.shape)}.", nameof(ids));
        }

        if (rows > 0)
        {
            using Tensor smallest = ids.min(), largest = ids.max();
            if (smallest.item<long>() < 0 || largest.item<long>() >= Config.VocabSize)
            {
                throw new ArgumentException($"ids must be in [0, {Config.VocabSize}); they range from {smallest.item<long>()} to {largest.item<long>()}.", nameof(ids));
            }
        }
    }

    private Parameter Register(string name, bool requiresGradient, params long[] shape)
    {
        Parameter parameter = new(empty(shape, float32), requiresGradient);
        register_parameter(name, parameter);
        return parameter;
    }

    private T Add<T>(string name, T layer)
        where T : Module
    {
        register_module(name, layer);
        return layer;
    }
}

/// <summary>One row of width values per token id.</summary>
internal sealed class EmbeddingTable : Layer
{
    [ComponentName(Name = "weight")]
    private readonly Parameter _weight;

    public EmbeddingTable(int rows, int width)
        : base(nameof(EmbeddingTable)) => _weight = Register("weight", rows, width);

    public Tensor Forward(Tensor ids) => _weight.index_select(0, ids.flatten()).view(ids.shape[0], ids.shape[1], -1);
}
