// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>The weights of a CLIP under OpenAI's names, still in their file.</summary>
internal sealed class Checkpoint : IDisposable
{
    private readonly TensorFile _file;

    private Checkpoint(TensorFile file, IReadOnlyDictionary<string, CheckpointTensor> tensors)
    {
        _file = file;
        Tensors = tensors;
    }

    /// <summary>The tensors by OpenAI's names.</summary>
    public IReadOnlyDictionary<string, CheckpointTensor> Tensors { get; }

    /// <summary>Text that the file holds beside the tensors.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _file.Metadata;

    /// <summary>Opens a checkpoint of any layout that is read; the tensors are read later, one by one.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="UserError">It is missing, malformed, or of a kind that is not read.</exception>
    public static Checkpoint Read(string path)
    {
        TensorFile file = TensorFile.Open(path);
        return new Checkpoint(file, file.Tensors.ToDictionary(pair => pair.Key, pair => new CheckpointTensor(pair.Key, [pair.Value])));
    }

    public void Dispose() => _file.Dispose();
}
