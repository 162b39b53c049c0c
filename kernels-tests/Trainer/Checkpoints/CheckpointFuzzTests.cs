// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>Readers of checkpoints on mutated files, as <see cref="Fuzzing"/> says.</summary>
public sealed class CheckpointFuzzTests : FolderTests
{
    private const int ShortCount = 2_000;

    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void Safetensors()
    {
        string path = Path.Combine(Folder, "seed.safetensors");
        using Tensor matrix = arange(6, float32).reshape(2, 3), half = ones(4, float16), scale = tensor(1f);
        SafetensorsFile.Write(path, [("visual.proj", matrix), ("token_embedding.weight", half), ("logit_scale", scale)], new Dictionary<string, string> { ["a"] = "b" });
        Fuzz(File.ReadAllBytes(path), ".safetensors");
    }

    [Test]
    public void State_dict() => Fuzz(PickleBuilder.Archive(BuildPickle(isScript: false), Storages()), ".pt");

    [Test]
    public void TorchScript() => Fuzz(PickleBuilder.Archive(BuildPickle(isScript: true), [.. Storages(), ("constants.pkl", [0x80, 2, (byte)')', (byte)'.'])]), ".pt");

    /// <summary>Bytes of the pickle alone, so that every mutation reaches its reader.</summary>
    [Test]
    public void Pickle([Values] bool isScript)
    {
        byte[] seed = BuildPickle(isScript);
        TorchGlobals globals = new(isScript);
        Fuzzing.Repeat(seed, mutated => _ = PickleReader.Read(mutated, "fuzz.pt", globals), shortCount: ShortCount);
    }

    [Test]
    public void Hugging_Face_shards()
    {
        using Tensor matrix = arange(6, float32).reshape(2, 3), vector = ones(3);
        SafetensorsFile.Write(Path.Combine(Folder, "m-1.safetensors"), [("visual_projection.weight", matrix)], new Dictionary<string, string>());
        SafetensorsFile.Write(Path.Combine(Folder, "m-2.safetensors"), [("vision_model.encoder.layers.0.self_attn.q_proj.bias", vector)], new Dictionary<string, string>());
        Fuzz("""{"metadata":{"total_size":36},"weight_map":{"visual_projection.weight":"m-1.safetensors","vision_model.encoder.layers.0.self_attn.q_proj.bias":"m-2.safetensors"}}"""u8.ToArray(), ".json");
    }

    private static byte[] BuildPickle(bool isScript)
    {
        PickleBuilder pickle = isScript ? new PickleBuilder().Global("__torch__.clip", "CLIP").Op('q', 0).Op(')').Op(0x81).Op('}').Op('(') : new PickleBuilder().Global("collections", "OrderedDict").Op(')').Op('R').Op('q', 1).Op('(');
        _ = pickle.Text("visual.proj").Tensor("0", 6, 0, [2, 3], [3, 1]).Text("logit_scale").Tensor("1", 1, 0, [], [], "HalfStorage").Text("view").Tensor("0", 6, 0, [3, 2], [1, 3]);
        if (isScript)
        {
            _ = pickle.Text("training").Op(0x88).Text("visual").Op('h', 0).Op(')').Op(0x81).Op('}').Text("conv1").Tensor("0", 6, 1, [2], [2]).Op('s').Op('b');
        }

        return pickle.Op('u').Op(isScript ? [(byte)'b'] : [(byte)'}', (byte)'b']).End();
    }

    private static (string, byte[])[] Storages() =>
        [("data/0", MemoryMarshal.AsBytes<float>(new float[] { 0, 1, 2, 3, 4, 5 }).ToArray()), ("data/1", [0, 0x3c]), ("version", "3\n"u8.ToArray()), ("byteorder", "little"u8.ToArray())];

    private void Fuzz(byte[] seed, string extension)
    {
        string path = Path.Combine(Folder, "mutated" + extension);
        File.WriteAllBytes(path, seed);
        using (TensorFile intact = TensorFile.Open(path))
        {
            Assert.That(intact.Tensors, Is.Not.Empty, "the seed itself is read");
        }

        Fuzzing.Repeat(seed, mutated =>
        {
            File.WriteAllBytes(path, mutated);
            using DisposeScope scope = NewDisposeScope();
            using Checkpoint checkpoint = Checkpoint.Read(path);
            foreach (CheckpointTensor tensor in checkpoint.Tensors.Values)
            {
                tensor.CopyTo(empty(tensor.Shape, float32));
            }

            try
            {
                _ = checkpoint.InferConfig();
            }
            catch (UserError)
            {
                // The seeds hold a few tensors of a CLIP, which is refused rightly; what counts here is that nothing else happens.
            }
        }, shortCount: ShortCount, asText: extension == ".json");
    }
}
