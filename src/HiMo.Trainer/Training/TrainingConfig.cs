// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Serialization;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Everything that a run's result depends on, and how it is watched. Written beside the run as config.json.</summary>
internal sealed partial record TrainingConfig
{
    /// <summary>Name of the file in a run's folder.</summary>
    public const string FileName = "config.json";

    public string Name { get; init; } = "";

    public TrainingLoss Loss { get; init; } = TrainingLoss.Himo;

    /// <summary>Checkpoint to start from; null starts from random weights.</summary>
    public string? Base { get; init; }

    /// <summary>SHA-256 of the base, so that a run is not continued from another one.</summary>
    public string? BaseHash { get; init; }

    /// <summary>Data folder or caption file.</summary>
    public required string Data { get; init; }

    /// <summary>Folder of the images where it is another one than the caption file's.</summary>
    public string? Images { get; init; }

    /// <summary>Column of a .tsv or .csv file with the image's path; null takes the usual one.</summary>
    public string? ImageColumn { get; init; }

    /// <summary>Column of a .tsv or .csv file with the caption; null takes the usual one.</summary>
    public string? CaptionColumn { get; init; }

    public long Seed { get; init; }

    /// <summary>Updates of the weights. With <see cref="Epochs"/> it follows from the data.</summary>
    public int Steps { get; init; } = 120;

    /// <summary>Passes through the data; 0 leaves the length to <see cref="Steps"/>.</summary>
    public double Epochs { get; init; }

    /// <summary>The first records of the data, which are kept out of training; what is measured where the data have no evaluation split.</summary>
    public int HeldOut { get; init; }

    /// <summary>Pairs in a step.</summary>
    public int Batch { get; init; } = 128;

    /// <summary>Pairs that go through the encoders together; 0 takes the whole batch.</summary>
    public int MicroBatch { get; init; }

    /// <summary>
    /// Equal parts of the batch of which HiDe sees one at a time, while the contrast is over all: what this many processes with a part each compute.
    /// </summary>
    public int Ranks { get; init; } = 1;

    /// <summary>How the parts of a batch make one loss.</summary>
    public Accumulation Accumulation { get; init; }

    /// <summary>The type of the encoders' products; weights, sums, normalisations and the loss are float32.</summary>
    public Precision Precision { get; init; }

    /// <summary>Whether blocks are computed again in the backward pass instead of keeping what is inside them.</summary>
    public bool ActivationCheckpointing { get; init; }

    public double LearningRate { get; init; } = 1e-5;

    public RateSchedule Schedule { get; init; }

    public int WarmupSteps { get; init; } = 10;

    /// <summary>Steps of the cooldown schedule's fall at the end.</summary>
    public int CooldownSteps { get; init; }

    /// <summary>Share of the learning rate that is left at the end.</summary>
    public double FinalRateShare { get; init; }

    public double Beta1 { get; init; } = 0.9;

    public double Beta2 { get; init; } = 0.999;

    /// <summary>Decoupled weight decay of the parameters that <see cref="WeightDecayPolicy"/> names.</summary>
    public double WeightDecay { get; init; } = 0.01;

    public WeightDecayPolicy WeightDecayPolicy { get; init; }

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

    /// <summary>What is not trained: image, text, both with a comma; image:2 trains the image tower's last two blocks. Empty trains all.</summary>
    public string Freeze { get; init; } = "";

    /// <summary>Natural logarithm of the scale at the start; null takes the base's.</summary>
    public double? LogitScaleStart { get; init; }

    /// <summary>Natural logarithm of the largest scale; 0 does not limit it.</summary>
    public double MaxLogitScale { get; init; } = Math.Log(100.0);

    /// <summary>Decay per step of the weights' moving average, which is evaluated and saved as well; 0 keeps none.</summary>
    public double Ema { get; init; }

    /// <summary>Published architecture that the base must have, for example ViT-L/14; empty takes any.</summary>
    public string Model { get; init; } = "";

    /// <summary>Text positions; null takes the base's.</summary>
    public int? Context { get; init; }

    /// <summary>Whether the final model is stored in half precision.</summary>
    public bool HalfPrecision { get; init; }

    /// <summary>Where it computes, see <see cref="TorchDevice.Open"/>. A run may go on elsewhere: its files are the same.</summary>
    public string Device { get; init; } = TorchDevice.Cpu;

    /// <summary>Threads of libtorch and of the loss; 0 takes one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>Steps between evaluations; 0 evaluates at the end only.</summary>
    public int EvalEvery { get; init; }

    /// <summary>Steps between checkpoints; 0 saves at the end and when stopped.</summary>
    public int SaveEvery { get; init; }

    /// <summary>Minutes between checkpoints, besides those of <see cref="SaveEvery"/>; 0 saves by steps alone.</summary>
    public double SaveMinutes { get; init; }

    /// <summary>Checkpoints whose weights are kept; 0 keeps all. Only the newest has moments.</summary>
    public int KeepCheckpoints { get; init; }

    /// <summary>Threads that read and decode images; 0 takes one per processor. The result does not depend on it.</summary>
    public int Workers { get; init; }

    /// <summary>Batches that are read ahead.</summary>
    public int Prefetch { get; init; } = 2;

    /// <summary>Images that may be missing or damaged before the run ends; others take their place.</summary>
    public int MaxBadImages { get; init; }

    /// <summary>Whether TensorBoard's event files are written.</summary>
    public bool TensorBoard { get; init; }

    /// <summary>Pairs of one pass through the encoders.</summary>
    [JsonIgnore]
    public int Part => MicroBatch > 0 ? Math.Min(MicroBatch, Batch) : Batch;

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
        Require(Epochs is >= 0.0 and <= 1e6, "--epochs", Epochs, "it is 0 for --steps to decide, or a number of passes up to 1000000");
        Require(HeldOut >= 0, "--held-out", HeldOut, "it is a number of records");
        Require(MicroBatch >= 0 && (MicroBatch == 0 || Batch % Part == 0), "--micro-batch", MicroBatch, $"it is 0 for the whole batch, or divides {Batch} evenly");
        Require(Ranks >= 1 && Batch % Ranks == 0, "--ranks", Ranks, $"it is 1 or more and divides {Batch} evenly");
        Require(Ranks == 1 || Part == Batch || Accumulation == Accumulation.Cached, "--ranks", Ranks, "plain accumulation has no batch to contrast over; use --accumulation cached");
        Require(LogitScaleStart is null or (>= -100.0 and <= 80.0), "--logit-scale-start", LogitScaleStart, "it lies from -100 to 80");
        Require(MaxLogitScale is >= 0.0 and <= 80.0, "--max-logit-scale", MaxLogitScale, "it is 0 for no limit, or a logarithm up to 80");
        Require(Ema is >= 0.0 and < 1.0, "--ema", Ema, "it is 0 for none, or a decay below 1");
        Require(KeepCheckpoints >= 0, "--keep-checkpoints", KeepCheckpoints, "it is 0 for all, or a number of checkpoints");
        Require(Workers is >= 0 and <= 1024, "--workers", Workers, "it is 0 for one per processor, or a number up to 1024");
        Require(Prefetch is >= 1 and <= 1024, "--prefetch", Prefetch, "it lies from 1 to 1024");
        Require(MaxBadImages >= 0, "--max-bad-images", MaxBadImages, "it is a number of images");
        _ = Freezing.Parse(Freeze);
        Require(WarmupSteps >= 0 && WarmupSteps <= Steps, "--warmup-steps", WarmupSteps, $"the warm-up has 0 to {Steps} steps, those of the run; give fewer, or more --steps");
        Require(CooldownSteps >= 0 && WarmupSteps + CooldownSteps <= Steps, "--cooldown-steps", CooldownSteps, $"warm-up and cooldown have at most {Steps} steps together");
        Require(FinalRateShare is >= 0.0 and <= 1.0, "--final-rate-share", FinalRateShare, "it lies from 0 to 1");
        Require(Beta1 is >= 0.0 and < 1.0, "--beta1", Beta1, "it lies from 0 to below 1");
        Require(Beta2 is >= 0.0 and < 1.0, "--beta2", Beta2, "it lies from 0 to below 1");
        Require(WeightDecay is >= 0.0 and < 1e3, "--weight-decay", WeightDecay, "it lies from 0 to below 1000");
        Require(Clip is >= 0.0 and <= double.MaxValue, "--clip", Clip, "it is 0 for no clipping, or the largest gradient norm");
        Require(Threads is >= 0 and <= 1024, "--threads", Threads, "it is 0 for one per processor, or a number up to 1024");
        Require(EvalEvery >= 0, "--eval-every", EvalEvery, "it is 0 for the end only, or a number of steps");
        Require(SaveEvery >= 0, "--save-every", SaveEvery, "it is 0 for the end only, or a number of steps");
        Require(SaveMinutes is >= 0.0 and <= 1e6, "--save-minutes", SaveMinutes, "it is 0 for none, or a number of minutes");
        MoLo.Validate();
    }

    private static void Require<T>(bool condition, string option, T value, string must)
    {
        if (!condition)
        {
            throw new UserError(FormattableString.Invariant($"{option} {value}: {must}"));
        }
    }
}
