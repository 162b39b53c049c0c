// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>Everything that changes from step to step of a run.</summary>
internal sealed class TrainingParts : IDisposable
{
    private const string StepKey = "himo.step";
    private const string UpdatesKey = "himo.updates";
    private const string ScaleKey = "himo.loss_scale";
    private const string GoodStepsKey = "himo.loss_scale_good_steps";

    /// <summary>The parts at the start of a run.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="model">The model, frozen as it is to be trained, on its device; disposed of with the parts.</param>
    public TrainingParts(TrainingConfig config, ClipModel model)
    {
        (string, Parameter)[] trained = [.. model.named_parameters().Where(pair => pair.parameter.requires_grad)];
        Model = model;
        Optimizer = model.Device.type == DeviceType.CPU
            ? new FusedAdamW(trained, config.Beta1, config.Beta2, config.WeightDecay, config.WeightDecayPolicy) { Threads = config.Threads }
            : new TensorAdamW(trained, config.Beta1, config.Beta2, config.WeightDecay, config.WeightDecayPolicy);
        Scaler = new LossScaler(config.Precision == Precision.Float16);
        Average = config.Ema > 0.0 ? new WeightAverage(trained, config.Ema) : null;
    }

    public ClipModel Model { get; }

    public IOptimizer Optimizer { get; init; }

    public LossScaler Scaler { get; }

    /// <summary>The weights' average, or null where none is kept.</summary>
    public WeightAverage? Average { get; }

    /// <summary>Steps done; those left out by the scaler are among them.</summary>
    public long Done { get; set; }

    /// <summary>All tensors but the weights, by names of their own.</summary>
    public IEnumerable<(string Name, Tensor Value)> Tensors => Optimizer.Moments.Concat(Average?.Tensors ?? []);

    /// <summary>All numbers, as text that gives the same numbers back.</summary>
    public IReadOnlyDictionary<string, string> Counters
    {
        get => new Dictionary<string, string>
        {
            [StepKey] = Done.ToString(CultureInfo.InvariantCulture),
            [UpdatesKey] = Optimizer.Count.ToString(CultureInfo.InvariantCulture),
            [ScaleKey] = Scaler.Scale.ToString("R", CultureInfo.InvariantCulture),
            [GoodStepsKey] = Scaler.GoodSteps.ToString(CultureInfo.InvariantCulture),
        };
        set
        {
            Done = long.Parse(value[StepKey], CultureInfo.InvariantCulture);
            Optimizer.Count = long.Parse(value[UpdatesKey], CultureInfo.InvariantCulture);
            Scaler.Scale = double.Parse(value[ScaleKey], CultureInfo.InvariantCulture);
            Scaler.GoodSteps = int.Parse(value[GoodStepsKey], CultureInfo.InvariantCulture);
        }
    }

    public void Dispose()
    {
        Average?.Dispose();
        Optimizer.Dispose();
        Model.Dispose();
    }
}
