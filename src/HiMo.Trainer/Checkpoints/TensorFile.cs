// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>A file of named tensors, whatever its container; told apart by content, never by name.</summary>
internal sealed class TensorFile : IDisposable
{
    private readonly CheckpointFile _file;

    private TensorFile(CheckpointFile file, IReadOnlyDictionary<string, StoredTensor> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        _file = file;
        Tensors = tensors;
        Metadata = metadata;
    }

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
            (Dictionary<string, StoredTensor> tensors, Dictionary<string, string> metadata) = SafetensorsFile.ReadHeader(file);
            return new TensorFile(file, tensors, metadata);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public void Dispose() => _file.Dispose();
}
