// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>The pairs of one step, ready for the encoders.</summary>
/// <param name="Pixels">B x 3 x S x S, normalised.</param>
/// <param name="Ids">B x context token ids.</param>
internal sealed record Batch(float[] Pixels, long[] Ids);

/// <summary>
/// The batches of a run. A batch is a function of the step alone: epochs go through a random order without repeats, and what is left
/// over at the end of an epoch is not used.
/// </summary>
internal sealed class BatchSource
{
    private readonly TrainingConfig _config;
    private readonly CaptionDataset _data;
    private readonly CaptionSource _captions;
    private readonly ITokenizer _tokenizer;
    private readonly int _context;
    private readonly ImagePreprocessor _images;
    private readonly int _stepsPerEpoch;
    private (long Epoch, int[] Indices) _order = (-1, []);

    /// <summary>Batches for a model.</summary>
    /// <param name="config">Batch size, seed and captions.</param>
    /// <param name="data">All pairs.</param>
    /// <param name="captions">What is read of each caption.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="model">Context and image size.</param>
    /// <exception cref="UserError">The data hold less than one batch.</exception>
    public BatchSource(TrainingConfig config, CaptionDataset data, CaptionSource captions, ITokenizer tokenizer, ClipConfig model)
    {
        (_config, _data, _captions, _tokenizer) = (config, data, captions, tokenizer);
        (_context, _images) = (model.ContextLength, new ImagePreprocessor(model.ImageResolution));
        _stepsPerEpoch = data.Count / config.Batch;
        if (_stepsPerEpoch == 0)
        {
            throw new UserError($"--batch {config.Batch}: {config.Data} holds {data.Count} pairs, less than one batch");
        }
    }

    /// <summary>Reads the batch of a step. Calls must not overlap.</summary>
    /// <param name="step">From 0.</param>
    /// <exception cref="UserError">An image cannot be read, or a word is unknown; the message names it.</exception>
    public Batch Load(long step)
    {
        long epoch = step / _stepsPerEpoch;
        if (_order.Epoch != epoch)
        {
            _order = (epoch, _data.Order(_config.Seed, epoch));
        }

        int start = (int)(step % _stepsPerEpoch) * _config.Batch;
        Batch batch = new(new float[_config.Batch * _images.ValuesPerImage], new long[_config.Batch * _context]);
        string[] paths = new string[_config.Batch];
        for (int i = 0; i < _config.Batch; i++)
        {
            int index = _order.Indices[start + i];
            CaptionRecord record = _data[index];
            paths[i] = record.ImagePath;
            int[] ids = _tokenizer.Encode(_captions.Apply(record.Caption, epoch, index), _context);
            for (int k = 0; k < ids.Length; k++)
            {
                batch.Ids[(i * _context) + k] = ids[k];
            }
        }

        _images.Load(paths, batch.Pixels);
        return batch;
    }
}
