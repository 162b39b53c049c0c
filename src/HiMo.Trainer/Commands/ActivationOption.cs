// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary>Where the activation of a checkpoint comes from.</summary>
internal enum ActivationChoice
{
    /// <summary>Its metadata or the configuration beside it, else OpenAI's.</summary>
    Checkpoint,

    /// <summary>QuickGELU whatever they say.</summary>
    QuickGelu,

    /// <summary>Exact GELU whatever they say.</summary>
    Gelu,
}

/// <summary><c>--activation</c>, for weights that came without their configuration: nothing in them tells it.</summary>
internal static class ActivationOption
{
    public static Option<ActivationChoice> Create() => ChoiceOption.Create("--activation", ActivationChoice.Checkpoint, "Activation of both MLPs; most of open_clip's models have gelu.");

    /// <summary>What was chosen, or null for the checkpoint's own.</summary>
    /// <param name="choice">The option's value.</param>
    public static ClipActivation? Read(ActivationChoice choice) => choice switch
    {
        ActivationChoice.QuickGelu => ClipActivation.QuickGelu,
        ActivationChoice.Gelu => ClipActivation.Gelu,
        _ => null,
    };
}
