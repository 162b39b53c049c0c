// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Trains a run from its first or its last saved step to its end: batch, both encoders, loss, clipping, AdamW, logit scale at most
/// ln 100. Saves when asked to stop. Interrupted anywhere and continued, it computes what an uninterrupted run computes; on one
/// thread bit for bit.
/// </summary>
internal sealed class TrainingLoop : IDisposable
{
    private const int StepsBetweenSpectra = 20;
    private const float LargestLogitScale = 4.6051702f; // ln 100, as OpenAI trained

    private readonly TrainingRun _run;
    private readonly TrainingConfig _config;
    private readonly ClipModel _model;
    private readonly IReadOnlyDictionary<string, string> _metadata;
    private readonly FusedAdamW _optimizer;
    private readonly LearningRateSchedule _schedule;
    private readonly BatchSource _batches;
    private readonly MoLoLoss _loss;

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

        CaptionDataset data = CaptionDataset.Load(_config.Data);
        _model = run.CreateModel();
        _metadata = run.Metadata(_model);
        Tokenizer = Tokenizers.For(_metadata, vocabulary, _config.Base);
        _optimizer = new FusedAdamW(_model.named_parameters().Where(pair => pair.parameter.requires_grad), _config.Beta1, _config.Beta2, _config.WeightDecay);
        _schedule = new LearningRateSchedule(_config.LearningRate, _config.WarmupSteps, _config.Steps);
        _batches = new BatchSource(_config, data, new CaptionSource(_config, run.Description?.FillerSentences ?? []), Tokenizer, _model.Config);
        _loss = new MoLoLoss(_config.MoLo, _config.Threads);
        _ = TrainingState.TryRestore(run.Folder, _model, _optimizer);
    }

    /// <summary>The model, as trained so far.</summary>
    public ClipModel Model => _model;

    /// <summary>The model's tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Steps done.</summary>
    public long Done => _optimizer.Count;

    /// <summary>Trains to the end and writes the final model.</summary>
    /// <param name="evaluate">Measures the model during the run, on its thread; null where it is not measured.</param>
    /// <param name="progress">Shows how far it is.</param>
    /// <param name="cancel">Finishes the step, saves, and ends with OperationCanceledException.</param>
    /// <exception cref="UserError">The loss is not finite, or the file system refuses.</exception>
    public void Run(Func<JsonObject>? evaluate, Progress progress, CancellationToken cancel)
    {
        using TrainingLog log = new(_run.Folder, Done);
        Task<Batch> next = Load(Done);
        while (Done < _config.Steps)
        {
            long start = Stopwatch.GetTimestamp();
            Batch batch = next.GetAwaiter().GetResult();
            double waited = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            next = Done + 1 < _config.Steps ? Load(Done + 1) : next;
            JsonObject record = Step(batch);
            double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            record["step_ms"] = Math.Round(milliseconds, 3);
            record["data_ms"] = Math.Round(waited, 3);
            record["samples_per_second"] = Math.Round(_config.Batch * 1000.0 / milliseconds, 1);
            log.Write(record);
            if (Done % StepsBetweenSpectra == 0 && _loss.LastSpectrum is { Count: > 0 } spectrum)
            {
                log.Write(new JsonObject { ["kind"] = "spectrum", ["step"] = Done, ["values"] = new JsonArray([.. spectrum.Select(value => JsonValue.Create(value))]) });
            }

            progress.Report((int)Done, $"loss {record["loss"]!.GetValue<double>():F3}");
            bool stop = cancel.IsCancellationRequested && Done < _config.Steps;
            if (evaluate is not null && !stop && _config.EvalEvery > 0 && Done % _config.EvalEvery == 0 && Done < _config.Steps)
            {
                JsonObject measured = evaluate();
                measured.Insert(0, "kind", "eval");
                measured.Insert(1, "step", Done);
                log.Write(measured);
            }

            if (stop || Done == _config.Steps || (_config.SaveEvery > 0 && Done % _config.SaveEvery == 0))
            {
                TrainingState.Save(_run.Folder, _model, _metadata, _optimizer);
            }

            if (stop)
            {
                throw new OperationCanceledException(cancel);
            }
        }

        _model.Save(Path.Combine(_run.Folder, TrainingRun.ModelFile), _metadata, _config.HalfPrecision ? ScalarType.Float16 : ScalarType.Float32);
    }

    public void Dispose()
    {
        _loss.Dispose();
        _optimizer.Dispose();
        _model.Dispose();
    }

    private Task<Batch> Load(long step) => Task.Run(() => _batches.Load(step));

    private JsonObject Step(Batch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor images = _model.EncodeImage(tensor(batch.Pixels, [_config.Batch, 3, _model.Config.ImageResolution, _model.Config.ImageResolution]));
        Tensor texts = LengthBuckets.EncodeText(_model, batch.Ids, _config.Batch);
        long lossStart = Stopwatch.GetTimestamp();
        Tensor loss = Loss(images, texts);
        double lossMilliseconds = Stopwatch.GetElapsedTime(lossStart).TotalMilliseconds;
        _model.zero_grad();
        loss.backward();

        double norm = _optimizer.GradientNorm();
        if (!double.IsFinite(norm))
        {
            throw NotFinite($"the gradient's norm is {norm}");
        }

        MoLoResult result = _loss.LastResult;
        double rate = (_schedule.At(Done) * (1.0 - _config.FinalRateShare)) + (_config.LearningRate * _config.FinalRateShare);
        using (no_grad())
        {
            _optimizer.Step(rate, _config.Clip > 0.0 && norm > _config.Clip ? _config.Clip / norm : 1.0);
            Span<float> scale = MemoryMarshal.Cast<byte, float>(_model.LogitScale.bytes);
            scale[0] = Math.Min(scale[0], LargestLogitScale);
        }

        return new JsonObject
        {
            ["kind"] = "step",
            ["step"] = Done,
            ["loss"] = result.Loss,
            ["global"] = result.Global,
            ["component"] = result.Component,
            ["m"] = result.M,
            ["explained_variance"] = result.ExplainedVariance,
            ["relative_gap"] = double.IsFinite(result.RelativeGap) ? result.RelativeGap : null,
            ["lr"] = rate,
            ["logit_scale"] = (double)_model.LogitScale.item<float>(),
            ["grad_norm"] = norm,
            ["loss_ms"] = Math.Round(lossMilliseconds, 3),
        };
    }

    private Tensor Loss(Tensor images, Tensor texts)
    {
        try
        {
            return _loss.forward(images, texts, _model.LogitScale);
        }
        catch (ArgumentException failure)
        {
            throw NotFinite(failure.Message, failure);
        }
    }

    private UserError NotFinite(string what, Exception? inner = null) => new(
        $"step {Done + 1} of {_run.Folder}: {what} Training has diverged; nothing of this step was applied. Lower --lr (it is {_config.LearningRate}) or set --clip, and start a new run", inner);
}
