// SPDX-License-Identifier: Apache-2.0
using System.Collections.Concurrent;

namespace HiMo.Trainer;

/// <summary>Batches read ahead on a thread of their own, a bounded number of them, in the order of the steps.</summary>
internal sealed class BatchQueue : IDisposable
{
    private readonly BlockingCollection<TrainingBatch> _ready;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _reader;

    /// <summary>Starts reading.</summary>
    /// <param name="load">Reads the batch of a step.</param>
    /// <param name="first">The first step wanted.</param>
    /// <param name="end">One more than the last.</param>
    /// <param name="ahead">Batches that wait at most, 1 or more.</param>
    public BatchQueue(Func<long, CancellationToken, TrainingBatch> load, long first, long end, int ahead)
    {
        _ready = new BlockingCollection<TrainingBatch>(ahead);
        _reader = Task.Factory.StartNew(() => Read(load, first, end), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>The next batch; waits for it.</summary>
    /// <exception cref="UserError">Reading it failed; the batches before it come first.</exception>
    public TrainingBatch Take()
    {
        if (!_ready.TryTake(out TrainingBatch? batch, Timeout.Infinite))
        {
            _reader.GetAwaiter().GetResult(); // throws what ended it
            throw new InvalidOperationException("There is no further batch.");
        }

        return batch;
    }

    public void Dispose()
    {
        _stop.Cancel();
        try
        {
            _reader.GetAwaiter().GetResult();
        }
        catch (Exception failure) when (failure is OperationCanceledException or UserError)
        {
            // It was stopped, or failed at a batch that nobody takes any more.
        }

        _ready.Dispose();
        _stop.Dispose();
    }

    private void Read(Func<long, CancellationToken, TrainingBatch> load, long first, long end)
    {
        try
        {
            for (long step = first; step < end; step++)
            {
                _ready.Add(load(step, _stop.Token), _stop.Token);
            }
        }
        finally
        {
            _ready.CompleteAdding();
        }
    }
}
