// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary>The hyper-parameters of a run as options; what a call does not give comes from the preset.</summary>
internal sealed class TrainOptionSet
{
    private static readonly TrainingConfig s_standard = TrainingPresets.Create(TrainingPreset.None);

    private readonly List<Option> _options = [];
    private readonly List<Func<ParseResult, TrainingConfig, TrainingConfig>> _setters = [];
    private readonly Option<TrainingPreset> _preset = ChoiceOption.Create(
        "--preset", TrainingPreset.None, "Hyper-parameters to start from: demo-base trains a small model from nothing, demo fine-tunes it; the others are for CLIPs.");
    private readonly Option<string> _file = new("--config") { Description = "JSON file with hyper-parameters as in a run's config.json; they go before the preset's, options before both.", HelpName = "FILE" };

    private string _group = ""; // in help, of the options that are added next

    public TrainOptionSet()
    {
        _options.AddRange([_preset, _file]);
        foreach ((string title, Action add) in new (string, Action)[]
        {
            ("Start and length", AddStart),
            ("Data", AddData),
            ("Batch, precision, memory", AddBatch),
            ("Loss", AddLoss),
            ("Optimizer", AddOptimizer),
            ("Measuring, saving, logs", AddWatching),
        })
        {
            _group = title;
            add();
        }
    }

    /// <summary>Adds all options to a command.</summary>
    /// <param name="command">The command.</param>
    public void AddTo(Command command)
    {
        foreach (Option option in _options)
        {
            command.Add(option);
        }
    }

    /// <summary>The configuration of a call; plain runs have no component branch whatever --lambda says.</summary>
    /// <param name="parse">The call.</param>
    /// <param name="data">The data folder.</param>
    public TrainingConfig Read(ParseResult parse, string data)
    {
        TrainingConfig config = TrainingPresets.Create(parse.GetValue(_preset));
        config = parse.GetValue(_file) is { } file ? TrainingConfig.ReadOver(file, config) : config;
        config = _setters.Aggregate(config with { Data = data }, (current, set) => set(parse, current));
        return config.Loss == TrainingLoss.Plain ? config with { Lambda = 0.0 } : config;
    }

    private void AddStart()
    {
        Text("--base", "Checkpoint to start from; without one a small model is trained from random weights.", (config, value) => config with { Base = value });
        Number("--steps", s_standard.Steps, "Training steps.", (config, value) => config with { Steps = value, Epochs = 0.0 });
        Number("--epochs", s_standard.Epochs, "Passes through the data, in the place of --steps; 0 leaves it to --steps.", (config, value) => config with { Epochs = value });
        Number("--seed", s_standard.Seed, "Chooses the order of the data, the captions' changes and random weights.", (config, value) => config with { Seed = value });
        Text("--model", "Architecture that the base must have, for example ViT-B/16.", (config, value) => config with { Model = value }, "NAME");
        Number("--context", 0, "Text positions; 0 takes the base's.", (config, value) => config with { Context = value > 0 ? value : null });
    }

    private void AddData()
    {
        Text("--images", "Folder of the images. [the caption file's]", (config, value) => config with { Images = value }, "DIR");
        Add(CaptionColumnOptions.Image(), (config, value) => config with { ImageColumn = value });
        Add(CaptionColumnOptions.Caption(), (config, value) => config with { CaptionColumn = value });
        Number("--held-out", s_standard.HeldOut, "First records of the data that are not trained on; data without an evaluation split are measured on them.", (config, value) => config with { HeldOut = value });
        Choice("--captions", s_standard.Captions, "What a run reads of a caption.", (config, value) => config with { Captions = value });
        Number("--cut-share", s_standard.CutShare, "Share of the captions cut after a random sentence.", (config, value) => config with { CutShare = value });
        Number("--filler", s_standard.Filler, "Mean number of filler sentences put into a caption.", (config, value) => config with { Filler = value });
        Number("--workers", s_standard.Workers, "Threads that read and decode images; 0 takes one per processor.", (config, value) => config with { Workers = value });
        Number("--prefetch", s_standard.Prefetch, "Batches that are read ahead.", (config, value) => config with { Prefetch = value });
        Number("--max-bad-images", s_standard.MaxBadImages, "Images that may be missing or damaged; others take their place.", (config, value) => config with { MaxBadImages = value });
    }

    private void AddBatch()
    {
        Number("--batch", s_standard.Batch, "Pairs in a step.", (config, value) => config with { Batch = value });
        Number("--micro-batch", s_standard.MicroBatch, "Pairs that go through the encoders together; 0 takes the whole batch.", (config, value) => config with { MicroBatch = value });
        Choice("--accumulation", s_standard.Accumulation, "Loss of a batch in parts: cached contrasts the whole batch, plain each part, as the authors' code.", (config, value) => config with { Accumulation = value });
        Number("--ranks", s_standard.Ranks, "Equal parts of the batch that HiDe sees one at a time, as with as many GPUs.", (config, value) => config with { Ranks = value });
        Choice("--precision", s_standard.Precision, "Type of the encoders' products; weights and loss stay float32.", (config, value) => config with { Precision = value });
        Choice("--activation-checkpointing", OnOff.Off, "Whether blocks are computed again in the backward pass to save memory.", (config, value) => config with { ActivationCheckpointing = value == OnOff.On });
        Text(TorchDevice.Option, $"Where it computes; a run may go on elsewhere. [{TorchDevice.Cpu}]", (config, value) => config with { Device = value }, DeviceOption.Names);
        Number("--threads", s_standard.Threads, "Threads of libtorch and of the loss; 0 takes one per processor.", (config, value) => config with { Threads = value });
    }

    private void AddLoss()
    {
        Choice("--loss", s_standard.Loss, "Objective: plain is HiMo without its component branch.", (config, value) => config with { Loss = value });
        Number("--tau", s_standard.Tau, "Share of explained variance that the kept components reach, in (0, 1].", (config, value) => config with { Tau = value });
        Number("--lambda", s_standard.Lambda, "Weight of the component branch.", (config, value) => config with { Lambda = value });
        Number("--global-weight", s_standard.GlobalWeight, "Weight of the global branch.", (config, value) => config with { GlobalWeight = value });
        Number("--label-smoothing", s_standard.LabelSmoothing, "Label smoothing of every cross entropy, in [0, 1).", (config, value) => config with { LabelSmoothing = value });
        Choice("--components", s_standard.Components, "Which side is reconstructed from its principal components.", (config, value) => config with { Components = value });
        Choice("--component-normalization", s_standard.ComponentNormalization, "How reconstructed features are scaled.", (config, value) => config with { ComponentNormalization = value });
        Choice("--basis-gradient", s_standard.BasisGradient, "Whether gradient flows through the principal directions.", (config, value) => config with { BasisGradient = value });
        Choice("--gather-with-grad", OnOff.On, "Whether both operands of every product get gradient.", (config, value) => config with { GatherWithGrad = value == OnOff.On });
        Number("--logit-scale-start", double.NaN, "Natural logarithm of the scale at the start; NaN takes the base's.", (config, value) => config with { LogitScaleStart = double.IsNaN(value) ? null : value });
        Number("--max-logit-scale", s_standard.MaxLogitScale, "Natural logarithm of the largest scale; 0 sets no limit.", (config, value) => config with { MaxLogitScale = value });
    }

    private void AddOptimizer()
    {
        Number("--lr", s_standard.LearningRate, "Highest learning rate.", (config, value) => config with { LearningRate = value });
        Number("--warmup-steps", s_standard.WarmupSteps, "Steps of linear warm-up.", (config, value) => config with { WarmupSteps = value });
        Choice("--schedule", s_standard.Schedule, "The learning rate after the warm-up.", (config, value) => config with { Schedule = value });
        Number("--cooldown-steps", s_standard.CooldownSteps, "Steps of the cooldown schedule's fall at the end.", (config, value) => config with { CooldownSteps = value });
        Number("--final-rate-share", s_standard.FinalRateShare, "Share of the learning rate that is left at the end.", (config, value) => config with { FinalRateShare = value });
        Number("--beta1", s_standard.Beta1, "AdamW's decay of the gradient's mean.", (config, value) => config with { Beta1 = value });
        Number("--beta2", s_standard.Beta2, "AdamW's decay of the squared gradient's mean.", (config, value) => config with { Beta2 = value });
        Number("--weight-decay", s_standard.WeightDecay, "Decoupled weight decay.", (config, value) => config with { WeightDecay = value });
        Choice("--weight-decay-policy", s_standard.WeightDecayPolicy, "What decays: parameters of two or more dimensions, or all, as in the authors' code.", (config, value) => config with { WeightDecayPolicy = value });
        Number("--clip", s_standard.Clip, "Largest norm of the gradient; 0 does not clip.", (config, value) => config with { Clip = value });
        Number("--ema", s_standard.Ema, "Decay per step of a moving average of the weights, evaluated and saved as well; 0 keeps none.", (config, value) => config with { Ema = value });
        Text("--freeze", "What is not trained: image, text or both; image:2 trains the last two blocks of the image tower.", (config, value) => config with { Freeze = value }, "TOWERS");
    }

    private void AddWatching()
    {
        Choice("--half-precision", OnOff.Off, "Whether the final model is stored in half precision.", (config, value) => config with { HalfPrecision = value == OnOff.On });
        Choice("--tensorboard", OnOff.Off, "Whether TensorBoard's event files are written.", (config, value) => config with { TensorBoard = value == OnOff.On });
        Number("--eval-every", s_standard.EvalEvery, "Steps between evaluations; 0 evaluates at the end only.", (config, value) => config with { EvalEvery = value });
        Number("--keep-checkpoints", s_standard.KeepCheckpoints, "Checkpoints whose weights are kept; 0 keeps all.", (config, value) => config with { KeepCheckpoints = value });
        Number("--save-every", s_standard.SaveEvery, "Steps between checkpoints; 0 saves at the end and when stopped.", (config, value) => config with { SaveEvery = value });
        Number("--save-minutes", s_standard.SaveMinutes, "Minutes between checkpoints, besides; 0 saves by steps alone.", (config, value) => config with { SaveMinutes = value });
    }

    private void Number<T>(string name, T standard, string description, Func<TrainingConfig, T, TrainingConfig> set) => Add(
        new Option<T>(name)
        {
            Description = FormattableString.Invariant($"{description} [{standard}]"),
            HelpName = "number",
            DefaultValueFactory = _ => standard,
        },
        set);

    private void Text(string name, string description, Func<TrainingConfig, string, TrainingConfig> set, string kind = "FILE") =>
        Add(new Option<string>(name) { Description = description, HelpName = kind }, set);

    private void Choice<T>(string name, T standard, string description, Func<TrainingConfig, T, TrainingConfig> set)
        where T : struct, Enum => Add(ChoiceOption.Create(name, standard, description), set);

    private void Add<T>(Option<T> option, Func<TrainingConfig, T, TrainingConfig> set)
    {
        OptionGroup.Set(option, _group);
        _options.Add(option);
        _setters.Add((parse, config) => parse.GetResult(option) is { Implicit: false } ? set(config, parse.GetValue(option)!) : config);
    }
}
