// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Which objective a run trains with.</summary>
internal enum TrainingLoss
{
    /// <summary>InfoNCE between images and whole texts: HiMo without its component branch.</summary>
    Plain,

    /// <summary>Both branches.</summary>
    Himo,
}

/// <summary>What a run sees of a caption.</summary>
internal enum CaptionUse
{
    /// <summary>All sentences, as <see cref="CaptionVariation"/> changes them.</summary>
    Whole,

    /// <summary>One sentence: the first, a random other one, or a filler. This is how the small base models are trained.</summary>
    OneSentence,
}

/// <summary>Everything that a run's result depends on, and how it is watched. Written beside the run as config.json.</summary>
internal sealed record TrainingConfig
{
    /// <summary>Name of the file in a run's folder.</summary>
    public const string FileName = "config.json";

    /// <summary>Properties that may differ between a run and its continuation.</summary>
    private static readonly string[] s_notBinding = ["name", "threads", "eval_every", "save_every"];

    public string Name { get; init; } = "";

    public TrainingLoss Loss { get; init; } = TrainingLoss.Himo;

    /// <summary>Checkpoint to start from; null starts from random weights.</summary>
    public string? Base { get; init; }

    /// <summary>SHA-256 of the base, so that a run is not continued from another one.</summary>
    public string? BaseHash { get; init; }

    /// <summary>Data folder or caption file.</summary>
    public required string Data { get; init; }

    public long Seed { get; init; }

    public int Steps { get; init; } = 120;

    public int Batch { get; init; } = 128;

    public double LearningRate { get; init; } = 1e-5;

    public int WarmupSteps { get; init; } = 10;

    /// <summary>Share of the learning rate that is left at the end.</summary>
    public double FinalRateShare { get; init; }

    public double Beta1 { get; init; } = 0.9;

    public double Beta2 { get; init; } = 0.999;

    /// <summary>Decoupled weight decay, on parameters of two or more dimensions only.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>Largest norm of the gradient; 0 does not clip.</summary>
    public double Clip { get; init; }

    public double Tau { get; init; } = 0.9;

    public double Lambda { get; init; } = 1.0;

    public double GlobalWeight { get; init; } = 1.0;

    public double LabelSmoothing { get; init; } = 0.1;

    public ComponentSource Components { get; init; }

    public ComponentNormalization ComponentNormalization { get; init; }

    public BasisGradient BasisGradient { get; init; }

    public bool GatherWithGrad { get; init; } = true;

    public CaptionUse Captions { get; init; }

    /// <summary>Share of the captions that is cut after a random sentence.</summary>
    public double CutShare { get; init; }

    /// <summary>Mean number of filler sentences in a caption.</summary>
    public double Filler { get; init; }

    /// <summary>Text positions; null takes the base's.</summary>
    public int? Context { get; init; }

    /// <summary>Whether the final model is stored in half precision.</summary>
    public bool HalfPrecision { get; init; }

    /// <summary>Threads of libtorch and of the loss; 0 takes one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>Steps between evaluations; 0 evaluates at the end only.</summary>
    public int EvalEvery { get; init; }

    /// <summary>Steps between checkpoints; 0 saves at the end and when stopped.</summary>
    public int SaveEvery { get; init; }

    /// <summary>The loss as the kernels take it.</summary>
    [JsonIgnore]
    public MoLoOptions MoLo => new()
    {
        Tau = Tau,
        Lambda = Lambda,
        GlobalWeight = GlobalWeight,
        LabelSmoothing = LabelSmoothing,
        Components = Components,
        ComponentNormalization = ComponentNormalization,
        BasisGradient = BasisGradient,
        GatherWithGrad = GatherWithGrad,
    };

    /// <summary>Checks what no other part checks.</summary>
    /// <exception cref="UserError">A value is impossible; the message names its option.</exception>
    public void Validate()
    {
        Require(Steps is >= 1 and <= 100_000_000, "--steps", Steps, "a run has 1 to 100000000 steps");
        Require(Batch is >= 1 and <= 1_000_000, "--batch", Batch, "a batch has 1 to 1000000 pairs");
        Require(WarmupSteps >= 0 && WarmupSteps <= Steps, "--warmup-steps", WarmupSteps, $"the warm-up has 0 to {Steps} steps");
        Require(FinalRateShare is >= 0.0 and <= 1.0, "--final-rate-share", FinalRateShare, "it lies from 0 to 1");
        Require(Beta1 is >= 0.0 and < 1.0, "--beta1", Beta1, "it lies from 0 to below 1");
        Require(Beta2 is >= 0.0 and < 1.0, "--beta2", Beta2, "it lies from 0 to below 1");
        Require(WeightDecay is >= 0.0 and < 1e3, "--weight-decay", WeightDecay, "it lies from 0 to below 1000");
        Require(Clip is >= 0.0 and <= double.MaxValue, "--clip", Clip, "it is 0 for no clipping, or the largest gradient norm");
        Require(Threads is >= 0 and <= 1024, "--threads", Threads, "it is 0 for one per processor, or a number up to 1024");
        Require(EvalEvery >= 0, "--eval-every", EvalEvery, "it is 0 for the end only, or a number of steps");
        Require(SaveEvery >= 0, "--save-every", SaveEvery, "it is 0 for the end only, or a number of steps");
        MoLo.Validate();
    }

    /// <summary>Names of the properties that differ between a run and what continues it, of those that decide the result.</summary>
    /// <param name="other">The other configuration.</param>
    public IReadOnlyList<string> Differences(TrainingConfig other)
    {
        JsonObject mine = Binding(), others = other.Binding();
        return [.. mine.Select(pair => pair.Key).Where(key => !JsonNode.DeepEquals(mine[key], others[key]))];
    }

    /// <summary>The properties that decide the result.</summary>
    public JsonObject Binding()
    {
        JsonObject all = JsonSerializer.SerializeToNode(this, TrainingConfigJson.Default.TrainingConfig)!.AsObject();
        foreach (string name in s_notBinding)
        {
            _ = all.Remove(name);
        }

        return all;
    }

    /// <summary>As config.json holds it.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, TrainingConfigJson.Default.TrainingConfig);

    /// <summary>Reads the configuration of a run; null if the folder has none.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <exception cref="UserError">The file is damaged.</exception>
    public static TrainingConfig? Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(path), TrainingConfigJson.Default.TrainingConfig) ?? throw new UserError($"{path}: is empty");
        }
        catch (Exception failure) when (failure is JsonException or IOException)
        {
            throw new UserError($"{path}: is no configuration of a run ({failure.Message})", failure);
        }
    }

    private static void Require<T>(bool condition, string option, T value, string must)
    {
        if (!condition)
        {
            throw new UserError(FormattableString.Invariant($"{option} {value}: {must}"));
        }
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true,
    Converters = [typeof(KebabEnum<TrainingLoss>), typeof(KebabEnum<CaptionUse>), typeof(KebabEnum<ComponentSource>),
        typeof(KebabEnum<ComponentNormalization>), typeof(KebabEnum<BasisGradient>)])]
[JsonSerializable(typeof(TrainingConfig))]
internal sealed partial class TrainingConfigJson : JsonSerializerContext;

/// <summary>Enums as the command line spells them, for example <c>text-and-image</c>.</summary>
internal sealed class KebabEnum<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.KebabCaseLower)
    where T : struct, Enum;
