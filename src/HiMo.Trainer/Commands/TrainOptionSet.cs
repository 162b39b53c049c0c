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
        "--preset", TrainingPreset.None, "Hyper-parameters to start from: demo-base trains a small model from nothing, demo fine-tunes it.");

    public TrainOptionSet()
    {
        _options.Add(_preset);
        Choice("--loss", s_standard.Loss, "Objective: plain is HiMo without its component branch.", (config, value) => config with { Loss = value });
        Text("--base", "Checkpoint to start from; without one a small model is trained from random weights.", (config, value) => config with { Base = value });
        Number("--steps", s_standard.Steps, "Training steps.", (config, value) => config with { Steps = value });
        Number("--batch", s_standard.Batch, "Pairs in a step.", (config, value) => config with { Batch = value });
        Number("--lr", s_standard.LearningRate, "Highest learning rate.", (config, value) => config with { LearningRate = value });
        Number("--warmup-steps", s_standard.WarmupSteps, "Steps of linear warm-up; then half a cosine.", (config, value) => config with { WarmupSteps = value });
        Number("--final-rate-share", s_standard.FinalRateShare, "Share of the learning rate that is left at the end.", (config, value) => config with { FinalRateShare = value });
        Number("--seed", s_standard.Seed, "Chooses the order of the data, the captions' changes and random weights.", (config, value) => config with { Seed = value });
        Number("--tau", s_standard.Tau, "Share of explained variance that the kept components reach, in (0, 1].", (config, value) => config with { Tau = value });
        Number("--lambda", s_standard.Lambda, "Weight of the component branch.", (config, value) => config with { Lambda = value });
        Number("--global-weight", s_standard.GlobalWeight, "Weight of the global branch.", (config, value) => config with { GlobalWeight = value });
        Number("--label-smoothing", s_standard.LabelSmoothing, "Label smoothing of every cross entropy, in [0, 1).", (config, value) => config with { LabelSmoothing = value });
        Choice("--components", s_standard.Components, "Which side is reconstructed from its principal components.", (config, value) => config with { Components = value });
        Choice("--component-normalization", s_standard.ComponentNormalization, "How reconstructed features are scaled.", (config, value) => config with { ComponentNormalization = value });
        Choice("--basis-gradient", s_standard.BasisGradient, "Whether gradient flows through the principal directions.", (config, value) => config with { BasisGradient = value });
        Choice("--gather-with-grad", OnOff.On, "Whether both operands of every product get gradient.", (config, value) => config with { GatherWithGrad = value == OnOff.On });
        Choice("--captions", s_standard.Captions, "What a run reads of a caption.", (config, value) => config with { Captions = value });
        Number("--cut-share", s_standard.CutShare, "Share of the captions cut after a random sentence.", (config, value) => config with { CutShare = value });
        Number("--filler", s_standard.Filler, "Mean number of filler sentences put into a caption.", (config, value) => config with { Filler = value });
        Number("--beta1", s_standard.Beta1, "AdamW's decay of the gradient's mean.", (config, value) => config with { Beta1 = value });
        Number("--beta2", s_standard.Beta2, "AdamW's decay of the squared gradient's mean.", (config, value) => config with { Beta2 = value });
        Number("--weight-decay", s_standard.WeightDecay, "Decoupled weight decay of parameters with two or more dimensions.", (config, value) => config with { WeightDecay = value });
        Number("--clip", s_standard.Clip, "Largest norm of the gradient; 0 does not clip.", (config, value) => config with { Clip = value });
        Number("--context", 0, "Text positions; 0 takes the base's.", (config, value) => config with { Context = value > 0 ? value : null });
        Choice("--half-precision", OnOff.Off, "Whether the final model is stored in half precision.", (config, value) => config with { HalfPrecision = value == OnOff.On });
        Number("--threads", s_standard.Threads, "Threads of libtorch and of the loss; 0 takes one per processor.", (config, value) => config with { Threads = value });
        Number("--eval-every", s_standard.EvalEvery, "Steps between evaluations; 0 evaluates at the end only.", (config, value) => config with { EvalEvery = value });
        Number("--save-every", s_standard.SaveEvery, "Steps between checkpoints; 0 saves at the end and when stopped.", (config, value) => config with { SaveEvery = value });
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
        TrainingConfig config = TrainingPresets.Create(parse.GetValue(_preset)) with { Data = data };
        config = _setters.Aggregate(config, (current, set) => set(parse, current));
        return config.Loss == TrainingLoss.Plain ? config with { Lambda = 0.0 } : config;
    }

    private void Number<T>(string name, T standard, string description, Func<TrainingConfig, T, TrainingConfig> set) => Add(
        new Option<T>(name)
        {
            Description = FormattableString.Invariant($"{description} [{standard}]"),
            HelpName = "number",
            DefaultValueFactory = _ => standard,
        },
        set);

    private void Text(string name, string description, Func<TrainingConfig, string, TrainingConfig> set) =>
        Add(new Option<string>(name) { Description = description, HelpName = "FILE" }, set);

    private void Choice<T>(string name, T standard, string description, Func<TrainingConfig, T, TrainingConfig> set)
        where T : struct, Enum => Add(ChoiceOption.Create(name, standard, description), set);

    private void Add<T>(Option<T> option, Func<TrainingConfig, T, TrainingConfig> set)
    {
        _options.Add(option);
        _setters.Add((parse, config) => parse.GetResult(option) is { Implicit: false } ? set(config, parse.GetValue(option)!) : config);
    }
}
