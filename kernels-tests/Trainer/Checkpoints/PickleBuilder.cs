// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace HiMo.Kernels.Tests;

/// <summary>Writes pickles operation by operation, and torch's archives around them, for tests of what a reader must refuse.</summary>
internal sealed class PickleBuilder
{
    private readonly MemoryStream _stream = new();

    public PickleBuilder() => _ = Op(0x80, 2);

    public PickleBuilder Op(params byte[] bytes)
    {
        _stream.Write(bytes);
        return this;
    }

    public PickleBuilder Op(char opcode, params byte[] bytes) => Op([(byte)opcode, .. bytes]);

    public PickleBuilder Global(string module, string name) => Op('c', Encoding.ASCII.GetBytes($"{module}\n{name}\n"));

    public PickleBuilder Text(string text) => Op('X', [.. BitConverter.GetBytes(Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text)]);

    public PickleBuilder Int(long value)
    {
        byte[] bytes = new byte[9];
        bytes[0] = 8;
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(1), value);
        return Op([0x8a, .. bytes]);
    }

    public PickleBuilder Ints(params long[] values)
    {
        _ = Op('(');
        foreach (long value in values)
        {
            _ = Int(value);
        }

        return Op('t');
    }

    /// <summary>A float32 tensor as torch.save writes it.</summary>
    public PickleBuilder Tensor(string key, long count, long offset, long[] shape, long[] strides, string storage = "FloatStorage") =>
        Global("torch._utils", "_rebuild_tensor_v2").Op('(').Op('(').Text("storage").Global("torch", storage).Text(key).Text("cpu").Int(count).Op('t').Op('Q')
            .Int(offset).Ints(shape).Ints(strides).Op(0x89).Global("collections", "OrderedDict").Op(')').Op('R').Op('t').Op('R');

    /// <summary>A dictionary with one entry.</summary>
    public static byte[] Dict(string key, Func<PickleBuilder, PickleBuilder> value) => value(new PickleBuilder().Op('}').Text(key)).Op('s').End();

    public byte[] End()
    {
        _ = Op('.');
        return _stream.ToArray();
    }

    /// <summary>A zip archive with uncompressed entries below one folder.</summary>
    public static byte[] Archive(byte[] pickle, IEnumerable<(string Name, byte[] Content)>? entries = null, CompressionLevel level = CompressionLevel.NoCompression)
    {
        using MemoryStream stream = new();
        using (ZipArchive zip = new(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach ((string name, byte[] content) in (entries ?? []).Prepend(("data.pkl", pickle)))
            {
                using Stream entry = zip.CreateEntry($"archive/{name}", level).Open();
                entry.Write(content);
            }
        }

        return stream.ToArray();
    }
}
