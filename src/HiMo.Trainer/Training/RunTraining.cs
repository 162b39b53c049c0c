// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>A run from what is there to its model and its measures.</summary>
internal static class RunTraining
{
    /// <summary>Trains what is missing, then evaluates if that is missing.</summary>
    /// <param name="run">The run.</param>
    /// <param name="vocabulary">CLIP's vocabulary, or null.</param>
    /// <param name="evaluate">Whether to measure the model on the data's evaluation split.</param>
    /// <param name="messages">Receives progress.</param>
    /// <param name="cancel">Stops after the current step, with everything saved.</param>
    public static void Execute(TrainingRun run, string? vocabulary, bool evaluate, TextWriter messages, CancellationToken cancel)
    {
        if (!run.IsComplete)
        {
            using TrainingLoop loop = new(run, vocabulary);
            if (loop.Done > 0)
            {
                messages.WriteLine($"{run.Config.Name}: goes on after step {loop.Done}");
            }

            using Progress progress = new("steps", run.Config.Steps, messages);
            try
            {
                loop.Run(null, progress, cancel);
            }
            catch (OperationCanceledException)
            {
                progress.Dispose();
                messages.WriteLine($"{run.Config.Name}: saved after step {loop.Done}; --resume goes on from there");
                throw;
            }
        }
    }
}
