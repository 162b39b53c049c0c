// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// The batches of a run. A batch is a function of the step and of which images can be read: epochs go through a random order without repeats, and
/// what is left over at the end of an epoch is not used. In the place of a pair whose image cannot be read stands another one, drawn by seed, epoch
/// and position.
/// </summary>
internal sealed class BatchSource
{
    private const int MostDraws = 1000;

    private readonly TrainingConfig _config;
    private readonly CaptionDataset _data;
    private readonly CaptionSource _captions;
    private readonly ITokenizer _tokenizer;
    private readonly BadImages _bad;
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
    /// <param name="bad">Takes note of images that cannot be read.</param>
    /// <exception cref="UserError">The data hold less than one batch.</exception>
    public BatchSource(TrainingConfig config, CaptionDataset data, CaptionSource captions, ITokenizer tokenizer, ClipConfig model, BadImages bad)
    {
        (_config, _data, _captions, _tokenizer, _bad) = (config, data, captions, tokenizer, bad);
        (_context, _images) = (model.ContextLength, new ImagePreprocessor(model.ImageResolution));
        _stepsPerEpoch = data.Count / config.Batch;
        if (_stepsPerEpoch == 0)
        {
            throw new UserError($"--batch {config.Batch}: {config.Data} holds {data.Count} pairs, less than one batch");
        }
    }

    /// <summary>Reads the batch of a step. Calls must not overlap.</summary>
    /// <param name="step">From 0.</param>
    /// <param name="cancel">Stops between images.</param>
    /// <exception cref="UserError">More images than allowed cannot be read, or a word is unknown; the message names it.</exception>
    public TrainingBatch Load(long step, CancellationToken cancel)
    {
        long epoch = step / _stepsPerEpoch;
        if (_order.Epoch != epoch)
        {
            _order = (epoch, _data.Order(_config.Seed, epoch));
        }

        int start = (int)(step % _stepsPerEpoch) * _config.Batch;
        int[] indices = _order.Indices[start..(start + _config.Batch)];
        byte[][] planes = LoadImages(indices, epoch, cancel);
        TrainingBatch batch = new(new byte[_config.Batch * _images.ValuesPerImage], new long[_config.Batch * _context], new CaptionRecord[_config.Batch]);
        for (int i = 0; i < _config.Batch; i++)
        {
            planes[i].CopyTo(batch.Planes, i * _images.ValuesPerImage);
            CaptionRecord record = _data[indices[i]];
            batch.Pairs[i] = record with { Caption = _captions.Apply(record.Caption, epoch, indices[i]) };
            int[] ids = _tokenizer.Encode(batch.Pairs[i].Caption, _context);
            for (int k = 0; k < ids.Length; k++)
            {
                batch.Ids[(i * _context) + k] = ids[k];
            }
        }

        return batch;
    }

    /// <summary>Reads images on several threads; positions whose images cannot be read are replaced.</summary>
    private byte[][] LoadImages(int[] indices, long epoch, CancellationToken cancel)
    {
        byte[]?[] planes = new byte[]?[indices.Length];
        UserError?[] failures = new UserError?[indices.Length];
        ParallelOptions options = new() { MaxDegreeOfParallelism = _config.Workers > 0 ? _config.Workers : Environment.ProcessorCount, CancellationToken = cancel };
        _ = Parallel.For(0, indices.Length, options, i => planes[i] = TryLoad(indices[i], out failures[i]));

        // One after the other and in their order, so that the replacements do not depend on the threads.
        HashSet<int> taken = [.. indices];
        for (int i = 0; i < indices.Length; i++)
        {
            SeededRandom random = new(_config.Seed, epoch, indices[i], 1);
            for (int draws = 0; planes[i] is null; draws++)
            {
                _bad.Add(_data[indices[i]].ImagePath, failures[i]!);
                if (draws == MostDraws)
                {
                    throw new UserError($"{_config.Data}: {MostDraws} images in a row cannot be read; './himo dataset check --data {_config.Data}' lists what is wrong");
                }

                do
                {
                    indices[i] = random.Next(0, _data.Count);
                }
                while (!taken.Add(indices[i]) && taken.Count < _data.Count);
                planes[i] = TryLoad(indices[i], out failures[i]);
            }
        }

        return planes!;
    }

    private byte[]? TryLoad(int index, out UserError? failure)
    {
        try
        {
            failure = null;
            return _images.LoadPixels(_data[index].ImagePath);
        }
        catch (UserError error)
        {
            failure = error;
            return null;
        }
    }
}
