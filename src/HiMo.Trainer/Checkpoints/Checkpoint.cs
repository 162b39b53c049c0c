// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>The weights of a CLIP under OpenAI's names, still in their file, and what else is known of the model.</summary>
internal sealed class Checkpoint : IDisposable
{
    /// <summary>Key of the metadata that names the activation.</summary>
    public const string ActivationKey = "himo.activation";

    private readonly TensorFile _file;

    private Checkpoint(string path, TensorFile file)
    {
        Path = path;
        _file = file;
        Layout = CheckpointLayouts.Detect(file.Tensors.Keys);
        Tensors = CheckpointLayouts.Map(path, Layout, file.Tensors);
        Settings = ModelSettings.Find(path, Layout, file.Metadata);
    }

    /// <summary>The file that was opened.</summary>
    public string Path { get; }

    /// <summary>The container of the file.</summary>
    public TensorContainer Container => _file.Container;

    /// <summary>Whose names the file uses.</summary>
    public CheckpointLayout Layout { get; }

    /// <summary>The tensors by OpenAI's names.</summary>
    public IReadOnlyDictionary<string, CheckpointTensor> Tensors { get; }

    /// <summary>Text that the file holds beside the tensors.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _file.Metadata;

    /// <summary>What the weights do not say.</summary>
    public ModelSettings Settings { get; }

    /// <summary>Opens a checkpoint of any layout that is read; the tensors are read later, one by one.</summary>
    /// <param name="path">The file, the index of a sharded one, or a folder with a published file name in it.</param>
    /// <exception cref="UserError">It is missing, malformed, or of a kind that is not read.</exception>
    public static Checkpoint Read(string path)
    {
        string chosen = Directory.Exists(path) ? FileIn(path) : path;
        TensorFile file = TensorFile.Open(chosen);
        try
        {
            return new Checkpoint(chosen, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The architecture, after comparing every tensor with it.</summary>
    /// <exception cref="UserError">Tensors are missing, left over or misshapen; the message lists every one.</exception>
    public ClipConfig InferConfig()
    {
        ClipConfig config = Architecture.Infer(Path, Tensors.ToDictionary(pair => pair.Key, pair => pair.Value.Shape), Settings.Activation);
        Settings.CheckHeads(config);
        return config;
    }

    /// <summary>As <see cref="TensorFile.FindMismatches"/>.</summary>
    public IReadOnlyList<string>? FindMismatches() => _file.FindMismatches();

    public void Dispose() => _file.Dispose();

    /// <summary>The file that open_clip or transformers would take.</summary>
    private static string FileIn(string folder)
    {
        string[] candidates =
        [
            "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
            "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
        ];
        return candidates.Select(name => System.IO.Path.Combine(folder, name)).FirstOrDefault(File.Exists)
            ?? throw new UserError($"{folder}: is a folder without any of {string.Join(", ", candidates)}; name the file with the weights");
    }
}
