// SPDX-License-Identifier: Apache-2.0
using System.IO.Compression;
using System.Text;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

public sealed class TorchArchiveTests : FolderTests
{
    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void Containers_of_the_same_weights_hold_the_same_tensors()
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorFile torch = TensorFile.Open(TestData.Get("golden", "model", "himo248", "weights.pt"));
        using TensorFile safe = TensorFile.Open(TestData.Get("golden", "model", "himo248", "weights.safetensors"));
        using TensorFile dict = TensorFile.Open(TestData.Get("golden", "model", "clip77", "weights.pt"));
        using TensorFile script = TensorFile.Open(TestData.Get("golden", "model", "clip77", "weights_jit.pt"));
        Assert.Multiple(() =>
        {
            Assert.That((torch.Container, safe.Container, script.Container), Is.EqualTo((TensorContainer.TorchStateDict, TensorContainer.Safetensors, TensorContainer.TorchScript)));
            AreEqual(torch, safe);
            AreEqual(dict, script);
            Assert.That(script.Tensors["visual.proj"].Type, Is.EqualTo(ScalarType.Float16));
            Assert.That(script.Tensors["context_length"].Read().item<long>(), Is.EqualTo(77));
        });

        static void AreEqual(TensorFile first, TensorFile second)
        {
            Assert.That(first.Tensors.Keys, Is.EquivalentTo(second.Tensors.Keys));
            foreach ((string name, StoredTensor tensor) in first.Tensors)
            {
                Assert.That(tensor.Read().to(float64).equal(second.Tensors[name].Read().to(float64)).all().item<bool>(), Is.True, name);
            }
        }
    }

    [Test]
    public void Views_share_a_storage()
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorFile whole = OpenOne(p => p.Tensor("0", 12, 0, [3, 4], [4, 1]));
        using TensorFile transposed = OpenOne(p => p.Tensor("0", 12, 0, [4, 3], [1, 4]));
        using TensorFile part = OpenOne(p => p.Tensor("0", 12, 5, [2, 2], [4, 1]));
        using TensorFile scalar = OpenOne(p => p.Tensor("0", 12, 11, [], []));
        using TensorFile none = OpenOne(p => p.Tensor("0", 12, 0, [0, 5], [5, 1]));
        Tensor expected = arange(12, float32).reshape(3, 4);
        Assert.Multiple(() =>
        {
            Assert.That(whole.Tensors["w"].Read().equal(expected).all().item<bool>(), Is.True);
            Assert.That(transposed.Tensors["w"].Read().equal(expected.t()).all().item<bool>(), Is.True);
            Assert.That(part.Tensors["w"].Read().data<float>().ToArray(), Is.EqualTo(new[] { 5f, 6f, 9f, 10f }));
            Assert.That(scalar.Tensors["w"].Read().item<float>(), Is.EqualTo(11f));
            Assert.That(none.Tensors["w"].Read().shape, Is.EqualTo(new long[] { 0, 5 }));
        });
    }

    /// <summary>open_clip's training checkpoints, parameters that were saved as such, newer storages, attributes of the dictionary.</summary>
    [Test]
    public void Other_spellings_are_read()
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorFile nested = Open(new PickleBuilder().Op('}').Op('(').Text("epoch").Int(3).Text("state_dict").Op('}').Text("w").Tensor("0", 12, 1, [1], [1]).Op('s').Op('u').End());
        using TensorFile parameter = OpenOne(p => p.Global("torch._utils", "_rebuild_parameter").Op('(').Tensor("0", 12, 2, [1], [1]).Op(0x88).Global("collections", "OrderedDict").Op(')').Op('R').Op('t').Op('R'));
        using TensorFile untyped = OpenOne(p => p.Global("torch._utils", "_rebuild_tensor_v3").Op('(').Op('(').Text("storage").Global("torch.storage", "UntypedStorage").Text("0").Text("cuda:0").Int(48).Op('t').Op('Q')
            .Int(3).Ints(1).Ints(1).Op(0x89).Global("collections", "OrderedDict").Op(')').Op('R').Global("torch", "float32").Op('t').Op('R'));
        using TensorFile attributes = Open(new PickleBuilder().Global("collections", "OrderedDict").Op(')').Op('R').Op('q', 7).Text("w").Tensor("0", 12, 4, [1], [1]).Op('s').Op('}').Text("_metadata").Op('h', 7).Op('s').Op('b').End());
        Assert.That(new[] { nested, parameter, untyped, attributes }.Select(file => file.Tensors["w"].Read().item<float>()), Is.EqualTo(new[] { 1f, 2f, 3f, 4f }));
    }

    [TestCase("os", "system")]
    [TestCase("builtins", "eval")]
    [TestCase("torch", "load")]
    [TestCase("torch.serialization", "load")]
    [TestCase("collections", "defaultdict")]
    [TestCase("numpy.core.multiarray", "scalar")]
    [TestCase("__torch__", "CLIP")]
    [TestCase("__torch__x", "CLIP")]
    [TestCase("torch.jit._pickle", "build_intlist")]
    public void Foreign_names_are_refused_and_nothing_runs(string module, string name)
    {
        string marker = Path.Combine(Folder, "ran");
        Refuses(PickleBuilder.Dict("w", p => p.Global(module, name).Op('(').Text($"touch {marker}").Op('t').Op('R')), $"at byte 9 mentions '{module} {name}'");
        Assert.That(File.Exists(marker), Is.False);
    }

    [TestCase('i')]
    [TestCase('o')]
    [TestCase('P')]
    [TestCase('\u0093')]
    [TestCase('\u0092')]
    [TestCase('\u0082')]
    [TestCase('\u0095')]
    [TestCase('p')]
    [TestCase('g')]
    [TestCase('0')]
    [TestCase('1')]
    [TestCase('2')]
    public void Operations_that_torch_does_not_write_are_refused(char opcode) => Refuses([0x80, 2, (byte)opcode, (byte)'.'], $"at byte 2 uses operation 0x{(byte)opcode:x2}");

    [Test]
    public void Malformed_pickles_are_refused()
    {
        Assert.Multiple(() =>
        {
            Refuses([0x80, 4, (byte)'.'], "protocol 4");
            Refuses([0x80, 2], "ends inside");
            Refuses([0x80, 2, (byte)'.'], "more than one value");
            Refuses([0x80, 2, (byte)'N', (byte)'N', (byte)'.'], "more than one value");
            Refuses([0x80, 2, (byte)'h', 3, (byte)'.'], "recalls value 3");
            Refuses([0x80, 2, (byte)'t', (byte)'.'], "never opened");
            Refuses([0x80, 2, (byte)'(', 0x85, (byte)'.'], "needs a value");
            Refuses([0x80, 2, (byte)'X', 255, 255, 255, 255, (byte)'.'], "text of 4294967295 bytes");
            Refuses([0x80, 2, (byte)'X', 16, 0, 0, 0, (byte)'.'], "ends inside");
            Refuses([0x80, 2, 0x8a, 200, (byte)'.'], "ends inside");
            Refuses([0x80, 2, 0x8a, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, (byte)'.'], "integer of 9 bytes");
            Refuses([0x80, 2, (byte)'c', (byte)'o', (byte)'s'], "without an end");
            Refuses([0x80, 2, (byte)'N', (byte)'N', (byte)'a', (byte)'.'], "no list");
            Refuses([0x80, 2, (byte)'N', (byte)'N', (byte)'N', (byte)'s', (byte)'.'], "no dict");
            Refuses([0x80, 2, (byte)'N', (byte)'N', (byte)'R', (byte)'.'], "calls something");
            Refuses([0x80, 2, (byte)'N', (byte)'N', (byte)'b', (byte)'.'], "sets the state");
            Refuses([0x80, 2, (byte)'N', (byte)')', 0x81, (byte)'.'], "no TorchScript module");
            Refuses([0x80, 2, (byte)'N', (byte)'Q', (byte)'.'], "no storage");
            Refuses([0x80, 2, .. Enumerable.Repeat((byte)'N', 1_000_001), (byte)'.'], "operations");
            Refuses(new PickleBuilder().Global("torch", "Size").Op(')').Op('R').End(), "calls torch Size");
            Refuses(new PickleBuilder().Op(']').End(), "no dictionary of tensors");
            Refuses(new PickleBuilder().Op('}').End(), "no dictionary of tensors");
            Refuses(PickleBuilder.Dict("epoch", p => p.Int(3)), "'epoch' is no tensor");
            Refuses(new PickleBuilder().Op('}').Int(1).Int(2).Op('s').End(), "'(no text)' is no tensor");
        });
    }

    [TestCase(12, 0, new long[] { 13 }, new long[] { 1 })]
    [TestCase(12, 0, new long[] { 3, 4 }, new long[] { 5, 1 })]
    [TestCase(12, 12, new long[] { 1 }, new long[] { 1 })]
    [TestCase(12, long.MaxValue, new long[] { 1 }, new long[] { 1 })]
    [TestCase(12, 0, new[] { long.MaxValue, long.MaxValue, long.MaxValue }, new[] { long.MaxValue, long.MaxValue, 1 })]
    [TestCase(12, 0, new[] { 1L << 40 }, new long[] { 0 })]
    [TestCase(11, 0, new long[] { 1 }, new long[] { 1 })]
    [TestCase(13, 0, new long[] { 1 }, new long[] { 1 })]
    public void Tensors_beyond_their_storage_are_refused(long count, long offset, long[] shape, long[] strides) =>
        Refuses(PickleBuilder.Dict("w", p => p.Tensor("0", count, offset, shape, strides)), "tensor w");

    [Test]
    public void Tensors_that_cannot_be_are_refused()
    {
        Assert.Multiple(() =>
        {
            Refuses(PickleBuilder.Dict("w", p => p.Tensor("0", 12, 0, [-1], [1])), "arguments that torch.save does not write");
            Refuses(PickleBuilder.Dict("w", p => p.Tensor("0", 12, 0, [1], [-1])), "arguments that torch.save does not write");
            Refuses(PickleBuilder.Dict("w", p => p.Tensor("0", 12, 0, [1, 1], [1])), "arguments that torch.save does not write");
            Refuses(PickleBuilder.Dict("w", p => p.Tensor("0", -12, 0, [1], [1])), "no storage");
            Refuses(PickleBuilder.Dict("w", p => p.Tensor("../0", 12, 0, [1], [1])), "no storage");
            Refuses(PickleBuilder.Dict("w", p => p.Tensor("1", 12, 0, [1], [1])), "archive/data/1, which the archive lacks");
            Refuses(PickleBuilder.Dict("w", p => p.Tensor("0", 12, 0, [1], [1], "QInt8Storage")), "mentions 'torch QInt8Storage'");
            Refuses(new PickleBuilder().Op('}').Op('(').Text("w").Tensor("0", 12, 0, [1], [1]).Text("w").Tensor("0", 12, 0, [1], [1]).Op('u').End(), "names tensor w twice");
        });
    }

    /// <summary>A small file whose tensors all share one storage must not fill memory.</summary>
    [Test]
    public void Amplification_is_refused()
    {
        PickleBuilder pickle = new PickleBuilder().Op('}').Text("0").Tensor("0", 100_000, 0, [100_000], [1]).Op('q', 0).Op('s');
        for (int i = 1; i < 30; i++)
        {
            _ = pickle.Text($"{i}").Op('h', 0).Op('s');
        }

        RefusesFile(PickleBuilder.Archive(pickle.End(), [("data/0", new byte[400_000])]), "not plausible");
    }

    /// <summary>Two attributes that lead to the same module at every level: 2 to the 40 paths through a few bytes.</summary>
    [Test]
    public void Walks_without_end_are_refused([Values] bool cyclic)
    {
        PickleBuilder pickle = cyclic
            ? new PickleBuilder().Global("__torch__", "Module").Op(')').Op(0x81).Op('q', 1).Op('}').Text("self").Op('h', 1).Op('s').Op('b')
            : Module(new PickleBuilder(), 30);
        RefusesFile(PickleBuilder.Archive(pickle.End(), [("constants.pkl", [1])]), "nested deeper");

        static PickleBuilder Module(PickleBuilder pickle, byte level)
        {
            _ = pickle.Global("__torch__", "Module").Op(')').Op(0x81).Op('}').Op('(');
            if (level > 0)
            {
                _ = Module(pickle.Text("a"), (byte)(level - 1)).Op('q', level).Text("b").Op('h', level);
            }

            return pickle.Op('u').Op('b');
        }
    }

    [Test]
    public void Other_archives_are_refused()
    {
        byte[] pickle = PickleBuilder.Dict("w", p => p.Tensor("0", 12, 0, [12], [1]));
        Assert.Multiple(() =>
        {
            RefusesFile(PickleBuilder.Archive(pickle, [("data/0", new byte[48])], CompressionLevel.Optimal), "compressed");
            RefusesFile(PickleBuilder.Archive(pickle, [("data/0", new byte[48]), ("byteorder", "big"u8.ToArray())]), "big-endian");
            RefusesFile(PickleBuilder.Archive(pickle, [("../b/data.pkl", pickle)]), "which the archive lacks");
            RefusesFile([.. "PK\u0003\u0004"u8, .. new byte[100]], "truncated");
            RefusesFile([0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e, 0x80, 2], "before 1.6");
            RefusesFile("<!DOCTYPE html>"u8.ToArray(), "web page");
            RefusesFile("version https://git-lfs.github.com/spec/v1\n"u8.ToArray(), "git lfs pull");
            RefusesFile([], "is empty");
            RefusesFile("GGUF............"u8.ToArray(), "no checkpoint that can be read");
        });
    }

    [Test]
    public void A_flipped_bit_in_a_tensor_shows_in_its_checksum()
    {
        byte[] content = Whole(PickleBuilder.Dict("w", p => p.Tensor("0", 12, 0, [12], [1])));
        using TensorFile intact = TensorFile.Open(Save(content));
        content[(int)intact.Tensors["w"].Offset + 17] ^= 4;
        using TensorFile damaged = TensorFile.Open(Save(content));
        using TensorFile golden = TensorFile.Open(TestData.Get("golden", "model", "clip77", "weights_jit.pt")), safe = TensorFile.Open(TestData.Get("golden", "model", "himo248", "weights.safetensors"));
        Assert.Multiple(() =>
        {
            Assert.That(intact.FindMismatches(), Is.Empty);
            Assert.That(damaged.FindMismatches(), Is.EqualTo(new[] { "archive/data/0" }));
            Assert.That(golden.FindMismatches(), Is.Empty);
            Assert.That(safe.FindMismatches(), Is.Null);
            Assert.That(Crc32.Append(0, "123456789"u8), Is.EqualTo(0xCBF43926));
            Assert.That(Crc32.Append(Crc32.Append(0, "1234"u8), "56789"u8), Is.EqualTo(0xCBF43926));
        });
    }

    private TensorFile OpenOne(Func<PickleBuilder, PickleBuilder> tensor) => Open(PickleBuilder.Dict("w", tensor));

    private TensorFile Open(byte[] pickle) => TensorFile.Open(Save(Whole(pickle)));

    private static byte[] Whole(byte[] pickle)
    {
        float[] values = [.. Enumerable.Range(0, 12).Select(i => (float)i)];
        return PickleBuilder.Archive(pickle, [("data/0", System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()).ToArray()), ("version", Encoding.ASCII.GetBytes("3\n"))]);
    }

    private void Refuses(byte[] pickle, string reason) => RefusesFile(Whole(pickle), reason);

    private void RefusesFile(byte[] content, string reason)
    {
        string path = Save(content);
        Assert.That(() => TensorFile.Open(path).Dispose(), Throws.TypeOf<UserError>().With.Message.Contains(reason).And.Message.Contains(path));
    }

    private string Save(byte[] content)
    {
        string path = Path.Combine(Folder, $"{Guid.NewGuid():N}.pt");
        File.WriteAllBytes(path, content);
        return path;
    }
}
