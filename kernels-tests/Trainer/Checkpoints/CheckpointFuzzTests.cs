// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>
/// Mutated files: each is read or refused with one message; no other exception, no hang, no allocation beyond a small multiple of the
/// file. Mutations are drawn from a fixed seed; a failure names the number of its mutation.
/// </summary>
public sealed class CheckpointFuzzTests
{
    private const int ShortCount = 2_000;
    private const int LongCount = 100_000;

    private string _folder = "";

    [SetUp]
    public void CreateFolder()
    {
        TorchLoader.EnsureLoaded();
        _folder = Directory.CreateTempSubdirectory("himo-fuzz-").FullName;
    }

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void Safetensors()
    {
        string path = Path.Combine(_folder, "seed.safetensors");
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
        Repeat(seed, mutated =>
        {
            _ = PickleReader.Read(mutated, "fuzz.pt", globals);
        });
    }

    [Test]
    public void Hugging_Face_shards()
    {
        using Tensor matrix = arange(6, float32).reshape(2, 3), vector = ones(3);
        SafetensorsFile.Write(Path.Combine(_folder, "m-1.safetensors"), [("visual_projection.weight", matrix)], new Dictionary<string, string>());
        SafetensorsFile.Write(Path.Combine(_folder, "m-2.safetensors"), [("vision_model.encoder.layers.0.self_attn.q_proj.bias", vector)], new Dictionary<string, string>());
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
        string path = Path.Combine(_folder, "mutated" + extension);
        File.WriteAllBytes(path, seed);
        using (TensorFile intact = TensorFile.Open(path))
        {
            Assert.That(intact.Tensors, Is.Not.Empty, "the seed itself is read");
        }

        Repeat(seed, mutated =>
        {
            File.WriteAllBytes(path, mutated);
            using DisposeScope scope = NewDisposeScope();
            using Checkpoint checkpoint = Checkpoint.Read(path);
            foreach (CheckpointTensor tensor in checkpoint.Tensors.Values)
            {
                tensor.CopyTo(empty(tensor.Shape, float32));
            }

            _ = checkpoint.InferConfig();
        });
    }

    private static void Repeat(byte[] seed, Action<byte[]> read)
    {
        int refused = 0;
        long largest = 0;
        int count = TestLength.Pick(ShortCount, LongCount);
        for (int i = 0; i < count; i++)
        {
            byte[] mutated = Mutate(seed, new Random(i));
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                read(mutated);
            }
            catch (UserError)
            {
                refused++;
            }
            catch (Exception failure)
            {
                Assert.Fail($"mutation {i} of {seed.Length} bytes: {failure}");
            }

            largest = Math.Max(largest, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.That(refused, Is.GreaterThan(count / 10), "most mutations must be noticed, or they do not reach the reader");
        Assert.That(largest, Is.LessThan(1 << 20), $"bytes allocated for a file of {seed.Length}");
    }

    private static byte[] Mutate(byte[] seed, Random random)
    {
        List<byte> bytes = [.. seed];
        for (int changes = random.Next(1, 4); changes > 0; changes--)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(7))
            {
                case 0: bytes[at] ^= (byte)(1 << random.Next(8)); break;
                case 1: bytes[at] = (byte)random.Next(256); break;
                case 2: bytes[at] = random.Next(2) == 0 ? (byte)0 : (byte)255; break;
                case 3: bytes.RemoveRange(at, bytes.Count - at); break;
                case 4: bytes.RemoveRange(at, random.Next(Math.Min(16, bytes.Count - at + 1))); break;
                case 5: bytes.InsertRange(at, bytes.GetRange(random.Next(at + 1), random.Next(Math.Min(32, at + 1)) % Math.Max(1, bytes.Count - at))); break;
                default: Overwrite(bytes, at, random); break;
            }

            if (bytes.Count == 0)
            {
                break;
            }
        }

        return [.. bytes];
    }

    /// <summary>A length or an offset of an extreme size.</summary>
    private static void Overwrite(List<byte> bytes, int at, Random random)
    {
        long[] extremes = [-1, long.MaxValue, long.MinValue, int.MaxValue, 1L << 32, 1 << 20];
        byte[] value = BitConverter.GetBytes(extremes[random.Next(extremes.Length)]);
        for (int k = 0; k < 8 && at + k < bytes.Count; k++)
        {
            bytes[at + k] = value[k];
        }
    }
}
