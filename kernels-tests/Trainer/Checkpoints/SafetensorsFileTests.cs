// SPDX-License-Identifier: Apache-2.0
using System.Text;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

public sealed class SafetensorsFileTests : FolderTests
{
    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [Test]
    public void Every_type_and_shape_round_trips()
    {
        using DisposeScope scope = NewDisposeScope();
        (string, Tensor)[] tensors =
        [
            ("bool", tensor(new[] { true, false, true })), ("u8", tensor(new byte[] { 0, 255 })), ("i16", tensor(new short[] { -2, 3 })), ("f16", tensor(new[] { 0.5f, -3f }).to(float16)),
            ("bf16", tensor(new[] { 0.5f, -3f }).to(bfloat16)), ("f32", arange(24, float32).reshape(2, 3, 4)), ("view", arange(12, float32).reshape(3, 4).t()), ("scalar", tensor(4.6052)),
            ("i64", tensor(new[] { long.MinValue, 7L })), ("empty", zeros(3, 0)),
        ];
        string path = Path.Combine(Folder, "new", "x.safetensors");
        SafetensorsFile.Write(path, tensors, new Dictionary<string, string> { ["words"] = "a\nb \"ü\"" });
        using TensorFile file = TensorFile.Open(path);
        Assert.Multiple(() =>
        {
            Assert.That(file.Tensors.Keys, Is.EquivalentTo(tensors.Select(pair => pair.Item1)));
            Assert.That(file.Metadata, Is.EquivalentTo(new Dictionary<string, string> { ["format"] = "pt", ["words"] = "a\nb \"ü\"" }));
            foreach ((string name, Tensor value) in tensors)
            {
                Tensor back = file.Tensors[name].Read();
                Assert.That(back.dtype, Is.EqualTo(value.dtype), name);
                Assert.That(back.shape, Is.EqualTo(value.shape), name);
                Assert.That(back.equal(value).all().item<bool>(), Is.True, name);
                Assert.That(file.Tensors[name].Offset % back.element_size(), Is.Zero, $"{name} is aligned");
            }

            Assert.That(Directory.GetFiles(Path.GetDirectoryName(path)!), Has.Length.EqualTo(1), "no temporary file stays");
        });
    }

    [Test]
    public void Conversion_in_pieces_equals_conversion_at_once()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor large = randn((1L << 22) + 5);
        string path = Path.Combine(Folder, "x.safetensors");
        SafetensorsFile.Write(path, [("large", large), ("scalar", tensor(2.5f)), ("count", tensor(3L))], new Dictionary<string, string>(), ScalarType.Float16);
        using TensorFile file = TensorFile.Open(path);
        Tensor widened = empty(large.shape);
        file.Tensors["large"].CopyTo(widened);
        Assert.Multiple(() =>
        {
            Assert.That(file.Tensors["large"].Type, Is.EqualTo(ScalarType.Float16));
            Assert.That(file.Tensors["scalar"].Type, Is.EqualTo(ScalarType.Float32));
            Assert.That(file.Tensors["count"].Type, Is.EqualTo(ScalarType.Int64));
            Assert.That(widened.equal(large.to(float16).to(float32)).all().item<bool>(), Is.True);
        });
    }

    [TestCase("{", "cannot be understood")]
    [TestCase("[]", "is no checkpoint")]
    [TestCase("{\"a\":3}", "cannot be understood")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "tensor a lacks")]
    [TestCase("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", "type F8_E4M3")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "cannot lie")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "shape -1")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4294967296],\"data_offsets\":[0,4]}}", "cannot lie")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", "cannot lie")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", "cannot lie")]
    [TestCase("{\"a\":{\"dtype\":\"F32\",\"shape\":[1e30],\"data_offsets\":[0,4]}}", "cannot be understood")]
    [TestCase("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", "cannot be understood")]
    [TestCase("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[1,4]}}", "overlap")]
    [TestCase("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", "hole")]
    [TestCase("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", "holds 4")]
    public void Bad_headers_are_refused(string header, string reason) => Refuses(
        [.. BitConverter.GetBytes((long)header.Length), .. Encoding.UTF8.GetBytes(header), 0, 0, 0, 0], reason);

    /// <summary>Headers are checked against the file's length, so only a file that another program cuts while it is open ends too early.</summary>
    [Test]
    public void The_end_of_a_file_is_noticed()
    {
        using DisposeScope scope = NewDisposeScope();
        string path = Path.Combine(Folder, "short");
        File.WriteAllBytes(path, new byte[399]);
        using CheckpointFile file = new(path);
        StoredTensor tensor = new(file, "a", ScalarType.Float32, [100], [1], Offset: 0);
        Assert.That(() => tensor.Read(), Throws.TypeOf<UserError>().With.Message.Contains("inside tensor a").And.Message.Contains(path));
    }

    [Test]
    public void Absurd_header_lengths_are_refused()
    {
        Refuses([.. BitConverter.GetBytes(ulong.MaxValue), (byte)'{'], "header");
        Refuses([.. BitConverter.GetBytes(99_000_000L), (byte)'{'], "header");
    }

    private void Refuses(byte[] bytes, string reason)
    {
        string path = Path.Combine(Folder, "given.safetensors");
        File.WriteAllBytes(path, bytes);
        Assert.That(() => TensorFile.Open(path), Throws.TypeOf<UserError>().With.Message.Contains(reason).And.Message.Contains("given.safetensors"));
    }
}
