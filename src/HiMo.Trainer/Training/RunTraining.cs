// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using TorchSharp;

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
    /// <param name="evaluate">Whether to measure the model, if there is something to measure it on.</param>
    /// <param name="messages">Receives progress.</param>
    /// <param name="cancel">Stops after the current step, with everything saved.</param>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public static void Execute(TrainingRun run, string? vocabulary, bool evaluate, TextWriter messages, CancellationToken cancel)
    {
        if (evaluate && run.Config.EvalEvery > 0 && !run.CanEvaluate)
        {
            throw new UserError($"--eval-every {run.Config.EvalEvery}: {run.Config.Data} has no evaluation split to measure on; --held-out N keeps its first N pairs for that");
        }

        evaluate &= run.CanEvaluate;
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
            using ClipModel trained = ClipModel.Load(model).to(run.Device);
            JsonObject result = GrowingEvaluation.Run(trained, Tokenizers.For(trained.Metadata, vocabulary, run.Config.Base), run.EvaluationSet, cancel);
            result.Insert(0, "checkpoint", model);
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

        if (run.Data.Blank > 0)
        {
            messages.WriteLine($"{run.Config.Data}: {run.Data.Blank} records without caption are left out");
        }

        EvaluationSet? set = evaluate ? run.EvaluationSet : null;
        if (set?.Unreadable is > 0 and int unreadable)
        {
            messages.WriteLine($"{run.Config.Name}: {unreadable} of the {run.Config.HeldOut} records that are held out have no readable image and are not measured");
        }

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
