// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>A folder with a few painted scenes and a tiny untrained model that knows their words.</summary>
internal sealed class SceneModel : IDisposable
{
    public SceneModel(int scenes, long seed)
    {
        TorchLoader.EnsureLoaded();
        Folder = Directory.CreateTempSubdirectory("himo-scenes-").FullName;
        SyntheticDataset.Write(Data, count: 1, seed, threads: 1, evaluationCount: scenes);
        DatasetDescription description = DatasetDescription.Read(Data)!;
        Checkpoint = SaveModel("model.safetensors", description, seed);
    }

    public string Folder { get; }

    public string Data => Path.Combine(Folder, "data");

    /// <summary>Where the evaluation split has its pictures.</summary>
    public string Images => Path.Combine(Data, "eval", "images");

    public string Checkpoint { get; }

    /// <summary>Growing captions of the evaluation split.</summary>
    public List<GrowingCaption> Captions => GrowingCaptions.Load(Data);

    /// <summary>Writes a file below the folder.</summary>
    public string Save(string name, string content)
    {
        string path = Path.Combine(Folder, name);
        _ = Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, content);
        return path;
    }

    /// <summary>Another model of the same architecture and words.</summary>
    public string SaveModel(string name, long seed) => SaveModel(name, DatasetDescription.Read(Data)!, seed);

    public void Dispose() => Directory.Delete(Folder, recursive: true);

    private string SaveModel(string name, DatasetDescription description, long seed)
    {
        using ClipModel model = ClipModel.Create(
            new ClipConfig
            {
                EmbedDim = 16, ImageResolution = 36, PatchSize = 12, VisionWidth = 32, VisionLayers = 1, ContextLength = description.Context,
                VocabSize = description.Words.Length, TextWidth = 32, TextLayers = 1,
            },
            seed);
        string path = Path.Combine(Folder, name);
        model.Save(path, new Dictionary<string, string> { [WordTokenizer.MetadataKey] = string.Join('\n', description.Words) }, float32);
        return path;
    }
}
