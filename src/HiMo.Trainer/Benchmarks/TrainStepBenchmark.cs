// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Times whole training steps (both encoders, loss, backward, AdamW) on random pairs: this trainer's, the same model written plainly with InfoNCE,
/// the same with HiMo's loss in plain operations; in turn, in one process. Losses are compared before anything is timed.
/// </summary>
internal sealed class TrainStepBenchmark : IDisposable
{
    private const double LearningRate = 1e-6;
    private const double WeightDecay = 0.01;
    private const double LossTolerance = 1e-4;

    private readonly TrainingConfig _config;
    private readonly TrainingParts _parts;
    private readonly BatchGradient _gradient;
    private readonly TrainingBatch _batch;
    private TimeSpan _optimizer;

    /// <summary>Makes model and batch.</summary>
    /// <param name="model">The architecture.</param>
    /// <param name="batch">Pairs in a step.</param>
    /// <param name="threads">Threads of libtorch and of the loss, at least 1.</param>
    /// <param name="precision">Of this trainer's products.</param>
    public TrainStepBenchmark(ClipConfig model, int batch, int threads, Precision precision)
    {
        TorchLoader.EnsureLoaded();
        set_num_threads(threads);
        _config = new TrainingConfig { Data = "", Batch = batch, Threads = threads, Precision = precision, WeightDecay = WeightDecay };
        _parts = new TrainingParts(_config, ClipModel.Create(model, seed: 1));
        _gradient = new BatchGradient(_config, _parts.Model);
        _batch = RandomPairs(model, batch);
    }

    /// <summary>Seconds of the steps so far that the optimizer took, norm of the gradient included.</summary>
    public double OptimizerSeconds => _optimizer.TotalSeconds;

    /// <summary>One step of this trainer.</summary>
    /// <returns>The loss before it.</returns>
    public double Step()
    {
        LossMeasures measures = _gradient.Compute(_batch, _parts.Scaler.Scale);
        long start = Stopwatch.GetTimestamp();
        double norm = _parts.Optimizer.GradientNorm();
        using (no_grad())
        {
            _parts.Optimizer.Step(double.IsFinite(norm) ? LearningRate : 0.0, 1.0 / _parts.Scaler.Scale);
        }

        _optimizer += Stopwatch.GetElapsedTime(start);
        return measures.Loss;
    }

    /// <summary>The plain steps, after a comparison of their first losses with this trainer's.</summary>
    /// <param name="cancel">Stops between steps.</param>
    /// <param name="seconds">For all rounds together; at least three rounds are run.</param>
    /// <returns>This trainer's time, with plain InfoNCE, with HiMo's loss in plain operations.</returns>
    /// <exception cref="InvalidOperationException">The losses do not agree.</exception>
    public Timing[] Compare(double seconds, CancellationToken cancel)
    {
        using Plain infoNce = new(this, new MoLoOptions { Lambda = 0.0 }), himo = new(this, _config.MoLo);
        double own = Step(), plain = himo.Step();
        double allowed = _config.Precision == Precision.Float32 ? LossTolerance : 0.05;
        return Math.Abs(own - plain) <= allowed * plain
            ? InterleavedTiming.Run(seconds, 3, cancel, () => Step(), () => infoNce.Step(), () => himo.Step())
            : throw new InvalidOperationException($"bench train-step: the loss is {own} here and {plain} in the plain model");
    }

    public void Dispose()
    {
        _gradient.Dispose();
        _parts.Dispose();
    }

    /// <summary>Random pixels, and captions as long as those of ShareGPT4V.</summary>
    internal static TrainingBatch RandomPairs(ClipConfig model, int rows)
    {
        SeededRandom random = new(2);
        TrainingBatch batch = new(new byte[rows * 3 * model.ImageResolution * model.ImageResolution], new long[rows * model.ContextLength], new CaptionRecord[rows]);
        for (int i = 0; i < batch.Planes.Length; i++)
        {
            batch.Planes[i] = (byte)random.Next(0, 256);
        }

        for (int row = 0; row < rows; row++)
        {
            // Long captions as ShareGPT4V has them: half of the context and more; the end token has the highest id.
            int length = random.Next((model.ContextLength + 1) / 2, model.ContextLength + 1);
            for (int i = 0; i < length; i++)
            {
                batch.Ids[(row * model.ContextLength) + i] = i == length - 1 ? model.VocabSize - 1 : random.Next(1, model.VocabSize - 1);
            }
        }

        return batch;
    }

    /// <summary>The plain model with torch's own AdamW.</summary>
    private sealed class Plain : IDisposable
    {
        private readonly TrainStepBenchmark _owner;
        private readonly PlainClip _model;
        private readonly PlainMoLoLoss _loss;
        private readonly OptimizerHelper _optimizer;

        public Plain(TrainStepBenchmark owner, MoLoOptions options)
        {
            _owner = owner;
            _model = new PlainClip(owner._parts.Model);
            _loss = new PlainMoLoLoss(options);
            _optimizer = optim.AdamW(_model.Parameters, lr: LearningRate, weight_decay: WeightDecay);
        }

        public double Step()
        {
            using DisposeScope scope = NewDisposeScope();
            ClipConfig config = _owner._parts.Model.Config;
            int rows = _owner._config.Batch;
            Tensor images = _model.EncodeImage(_owner._batch.Images(config.ImageResolution, CPU)), texts = _model.EncodeText(tensor(_owner._batch.Ids, [rows, config.ContextLength]));
            Tensor loss = _loss.forward(images, texts, _model.LogitScale);
            _optimizer.zero_grad();
            loss.backward();
            _ = _optimizer.step();
            return loss.item<float>();
        }

        public void Dispose()
        {
            _optimizer.Dispose();
            _loss.Dispose();
            _model.Dispose();
        }
    }
}
