// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>The options of the loss, the same in every command that evaluates it; defaults are those of <see cref="MoLoOptions"/>.</summary>
internal sealed class MoLoOptionSet
{
    private static readonly MoLoOptions s_standard = new();

    private readonly Option<double> _tau = Number("--tau", s_standard.Tau, "Share of explained variance that the kept components reach, in (0, 1].");
    private readonly Option<double> _lambda = Number("--lambda", s_standard.Lambda, "Weight of the component branch.");
    private readonly Option<double> _globalWeight = Number("--global-weight", s_standard.GlobalWeight, "Weight of the global branch.");
    private readonly Option<double> _labelSmoothing = Number("--label-smoothing", s_standard.LabelSmoothing, "Label smoothing of every cross entropy, in [0, 1).");
    private readonly Option<ComponentSource> _components =
        ChoiceOption.Create("--components", s_standard.Components, "Which side is reconstructed from its principal components.");
    private readonly Option<ComponentNormalization> _componentNormalization =
        ChoiceOption.Create("--component-normalization", s_standard.ComponentNormalization, "How reconstructed features are scaled.");
    private readonly Option<BasisGradient> _basisGradient =
        ChoiceOption.Create("--basis-gradient", s_standard.BasisGradient, "Whether gradient flows through the principal directions.");
    private readonly Option<OnOff> _gatherWithGrad =
        ChoiceOption.Create("--gather-with-grad", s_standard.GatherWithGrad ? OnOff.On : OnOff.Off, "Whether both operands of every product get gradient; the authors trained with off.");

    /// <summary>Adds all options to a command.</summary>
    /// <param name="command">The command.</param>
    public void AddTo(Command command)
    {
        Option[] options = [_tau, _lambda, _globalWeight, _labelSmoothing, _components, _componentNormalization, _basisGradient, _gatherWithGrad];
        foreach (Option option in options)
        {
            command.Add(option);
        }
    }

    /// <summary>The values of a call, validated.</summary>
    /// <param name="parse">The call.</param>
    /// <exception cref="ArgumentException">A value is outside its range.</exception>
    public MoLoOptions Read(ParseResult parse)
    {
        MoLoOptions options = new()
        {
            Tau = parse.GetValue(_tau),
            Lambda = parse.GetValue(_lambda),
            GlobalWeight = parse.GetValue(_globalWeight),
            LabelSmoothing = parse.GetValue(_labelSmoothing),
            Components = parse.GetValue(_components),
            ComponentNormalization = parse.GetValue(_componentNormalization),
            BasisGradient = parse.GetValue(_basisGradient),
            GatherWithGrad = parse.GetValue(_gatherWithGrad) == OnOff.On,
        };
        options.Validate();
        return options;
    }

    private static Option<double> Number(string name, double standard, string description) => new(name)
    {
        Description = FormattableString.Invariant($"{description} [{standard}]"),
        HelpName = "number",
        DefaultValueFactory = _ => standard,
    };
}
