// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Trains a run from its first or its last saved step to its end: batch, both encoders, loss, clipping, AdamW, limit of the logit
/// scale, average. Saves when asked to stop. Interrupted anywhere and continued, it computes what an uninterrupted run computes; on one
/// thread bit for bit.
/// </summary>
internal sealed class TrainingLoop : IDisposable
{
    private const int StepsBetweenSpectra = 20;
    private const int StepsBetweenExamples = 500;
    private const string OutOfMemory = "out of memory"; // in libtorch's message and in the driver's

    private readonly TrainingRun _run;
    private readonly TrainingConfig _config;
    private readonly TrainingParts _parts;
    private readonly IReadOnlyDictionary<string, string> _metadata;
    private readonly LearningRateSchedule _schedule;
    private readonly BatchSource _batches;
    private readonly BatchGradient _gradient;
    private readonly Scalar? _maxLogitScale;

    /// <summary>Reads base, data and the newest checkpoint.</summary>
    /// <param name="run">The folder and the configuration.</param>
    /// <param name="vocabulary">Where CLIP's vocabulary is, for models without words of their own; or null.</param>
    /// <exception cref="UserError">Something is missing or damaged; the message names it.</exception>
    public TrainingLoop(TrainingRun run, string? vocabulary)
    {
        (_run, _config) = (run, run.Config);
        if (_config.Threads > 0)
        {
            TorchLoader.EnsureLoaded();
            set_num_threads(_config.Threads);
        }

        CaptionDataset data = run.Data;
        _parts = new TrainingParts(_config, run.CreateModel());
        _metadata = run.Metadata(Model);
        Tokenizer = Tokenizers.For(_metadata, vocabulary, _config.Base);
        BadImages = new BadImages(run.Folder, _config.MaxBadImages);
        _schedule = new LearningRateSchedule(_config.LearningRate, _config.WarmupSteps, _config.Steps)
        {
            Kind = _config.Schedule, Cooldown = _config.CooldownSteps, FinalShare = _config.FinalRateShare,
        };
        _batches = new BatchSource(_config, data, new CaptionSource(_config, run.Description?.FillerSentences ?? []), Tokenizer, Model.Config, BadImages);
        _gradient = new BatchGradient(_config, Model);
        _maxLogitScale = _config.MaxLogitScale > 0.0 ? (Scalar)(float)_config.MaxLogitScale : null;
        _ = TrainingState.TryRestore(run.Folder, _parts);
    }

    /// <summary>The model, as trained so far.</summary>
    public ClipModel Model => _parts.Model;

    /// <summary>The model's tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Images that could not be read.</summary>
    public BadImages BadImages { get; }

    /// <summary>Steps done.</summary>
    public long Done => _parts.Done;

    /// <summary>Trains to the end and writes the final model.</summary>
    /// <param name="evaluate">Measures the model during the run, on its thread; null where it is not measured.</param>
    /// <param name="progress">Shows how far it is.</param>
    /// <param name="cancel">Finishes the step, saves, and ends with OperationCanceledException.</param>
    /// <exception cref="UserError">The loss is not finite, a GPU's memory does not suffice, or the file system refuses.</exception>
    public void Run(Func<JsonObject>? evaluate, Progress progress, CancellationToken cancel)
    {
        using TrainingLog log = new(_run.Folder, Done);
        using TensorBoardLog? board = _config.TensorBoard ? new TensorBoardLog(_run.Folder, _config, Done) : null;
        using BatchQueue batches = new(_batches.Load, Done, _config.Steps, _config.Prefetch);
        double best = log.Records.Where(record => JsonText.String(record["kind"]) == "eval").Select(Recall).DefaultIfEmpty(double.NegativeInfinity).Max();
        if (log.Records.LastOrDefault(record => JsonText.String(record["kind"]) == "eval")?["step"]?.GetValue<long>() != Done)
        {
            EvaluateIfDue(); // a call that was stopped at this step left it out
        }

        long first = Done, saved = Stopwatch.GetTimestamp();
        double waitedInAll = 0.0, passed = 0.0; // milliseconds
        while (Done < _config.Steps)
        {
            long start = Stopwatch.GetTimestamp();
            TrainingBatch batch = batches.Take();
            double waited = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            JsonObject record = StepInMemory(batch);
            double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            record["step_ms"] = Math.Round(milliseconds, 3);
            record["data_ms"] = Math.Round(waited, 3);
            record["data_share"] = Math.Round(waited / milliseconds, 4);
            record["samples_per_second"] = Math.Round(_config.Batch * 1000.0 / milliseconds, 1);
            if (_gradient.DeviceBytesInUse is { } bytes)
            {
                record["device_bytes_in_use"] = bytes;
            }

            if (BadImages.Count > 0)
            {
                record["bad_images"] = BadImages.Count;
            }

            log.Write(record);
            board?.Write(record);
            (waitedInAll, passed) = (waitedInAll + waited, passed + milliseconds);
            if (Done == 1 || Done % StepsBetweenExamples == 0)
            {
                board?.WriteExamples(batch, Model.Config.ImageResolution, Done);
            }

            if (Done % StepsBetweenSpectra == 0 && _gradient.LastSpectrum is { Count: > 0 } spectrum)
            {
                board?.WriteDistributions(spectrum, Done);
                log.Write(new JsonObject { ["kind"] = "spectrum", ["step"] = Done, ["values"] = new JsonArray([.. spectrum.Select(value => JsonValue.Create(value))]) });
            }

            progress.Report((int)Done, string.Create(
                CultureInfo.InvariantCulture,
                $"loss {record["loss"]!.GetValue<double>():F3}, {_config.Batch * (Done - first) * 1000.0 / passed:F0} images/s, {100.0 * waitedInAll / passed:F0} % of the time waiting for them"));
            bool stop = cancel.IsCancellationRequested && Done < _config.Steps;
            if (!stop)
            {
                EvaluateIfDue();
            }

            if (stop || Done == _config.Steps || (_config.SaveEvery > 0 && Done % _config.SaveEvery == 0)
                || (_config.SaveMinutes > 0.0 && Stopwatch.GetElapsedTime(saved).TotalMinutes >= _config.SaveMinutes))
            {
                saved = Stopwatch.GetTimestamp();
                TrainingState.Save(_run.Folder, _parts, _metadata, _config.KeepCheckpoints);
                LogTables.Write(_run.Folder, log.Records);
            }

            if (stop)
            {
                throw new OperationCanceledException(cancel);
            }
        }

        // The model last, because it is what makes a run complete.
        Averaged(() => SaveModel(TrainingRun.AverageFile));
        SaveModel(TrainingRun.ModelFile);

        void EvaluateIfDue()
        {
            if (evaluate is null || _config.EvalEvery == 0 || Done == 0 || Done % _config.EvalEvery != 0 || Done == _config.Steps)
            {
                return;
            }

            if (Recall(Measure("eval")) is var recall && recall > best)
            {
                best = recall;
                SaveModel(TrainingRun.BestFile);
            }

            Averaged(() => Measure("eval_ema"));
        }

        // In the parameters' precision.
        JsonObject Measure(string kind)
        {
            Model.ProductType = null;
            JsonObject measured = evaluate!();
            Model.ProductType = BatchGradient.ProductType(_config.Precision);
            measured.Insert(0, "kind", kind);
            measured.Insert(1, "step", Done);
            log.Write(measured);
            board?.Write(measured);
            return measured;
        }
    }

    /// <summary>What the best weights are chosen by: the mean R@1 of both directions on whole captions.</summary>
    private static double Recall(JsonObject evaluation) =>
        evaluation["retrieval"]!["full"] is JsonObject full ? ((double)full["image_to_text_R@1"]! + (double)full["text_to_image_R@1"]!) / 2.0 : double.NegativeInfinity;

    private void SaveModel(string file) =>
        Model.Save(Path.Combine(_run.Folder, file), _metadata, _config.HalfPrecision ? ScalarType.Float16 : ScalarType.Float32);

    /// <summary>Does something with the average in the place of the weights, if one is kept.</summary>
    private void Averaged(Action act)
    {
        if (_parts.Average is { } average)
        {
            average.Swap();
            act();
            average.Swap();
        }
    }

    public void Dispose()
    {
        _gradient.Dispose();
        _parts.Dispose();
        _maxLogitScale?.Dispose();
    }

    private JsonObject StepInMemory(TrainingBatch batch)
    {
        try
        {
            return Step(batch);
        }
        catch (Exception failure) when (failure is ExternalException or GpuException && failure.Message.Contains(OutOfMemory, StringComparison.OrdinalIgnoreCase))
        {
            string first = failure.Message.ReplaceLineEndings("\n").Split('\n')[0];
            throw new UserError(
                $"step {Done + 1} of {_run.Folder}: {TorchDevice.Option} {_config.Device} is out of memory with {_config.Part} pairs at a time: lower --micro-batch, or set --activation-checkpointing on or --precision bfloat16 ({first})",
                failure);
        }
    }

    private JsonObject Step(TrainingBatch batch)
    {
        LossScaler scaler = _parts.Scaler;
        LossMeasures measures = Gradient(batch, scaler.Scale);
        if (!double.IsFinite(measures.Loss))
        {
            throw NotFinite(batch, $"the loss is {measures.Loss}."); // from a GPU; the CPU names the feature
        }

        double norm = _parts.Optimizer.GradientNorm() / scaler.Scale;
        bool isFinite = double.IsFinite(norm);
        if (!isFinite && !scaler.CanBackOff)
        {
            throw NotFinite(batch, $"the gradient's norm is {norm}.");
        }

        double rate = _schedule.At(Done), scale = scaler.Scale;
        if (isFinite)
        {
            Update(rate, (_config.Clip > 0.0 && norm > _config.Clip ? _config.Clip / norm : 1.0) / scale);
        }

        scaler.Update(isFinite);
        _parts.Done++;
        JsonObject record = new()
        {
            ["kind"] = "step",
            ["step"] = Done,
            ["loss"] = measures.Loss,
            ["global"] = measures.Global,
            ["component"] = measures.Component,
            ["m"] = measures.M,
            ["explained_variance"] = measures.ExplainedVariance,
            ["relative_gap"] = double.IsFinite(measures.RelativeGap) ? measures.RelativeGap : null,
            ["lr"] = rate,
            ["logit_scale"] = (double)Model.LogitScale.item<float>(),
            ["grad_norm"] = isFinite ? norm : null,
            ["loss_ms"] = Math.Round(measures.Milliseconds, 3),
        };
        if (_config.Precision == Precision.Float16)
        {
            record["loss_factor"] = scale;
            record["skipped_steps"] = Done - _parts.Optimizer.Count;
        }

        return record;
    }

    private LossMeasures Gradient(TrainingBatch batch, double factor)
    {
        try
        {
            return _gradient.Compute(batch, factor);
        }
        catch (ArgumentException failure)
        {
            throw NotFinite(batch, failure.Message, failure);
        }
    }

    private void Update(double rate, double gradientScale)
    {
        using IDisposable constant = no_grad();
        _parts.Optimizer.Step(rate, gradientScale);
        if (_maxLogitScale is { } largest)
        {
            _ = Model.LogitScale.clamp_max_(largest);
        }

        _parts.Average?.Update(_parts.Optimizer.Count);
    }

    private UserError NotFinite(TrainingBatch batch, string what, Exception? inner = null)
    {
        string kept = DivergedStep.Save(_run.Folder, Done + 1, batch, Model, _metadata);
        return new UserError(
            $"step {Done + 1} of {_run.Folder}: {what} Training has diverged; nothing of this step was applied, and its batch and weights are in {kept}. Lower --lr (it is {_config.LearningRate}) or set --clip, and start a new run",
            inner);
    }
}
