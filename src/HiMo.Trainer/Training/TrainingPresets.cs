// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Named sets of hyper-parameters; options of a call override single values.</summary>
internal enum TrainingPreset
{
    /// <summary>The defaults of the options.</summary>
    None,

    /// <summary>A small base model from nothing, on single sentences.</summary>
    DemoBase,

    /// <summary>The demonstration's fine-tuning of such a base on growing captions.</summary>
    Demo,
}

/// <summary>What the presets stand for.</summary>
internal static class TrainingPresets
{
    /// <summary>The configuration of a preset, with nothing of a particular run.</summary>
    /// <param name="preset">Which.</param>
    public static TrainingConfig Create(TrainingPreset preset) => preset switch
    {
        TrainingPreset.DemoBase => new TrainingConfig
        {
            Data = "",
            Loss = TrainingLoss.Plain,
            Steps = 3000,
            Batch = 192,
            LearningRate = 1e-3,
            WarmupSteps = 100,
            FinalRateShare = 0.02,
            Beta2 = 0.98,
            WeightDecay = 0.02,
            Clip = 1.0,
            LabelSmoothing = 0.0,
            Captions = CaptionUse.OneSentence,
            HalfPrecision = true,
        },
        TrainingPreset.Demo => new TrainingConfig
        {
            Data = "",
            LearningRate = 1e-3,
            Tau = 0.6,
            BasisGradient = BasisGradient.Stopped,
            CutShare = 0.5,
            Filler = 1.0,
        },
        _ => new TrainingConfig { Data = "" },
    };
}
