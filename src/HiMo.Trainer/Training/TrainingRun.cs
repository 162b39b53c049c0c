// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// A run's folder from the outside: who may write to it, whether it is new, to be continued or complete, and the parts that the
/// training loop needs.
/// </summary>
internal sealed class TrainingRun : IDisposable
{
    /// <summary>Name of the final model in a run's folder.</summary>
    public const string ModelFile = "model.safetensors";

    /// <summary>Name of the weights' moving average there, if one was kept.</summary>
    public const string AverageFile = "model_ema.safetensors";

    /// <summary>Name of the weights that measured best during the run there, if they were measured.</summary>
    public const string BestFile = "model_best.safetensors";

    private readonly FileStream _lock;

    private CaptionDataset? _all;

    private TrainingRun(string folder, TrainingConfig config, Device device, CaptionDataset? data, FileStream exclusive)
    {
        (Folder, Config, Device, _all, _lock) = (folder, config, device, data, exclusive);
    }

    /// <summary>Where everything is written.</summary>
    public string Folder { get; }

    /// <summary>The effective configuration, the base's hash included.</summary>
    public TrainingConfig Config { get; }

    /// <summary>Where it computes; files hold nothing of it.</summary>
    public Device Device { get; }

    /// <summary>All pairs that it trains on.</summary>
    public CaptionDataset Data => field ??= All.After(Config.HeldOut);

    /// <summary>Whether there is something to measure on: an evaluation split, or records that are held out.</summary>
    public bool CanEvaluate => HasEvaluationSplit || Config.HeldOut > 0;

    /// <summary>Whether the final model is there.</summary>
    public bool IsComplete => File.Exists(Path.Combine(Folder, ModelFile));

    /// <summary>Takes the folder for this process.</summary>
    /// <param name="folder">Created if it is missing.</param>
    /// <param name="config">What is to be run; validated here.</param>
    /// <param name="resume">Whether an earlier part of the same run may be there.</param>
    /// <exception cref="UserError">A value is impossible, or the device is not there, or the folder is in use, or holds another run, or holds this one and <paramref name="resume"/> is off.</exception>
    public static TrainingRun Open(string folder, TrainingConfig config, bool resume)
    {
        CaptionDataset? data = config.Epochs > 0.0 ? LoadData(config) : null;
        if (data is not null)
        {
            config = config with { Steps = (int)Math.Clamp(Math.Round(config.Epochs * ((data.Count - config.HeldOut) / Math.Max(1, config.Batch))), 1.0, int.MaxValue) };
        }

        config.Validate();
        Device device = TorchDevice.Open(config.Device);
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        config = config with { Name = Path.GetFileName(full), BaseHash = config.Base is { } file ? Hash(file) : null };
        FileStream exclusive = Lock(full, folder);
        try
        {
            if (HasProgress(full) && TrainingConfig.Read(full) is { } earlier)
            {
                if (!resume)
                {
                    throw new UserError($"{folder}: holds a run already; --resume continues it, another --out starts a new one");
                }

                if (config.Differences(earlier) is { Count: > 0 } different)
                {
                    throw new UserError($"{folder}: holds a run with another {string.Join(", ", different)}; --resume continues a run as it was started, another --out starts a new one");
                }
            }

            AtomicFile.WriteText(Path.Combine(full, TrainingConfig.FileName), config.ToJson() + "\n");
            return new TrainingRun(full, config, device, data, exclusive);
        }
        catch
        {
            exclusive.Dispose();
            throw;
        }
    }

    /// <summary>The model to start from: the base, or random weights for the data's vocabulary; frozen as the configuration says, on the run's device.</summary>
    /// <exception cref="UserError">The base is missing or damaged, or there is neither a base nor a vocabulary.</exception>
    public ClipModel CreateModel()
    {
        if (Config.Model.Length > 0 && Config.Base is null)
        {
            throw new UserError($"no --base given; the preset fine-tunes a {Config.Model}: give its checkpoint, or --model \"\" to start a small model from random weights");
        }

        ClipModel model = Config.Base is { } file ? ClipModel.Load(file, Config.Context) : CreateSmallModel();
        try
        {
            if (Config.Model.Length > 0 && PublishedModels.NameOf(model.Config) is var name && name != Config.Model)
            {
                throw new UserError($"the preset is for {Config.Model}, the base is {name ?? "none of the published architectures"}; give such a --base, or --model \"\" to take any");
            }

            Freezing.Apply(model, Config.Freeze);
            if (Config.LogitScaleStart is { } start)
            {
                MemoryMarshal.Cast<byte, float>(model.LogitScale.bytes)[0] = (float)start;
            }

            return model.to(Device);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private ClipModel CreateSmallModel()
    {
        DatasetDescription data = Description
            ?? throw new UserError($"--data {Config.Data}: without --base a small model is trained from nothing, which needs the words in the {DatasetDescription.FileName} that 'himo dataset synthesize' writes");
        return ClipModel.Create(SmallModel(data, Config.Context), Config.Seed);
    }

    /// <summary>What the checkpoints say beside the weights.</summary>
    /// <param name="model">The model of <see cref="CreateModel"/>.</param>
    public IReadOnlyDictionary<string, string> Metadata(ClipModel model)
    {
        Dictionary<string, string> metadata = new(model.Metadata);
        if (Config.Base is null && Description is { } data)
        {
            metadata[WordTokenizer.MetadataKey] = string.Join('\n', data.Words);
        }

        metadata["himo.context"] = model.Config.ContextLength.ToString(CultureInfo.InvariantCulture);
        metadata[ModelCard.TrainingKey] = Config.Binding().ToJsonString();
        return metadata;
    }

    /// <summary>The description of the data folder, or null where it has none.</summary>
    public DatasetDescription? Description => field ??= DatasetDescription.Read(Config.Data);

    /// <summary>What the model is measured on: the data's evaluation split, else the records that are held out, whose captions grow by their sentences.</summary>
    /// <exception cref="UserError">A file of the split, or every image of the records, is missing or damaged.</exception>
    public EvaluationSet EvaluationSet => field ??= HasEvaluationSplit ? EvaluationSet.Load(Config.Data) : EvaluationSet.Of(Config.Data, All.First(Config.HeldOut));

    public void Dispose() => _lock.Dispose();

    private CaptionDataset All => _all ??= LoadData(Config);

    private bool HasEvaluationSplit => File.Exists(Path.Combine(Config.Data, "eval", "captions.jsonl"));

    private static CaptionDataset LoadData(TrainingConfig config)
    {
        CaptionColumns usual = new();
        CaptionDataset data = CaptionDataset.Load(config.Data, config.Images, new CaptionColumns(config.ImageColumn ?? usual.Image, config.CaptionColumn ?? usual.Caption));
        return config.HeldOut < data.Count ? data : throw new UserError($"--held-out {config.HeldOut}: {config.Data} holds {data.Count} pairs, so none is left");
    }

    /// <summary>The demonstration's model: at most 2 MB in half precision.</summary>
    private static ClipConfig SmallModel(DatasetDescription data, int? context) => new()
    {
        EmbedDim = 128,
        ImageResolution = data.ImageSize,
        PatchSize = data.ImageSize / 3,
        VisionWidth = 128,
        VisionLayers = 3,
        VisionMlpWidth = 256,
        ContextLength = context ?? data.Context,
        VocabSize = data.Words.Length,
        TextWidth = 128,
        TextLayers = 2,
        TextMlpWidth = 256,
    };

    /// <summary>SHA-256 of a base model, as <see cref="TrainingConfig.BaseHash"/> has it.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">It cannot be read.</exception>
    internal static string Hash(string path)
    {
        try
        {
            using FileStream stream = File.OpenRead(path);
            return Convert.ToHexStringLower(SHA256.HashData(stream));
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new UserError($"--base {path}: cannot be read ({failure.Message})", failure);
        }
    }

    /// <summary>A call that failed before its first step leaves nothing worth protecting.</summary>
    private static bool HasProgress(string full) =>
        File.Exists(Path.Combine(full, ModelFile))
        || new FileInfo(Path.Combine(full, "log.jsonl")) is { Exists: true, Length: > 0 }
        || (Directory.Exists(Path.Combine(full, "checkpoints")) && Directory.EnumerateFiles(Path.Combine(full, "checkpoints")).Any());

    /// <summary>The lock is the operating system's, so it goes with the process, however that ends.</summary>
    private static FileStream Lock(string full, string shown)
    {
        try
        {
            _ = Directory.CreateDirectory(full);
            return new FileStream(Path.Combine(full, "run.lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new UserError($"{shown}: cannot be used as a run's folder, or another process is training there ({failure.Message})", failure);
        }
    }
}
