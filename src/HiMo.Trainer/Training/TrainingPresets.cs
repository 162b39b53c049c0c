// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Serialization;
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

    /// <summary>The paper's fine-tuning of OpenAI's ViT-L/14, as the authors' script sets it.</summary>
    HimoClipL14,

    /// <summary>The same for ViT-B/16.</summary>
    HimoClipB16,

    /// <summary>What the authors' training code does where its script sets nothing.</summary>
    OfficialCode,

    /// <summary>The paper's batch and loss in little memory: small parts, bfloat16 products, blocks computed again.</summary>
    [JsonStringEnumMemberName("one-gpu-24gb")]
    OneGpu24gb,

    /// <summary>A few steps: shows that data, base and options fit together.</summary>
    Smoke,
}

/// <summary>What the presets stand for.</summary>
internal static class TrainingPresets
{
    /// <summary>
    /// Eight GPUs with 128 pairs each become eight parts of one batch: HiDe on each part's texts, the contrast over all. The paper gives batch,
    /// epochs, AdamW, rate, warm-up, tau and lambda; what it leaves out is the authors' script's: label smoothing, decay of everything, a scale
    /// that starts at 100 without a limit, gathered features without gradient, 1,000 records held out. Their products are float16, ours float32.
    /// </summary>
    private static readonly TrainingConfig s_paper = new()
    {
        Data = "",
        Epochs = 10,
        HeldOut = 1000,
        Batch = 1024,
        MicroBatch = 128,
        Ranks = 8,
        LearningRate = 1e-6,
        WarmupSteps = 200,
        WeightDecay = 0.01,
        WeightDecayPolicy = WeightDecayPolicy.All,
        Tau = 0.9,
        Lambda = 1.0,
        LabelSmoothing = 0.1,
        GatherWithGrad = false,
        LogitScaleStart = Math.Log(100.0),
        MaxLogitScale = 0.0,
        Context = 248,
        MaxBadImages = 12_000,
        EvalEvery = 500,
        SaveEvery = 500,
        KeepCheckpoints = 3,
        TensorBoard = true,
    };

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
        TrainingPreset.HimoClipL14 => s_paper with { Model = "ViT-L/14" },
        TrainingPreset.HimoClipB16 => s_paper with { Model = "ViT-B/16" },
        TrainingPreset.OfficialCode => s_paper with
        {
            Epochs = 2,
            Batch = 512, // four times 128, each with a loss of its own
            Accumulation = Accumulation.Plain,
            Ranks = 1,
            WarmupSteps = 50, // 200 of its steps, which are a quarter of ours
            Tau = 0.85,
            Precision = Precision.Float16,
        },
        TrainingPreset.OneGpu24gb => s_paper with { MicroBatch = 64, Precision = Precision.Bfloat16, ActivationCheckpointing = true },
        TrainingPreset.Smoke => new TrainingConfig { Data = "", Steps = 4, Batch = 8, WarmupSteps = 1 },
        _ => new TrainingConfig { Data = "" },
    };
}
