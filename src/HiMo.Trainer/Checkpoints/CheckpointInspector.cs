// SPDX-License-Identifier: Apache-2.0
using System.Security.Cryptography;

namespace HiMo.Trainer;

/// <summary>What is known of a checkpoint without loading its weights.</summary>
/// <param name="Path">The file.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="Sha256">Its hash, lower-case hexadecimal.</param>
/// <param name="Published">The published model with this hash, or null.</param>
/// <param name="Container">The container.</param>
/// <param name="Layout">Whose names it uses.</param>
/// <param name="Tensors">Tensors under OpenAI's names.</param>
/// <param name="Parameters">Their values in total.</param>
/// <param name="Types">How many tensors are stored in which type, for example <c>302 Float32</c>.</param>
/// <param name="Mismatches">Parts whose content does not have its checksum; null where there are no checksums.</param>
/// <param name="Settings">The activation and where it was found.</param>
/// <param name="Config">The architecture, or null with a <paramref name="Problem"/>.</param>
/// <param name="Problem">Why it is no model that can be loaded, or null.</param>
internal sealed record CheckpointReport(
    string Path, long Bytes, string Sha256, string? Published, TensorContainer Container, CheckpointLayout Layout, int Tensors, long Parameters, string Types, IReadOnlyList<string>? Mismatches,
    ModelSettings Settings, ClipConfig? Config, string? Problem)
{
    /// <summary>The report as label and text, in the order to show it.</summary>
    public IEnumerable<(string Label, string Text)> Lines()
    {
        yield return ("file", $"{Path}, {Bytes} bytes");
        yield return ("sha256", $"{Sha256}{(Published is null ? ", none of OpenAI's published ViT-B/32, ViT-B/16, ViT-L/14" : $", OpenAI's published {Published}")}");
        yield return ("kind", $"{ContainerName(Container)}, {(Layout == CheckpointLayout.HuggingFace ? "Hugging Face's names" : "OpenAI's names")}");
        yield return ("tensors", $"{Tensors} with {Parameters} values: {Types}");
        yield return ("checksums", Mismatches switch
        {
            null => "none in this container",
            { Count: 0 } => "all agree",
            _ => $"{Mismatches.Count} disagree, {Mismatches[0]} first: the file is damaged, or its writer left them wrong; compare the sha256 with the source's",
        });
        yield return ("activation", $"{ModelSettings.Name(Settings.Activation)} (from {Settings.Source})");
        if (Config is not null)
        {
            yield return ("image tower", $"width {Config.VisionWidth}, {Config.VisionLayers} layers, {ClipConfig.Heads(Config.VisionWidth)} heads, MLP {Config.VisionMlpWidth}, patch {Config.PatchSize}, {Config.ImageResolution} x {Config.ImageResolution} pixels");
            yield return ("text tower", $"width {Config.TextWidth}, {Config.TextLayers} layers, {ClipConfig.Heads(Config.TextWidth)} heads, MLP {Config.TextMlpWidth}, {Config.VocabSize} tokens, {Positions(Config)}");
            yield return ("embedding", $"{Config.EmbedDim} dimensions");
            double weights = sizeof(float) * (double)Parameters;
            yield return ("memory", $"{MachineChecks.Size(weights)} for the weights in float32; {MachineChecks.Size(4 * weights)} in training, with gradients and AdamW's two moments, besides what a batch needs");
        }

        if (Problem is not null)
        {
            yield return ("problem", Problem);
        }
    }

    private static string Positions(ClipConfig config) => config.HasFrozenPositions
        ? $"{config.ContextLength} positions, the first {PositionalTable.Frozen} frozen (Long-CLIP, HiMo-CLIP)"
        : $"{config.ContextLength} positions{(config.ContextLength > PositionalTable.Frozen ? $", stretchable to {PositionalTable.StretchedLength(config.ContextLength)}" : "")}";

    private static string ContainerName(TensorContainer container) => container switch
    {
        TensorContainer.Safetensors => "safetensors",
        TensorContainer.ShardedSafetensors => "index of several safetensors files",
        TensorContainer.TorchStateDict => "torch.save state dict",
        TensorContainer.TorchScript => "TorchScript archive",
        _ => throw new ArgumentOutOfRangeException(nameof(container), container, "is no container."),
    };
}

/// <summary>Describes a checkpoint; for <c>doctor --checkpoint</c> and <c>checkpoint inspect</c>.</summary>
internal static class CheckpointInspector
{
    private static readonly Dictionary<string, string> s_published = new()
    {
        ["40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"] = "ViT-B/32",
        ["5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"] = "ViT-B/16",
        ["b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"] = "ViT-L/14",
    };

    /// <summary>The published model with a hash, or null.</summary>
    /// <param name="hash">SHA-256 in lower-case hexadecimal.</param>
    public static string? Published(string hash) => s_published.GetValueOrDefault(hash);

    /// <summary>Reads the table of contents and the hash.</summary>
    /// <param name="path">As <see cref="Checkpoint.Read"/> takes it.</param>
    /// <exception cref="UserError">The file is missing, malformed, or of a kind that is not read.</exception>
    public static CheckpointReport Inspect(string path)
    {
        using Checkpoint checkpoint = Checkpoint.Read(path);
        ClipConfig? config = null;
        string? problem = null;
        try
        {
            config = checkpoint.InferConfig();
        }
        catch (UserError failure)
        {
            problem = failure.Message; // what does not fit is part of the report
        }

        string hash = Hash(checkpoint.Path);
        StoredParts parts = new(checkpoint.Tensors.Values);
        return new CheckpointReport(
            checkpoint.Path, new FileInfo(checkpoint.Path).Length, hash, Published(hash), checkpoint.Container, checkpoint.Layout,
            checkpoint.Tensors.Count, parts.Values, parts.Types, checkpoint.FindMismatches(), checkpoint.Settings, config, problem);
    }

    private static string Hash(string path)
    {
        try
        {
            using FileStream stream = File.OpenRead(path);
            return Convert.ToHexStringLower(SHA256.HashData(stream));
        }
        catch (IOException failure)
        {
            throw new UserError($"{path}: cannot be read ({failure.Message})", failure);
        }
    }

    private readonly struct StoredParts(IEnumerable<CheckpointTensor> tensors)
    {
        public long Values { get; } = tensors.Sum(tensor => tensor.Parts.Sum(part => part.Count));

        public string Types { get; } = string.Join(", ", tensors.GroupBy(tensor => tensor.Type).OrderByDescending(group => group.Count()).Select(group => $"{group.Count()} {group.Key}"));
    }
}
