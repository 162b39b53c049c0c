// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// The loss of a batch as one process computes it, or as several processes with an equal part each would: HiDe on each part's texts by itself, each
/// part's rows against those of all, the mean of the parts' losses. With <see cref="MoLoOptions.GatherWithGrad"/> off the rows of all are constants.
/// It runs where the features lie.
/// </summary>
internal sealed class RankedLoss : IDisposable
{
    private readonly MoLoOptions _options;
    private readonly int _ranks;
    private readonly MoLoLoss _loss;
    private readonly HiDeComponents _hide;
    private LossMeasures _ofRanks;

    /// <summary>Prepares the loss.</summary>
    /// <param name="options">Its options.</param>
    /// <param name="ranks">Parts of the batch; 1 takes it as a whole.</param>
    /// <param name="threads">Worker threads; 0 takes one per processor.</param>
    public RankedLoss(MoLoOptions options, int ranks, int threads)
        : this(options, ranks, new MoLoLoss(options, threads), new HiDeComponents(options.Tau, options.BasisGradient, threads))
    {
    }

    /// <summary>A loss that takes CPU tensors for tensors of an emulated device.</summary>
    internal RankedLoss(MoLoOptions options, int ranks, Gpu emulated)
        : this(options, ranks, new MoLoLoss(options, emulated), new HiDeComponents(options.Tau, options.BasisGradient, emulated))
    {
    }

    private RankedLoss(MoLoOptions options, int ranks, MoLoLoss loss, HiDeComponents hide) => (_options, _ranks, _loss, _hide) = (options, ranks, loss, hide);

    /// <summary>Eigenvalues of the last loss's centred texts, descending; of the last part where there are several. Empty where the loss ran on a GPU.</summary>
    public IReadOnlyList<float> LastSpectrum => _ranks == 1 ? _loss.LastSpectrum : _hide.LastSpectrum;

    /// <summary>What the last loss says of itself, with a time of zero; waits for a GPU.</summary>
    public LossMeasures LastMeasures => _ranks > 1 ? _ofRanks : Measures(_loss.LastResult);

    /// <summary>The loss of a batch.</summary>
    /// <param name="images">N x d features, not normalised; N a multiple of the parts.</param>
    /// <param name="texts">N x d features, not normalised.</param>
    /// <param name="logitScale">Natural logarithm of the scale.</param>
    /// <exception cref="ArgumentException">A value on the CPU is not finite; the message says which.</exception>
    public Tensor Forward(Tensor images, Tensor texts, Tensor logitScale)
    {
        if (_ranks == 1)
        {
            return _loss.forward(images, texts, logitScale);
        }

        using DisposeScope scope = NewDisposeScope();
        Tensor unitImages = Unit(images, nameof(images)), unitTexts = Unit(texts, nameof(texts));
        bool texted = _options.Lambda > 0.0 && _options.Components != ComponentSource.Image, pictured = _options.Lambda > 0.0 && _options.Components != ComponentSource.Text;
        int rows = (int)images.shape[0] / _ranks;
        Tensor[] componentImages = pictured ? Components(unitImages, rows, out _) : [];
        HiDeResult[] hide = [];
        Tensor[] componentTexts = texted ? Components(unitTexts, rows, out hide) : [];
        RankFeatures all = new(unitImages, unitTexts, texted ? cat(componentTexts) : null, pictured ? cat(componentImages) : null);

        List<Tensor> losses = [];
        List<LossMeasures> measures = [];
        for (int rank = 0; rank < _ranks; rank++)
        {
            RankFeatures own = new(
                Rows(unitImages, rank, rows), Rows(unitTexts, rank, rows), texted ? componentTexts[rank] : null, pictured ? componentImages[rank] : null);
            losses.Add(_loss.ForwardRank(own, all, rank * rows, logitScale));
            HiDeResult parts = texted ? hide[rank] : default;
            measures.Add(Measures(_loss.LastResult) with
            {
                M = parts.M, ExplainedVariance = parts.ExplainedVariance, RelativeGap = texted ? parts.RelativeGap : double.PositiveInfinity,
            });
        }

        _ofRanks = LossMeasures.Mean(measures);
        return stack(losses).mean().MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        _hide.Dispose();
        _loss.Dispose();
    }

    private static LossMeasures Measures(MoLoResult result) =>
        new(result.Loss, result.Global, result.Component, result.M, result.ExplainedVariance, result.RelativeGap, 0.0);

    private Tensor[] Components(Tensor unit, int rows, out HiDeResult[] results)
    {
        results = new HiDeResult[_ranks];
        Tensor[] components = new Tensor[_ranks];
        for (int rank = 0; rank < _ranks; rank++)
        {
            components[rank] = _hide.forward(Rows(unit, rank, rows));
            results[rank] = _hide.LastResult;
        }

        return components;
    }

    private static Tensor Rows(Tensor all, int rank, int rows) => all.narrow(0, (long)rank * rows, rows);

    private static Tensor Unit(Tensor features, string name)
    {
        Tensor unit = nn.functional.normalize(features, p: 2, dim: 1, eps: 1e-12);
        return features.device_type != DeviceType.CPU || unit.isfinite().all().item<bool>() ? unit : throw new ArgumentException($"{name} hold values that are not finite.", name);
    }
}
