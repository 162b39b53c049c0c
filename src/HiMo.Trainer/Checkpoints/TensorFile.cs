// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>The container that tensors lie in.</summary>
internal enum TensorContainer
{
    /// <summary>One safetensors file.</summary>
    Safetensors,

    /// <summary>An index in JSON and the safetensors files that it names.</summary>
    ShardedSafetensors,

    /// <summary>A dictionary written by torch.save.</summary>
    TorchStateDict,

    /// <summary>A TorchScript archive, as OpenAI published its models.</summary>
    TorchScript,
}

/// <summary>A file of named tensors, whatever its container; told apart by content, never by name.</summary>
internal sealed class TensorFile : IDisposable
{
    private readonly IReadOnlyList<CheckpointFile> _files;

    private TensorFile(TensorContainer container, IReadOnlyList<CheckpointFile> files, IReadOnlyDictionary<string, StoredTensor> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        Container = container;
        _files = files;
        Tensors = tensors;
        Metadata = metadata;
    }

    /// <summary>The container.</summary>
    public TensorContainer Container { get; }

    /// <summary>The tensors by the names that the file gives them.</summary>
    public IReadOnlyDictionary<string, StoredTensor> Tensors { get; }

    /// <summary>Text beside the tensors; empty where the container has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and reads its table of contents.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">It is missing, malformed, or of a kind that is not read.</exception>
    public static TensorFile Open(string path)
    {
        CheckpointFile file = new(path);
        try
        {
            byte[] start = new byte[Math.Min(file.Length, 16)];
            file.Read(start, 0, "its first bytes");
            switch (start)
            {
                case [(byte)'P', (byte)'K', 3, 4, ..]:
                    (Dictionary<string, StoredTensor> archived, bool isScript) = TorchArchive.Read(file);
                    return new TensorFile(isScript ? TensorContainer.TorchScript : TensorContainer.TorchStateDict, [file], archived, new Dictionary<string, string>());
                case [_, _, _, _, _, _, _, _, (byte)'{', ..]:
                    (Dictionary<string, StoredTensor> tensors, Dictionary<string, string> metadata) = SafetensorsFile.ReadHeader(file);
                    return new TensorFile(TensorContainer.Safetensors, [file], tensors, metadata);
                case [(byte)'{', ..]:
                    (List<CheckpointFile> shards, Dictionary<string, StoredTensor> sharded, Dictionary<string, string> shared) = ShardIndex.Open(file);
                    return new TensorFile(TensorContainer.ShardedSafetensors, [file, .. shards], sharded, shared);
                default:
                    throw new UserError($"{path}: {Explain(start)}");
            }
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Parts of the file whose content does not have its checksum; null where the container has no checksums.</summary>
    /// <remarks>No reason to refuse the file: an option of torch's writer leaves wrong ones.</remarks>
    /// <exception cref="UserError">The file cannot be read.</exception>
    public IReadOnlyList<string>? FindMismatches() =>
        Container is TensorContainer.TorchStateDict or TensorContainer.TorchScript ? new ZipIndex(_files[0]).FindMismatches() : null;

    public void Dispose()
    {
        foreach (CheckpointFile file in _files)
        {
            file.Dispose();
        }
    }

    private static string Explain(byte[] start) => start switch
    {
        [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, ..] => "was saved by PyTorch before 1.6; in Python, with a file you trust: torch.save(torch.load(FILE), NEW_FILE)",
        [] => "is empty; copy or download it again",
        [(byte)'<', ..] => "is a web page, not a checkpoint; the download went wrong",
        [(byte)'v', (byte)'e', (byte)'r', (byte)'s', (byte)'i', (byte)'o', (byte)'n', (byte)' ', ..] => "is a pointer of Git LFS, not the file itself; run git lfs pull",
        _ => $"is no checkpoint that can be read (it starts with {Convert.ToHexStringLower(start)}); readable are safetensors, torch.save files, OpenAI's TorchScript archives and Hugging Face's shard index",
    };
}
