// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Loss and gradient of one batch, which goes through the encoders as a whole or in parts. In parts the cached way encodes everything once without
/// keeping what backward needs, takes the loss and its gradient by all features, and encodes part by part again to carry that gradient into the
/// weights: two forward passes, the activations of one part, the negatives of the whole batch.
/// Source of the cached way: Gao et al., "Scaling deep contrastive learning batch size under memory limited setup" (2021).
/// </summary>
internal sealed class BatchGradient : IDisposable
{
    private readonly TrainingConfig _config;
    private readonly ClipModel _model;
    private readonly RankedLoss _loss;
    private readonly ActivationTape? _tape;
    private readonly DeviceMeter _meter;

    /// <summary>Prepares the model for its precision and its checkpointing.</summary>
    /// <param name="config">Says how.</param>
    /// <param name="model">The model, on its device; its parameters receive the gradients.</param>
    /// <exception cref="GpuException">The kernels cannot run on that device.</exception>
    public BatchGradient(TrainingConfig config, ClipModel model)
    {
        (_config, _model) = (config, model);
        _meter = new DeviceMeter(model.Device);
        _loss = new RankedLoss(config.MoLo, config.Ranks, config.Threads);
        if (config.ActivationCheckpointing)
        {
            NativeHeap.ReturnFreedTensors();
            _tape = new ActivationTape();
        }

        model.Tape = _tape;
        model.ProductType = ProductType(config.Precision);
    }

    /// <summary>See <see cref="RankedLoss.LastSpectrum"/>.</summary>
    public IReadOnlyList<float> LastSpectrum => _loss.LastSpectrum;

    /// <summary>See <see cref="DeviceMeter.BytesInUse"/>.</summary>
    public long? DeviceBytesInUse => _meter.BytesInUse;

    /// <summary>The type of a precision's products; null is the parameters'.</summary>
    /// <param name="precision">The precision.</param>
    public static ScalarType? ProductType(Precision precision) => precision switch
    {
        Precision.Bfloat16 => ScalarType.BFloat16,
        Precision.Float16 => ScalarType.Float16,
        _ => null,
    };

    /// <summary>Sets every parameter's gradient to that of the batch, times a factor.</summary>
    /// <param name="batch">As many pairs as the configuration says.</param>
    /// <param name="factor">On the gradient, not on the measures returned.</param>
    /// <exception cref="ArgumentException">A feature or the scale is not finite, on the CPU; the message says which. A GPU gives a loss that is not.</exception>
    public LossMeasures Compute(TrainingBatch batch, double factor)
    {
        _model.zero_grad();
        try
        {
            int size = _config.Part;
            TrainingBatch[] parts = [.. Enumerable.Range(0, _config.Batch / size).Select(i => batch.Part(i * size, size))];
            return parts.Length > 1 && _config.Accumulation == Accumulation.Cached
                ? Cached(parts, factor)
                : LossMeasures.Mean([.. parts.Select(part => Whole(part, factor / parts.Length))]);
        }
        finally
        {
            _tape?.Clear();
        }
    }

    public void Dispose()
    {
        _loss.Dispose();
        _meter.Dispose();
    }

    private LossMeasures Whole(TrainingBatch part, double factor)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor images, Tensor texts) = Encode(part);
        Loss(images, texts, factor).backward();
        _tape?.Backward();
        return Measures();
    }

    private LossMeasures Cached(TrainingBatch[] parts, double factor)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor images, Tensor texts) = Features(parts);
        Loss(images, texts, factor).backward();
        Tensor? imageGradients = images.grad, textGradients = texts.grad;
        for (int i = 0; i < parts.Length; i++)
        {
            using DisposeScope part = NewDisposeScope();
            (Tensor partImages, Tensor partTexts) = Encode(parts[i]);
            (Tensor Features, Tensor? Gradients)[] trained = [.. new[] { (partImages, imageGradients), (partTexts, textGradients) }.Where(pair => pair.Item1.requires_grad)];
            int rows = (int)partImages.shape[0], first = i * rows;
            if (trained.Length > 0)
            {
                autograd.backward([.. trained.Select(pair => pair.Features)], [.. trained.Select(pair => pair.Gradients!.narrow(0, first, rows))]);
                _tape?.Backward();
            }
        }

        return Measures();
    }

    /// <summary>All features, as leaves that receive the loss's gradient.</summary>
    private (Tensor Images, Tensor Texts) Features(TrainingBatch[] parts)
    {
        Tensor images, texts;
        using (no_grad())
        {
            List<Tensor> allImages = [], allTexts = [];
            foreach (TrainingBatch part in parts)
            {
                using DisposeScope scope = NewDisposeScope();
                (Tensor partImages, Tensor partTexts) = Encode(part);
                allImages.Add(partImages.MoveToOuterDisposeScope());
                allTexts.Add(partTexts.MoveToOuterDisposeScope());
            }

            (images, texts) = (cat(allImages), cat(allTexts));
        }

        (images.requires_grad, texts.requires_grad) = (true, true);
        return (images, texts);
    }

    private (Tensor Images, Tensor Texts) Encode(TrainingBatch part)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor images = _model.EncodeImage(part.Images(_model.Config.ImageResolution, _model.Device)), texts = LengthBuckets.EncodeText(_model, part.Ids, part.Pairs.Length);
        return (images.MoveToOuterDisposeScope(), texts.MoveToOuterDisposeScope());
    }

    private Tensor Loss(Tensor images, Tensor texts, double factor)
    {
        _meter.Start();
        Tensor loss = _loss.Forward(images, texts, _model.LogitScale);
        _meter.Stop();
        return factor == 1.0 ? loss : loss * tensor(factor, loss.dtype);
    }

    /// <summary>What the last loss says of itself; asked for when all is enqueued, because it waits for a GPU.</summary>
    private LossMeasures Measures() => _loss.LastMeasures with { Milliseconds = _meter.Read() };
}
