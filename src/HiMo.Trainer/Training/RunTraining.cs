// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>A run from what is there to its model and its measures.</summary>
internal static class RunTraining
{
    /// <summary>Name of the measures in a run's folder.</summary>
    public const string EvaluationFile = "eval.json";

    /// <summary>Name of those of the weights' moving average.</summary>
    public const string AverageEvaluationFile = "eval_ema.json";

    /// <summary>Trains what is missing, then evaluates if that is missing.</summary>
    /// <param name="run">The run.</param>
    /// <param name="vocabulary">CLIP's vocabulary, or null.</param>
    /// <param name="evaluate">Whether to measure the model on the data's evaluation split, if the data have one.</param>
    /// <param name="messages">Receives progress.</param>
    /// <param name="cancel">Stops after the current step, with everything saved.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static void Execute(TrainingRun run, string? vocabulary, bool evaluate, TextWriter messages, CancellationToken cancel)
    {
        string data = run.Config.Data;
        evaluate &= File.Exists(Path.Combine(data, "eval", "captions.jsonl"));
        if (!run.IsComplete)
        {
            Train(run, vocabulary, evaluate && run.Config.EvalEvery > 0, messages, cancel);
        }

        if (evaluate)
        {
            Evaluate(run, TrainingRun.AverageFile, AverageEvaluationFile, vocabulary, cancel);
            Evaluate(run, TrainingRun.ModelFile, EvaluationFile, vocabulary, cancel);
        }
    }

    private static void Evaluate(TrainingRun run, string model, string measures, string? vocabulary, CancellationToken cancel)
    {
        (model, measures) = (Path.Combine(run.Folder, model), Path.Combine(run.Folder, measures));
        if (File.Exists(model) && !File.Exists(measures))
        {
            JsonObject result = EvalCommand.Run(model, run.Config.Data, context: null, vocabulary, cancel);
            AtomicFile.WriteText(measures, result.ToJsonString(JsonText.Readable) + "\n");
        }
    }

    private static void Train(TrainingRun run, string? vocabulary, bool evaluate, TextWriter messages, CancellationToken cancel)
    {
        using TrainingLoop loop = new(run, vocabulary);
        messages.WriteLine(run.Config.Describe());
        if (loop.Done > 0)
        {
            messages.WriteLine($"{run.Config.Name}: goes on after step {loop.Done}");
        }

        EvaluationSet? set = evaluate ? EvaluationSet.Load(run.Config.Data, loop.Model.Config.ImageResolution, cancel) : null;
        using Progress progress = new("steps", run.Config.Steps, messages);
        try
        {
            loop.Run(set is null ? null : () => GrowingEvaluation.Summary(GrowingEvaluation.Run(loop.Model, loop.Tokenizer, set, CancellationToken.None)), progress, cancel);
        }
        catch (OperationCanceledException)
        {
            progress.Dispose();
            messages.WriteLine($"{run.Config.Name}: saved after step {loop.Done}; --resume goes on from there");
            throw;
        }
        finally
        {
            progress.Dispose();
            if (loop.BadImages.Count > 0)
            {
                messages.WriteLine($"{run.Config.Name}: {loop.BadImages.Count} images could not be read and others stood in their place; {loop.BadImages.File} lists them");
            }
        }
    }
}
