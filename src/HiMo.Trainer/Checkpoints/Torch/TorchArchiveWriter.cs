// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>Writes a state dict as torch.save does: an OrderedDict of float tensors that Python's torch.load reads, also with weights_only.</summary>
internal static class TorchArchiveWriter
{
    private const string Root = "archive";

    /// <summary>Writes the file, complete or not at all; tensors are converted one at a time.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="tensors">Names and values.</param>
    /// <param name="type">float32, float16 or bfloat16; single values stay float32.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public static void Write(string path, IEnumerable<(string Name, Tensor Value)> tensors, ScalarType type)
    {
        List<(string Name, Tensor Value, ScalarType Type)> entries = [.. tensors.Select(tensor => (tensor.Name, tensor.Value, tensor.Value.dim() == 0 ? ScalarType.Float32 : type))];
        byte[] pickle = Pickle(entries);
        AtomicFile.Write(path, stream =>
        {
            using ZipArchive zip = new(stream, ZipArchiveMode.Create, leaveOpen: true);
            Add(zip, "data.pkl", content => content.Write(pickle));
            Add(zip, "byteorder", content => content.Write("little"u8));
            for (int i = 0; i < entries.Count; i++)
            {
                Add(zip, $"data/{i}", content => TensorBytes.Write(content, entries[i].Value, entries[i].Type));
            }

            Add(zip, "version", content => content.Write("3\n"u8));
        });
    }

    private static void Add(ZipArchive zip, string name, Action<Stream> write)
    {
        // Stored, not deflated: torch maps the entries as they lie.
        using Stream content = zip.CreateEntry($"{Root}/{name}", CompressionLevel.NoCompression).Open();
        write(content);
    }

    private static byte[] Pickle(List<(string Name, Tensor Value, ScalarType Type)> entries)
    {
        using MemoryStream pickle = new();
        pickle.Write([0x80, 2]);
        EmptyOrderedDict(pickle);
        pickle.WriteByte((byte)'(');
        for (int i = 0; i < entries.Count; i++)
        {
            (string name, Tensor value, ScalarType type) = entries[i];
            Text(pickle, name);
            Global(pickle, "torch._utils", "_rebuild_tensor_v2");
            pickle.Write("(("u8);
            Text(pickle, "storage");
            Global(pickle, "torch", type switch { ScalarType.Float32 => "FloatStorage", ScalarType.Float16 => "HalfStorage", ScalarType.BFloat16 => "BFloat16Storage", _ => throw new ArgumentException($"{type} is no type of exported weights.", nameof(entries)) });
            Text(pickle, $"{i}");
            Text(pickle, "cpu");
            Integer(pickle, value.numel());
            pickle.Write("tQ"u8);
            Integer(pickle, 0);
            Tuple(pickle, value.shape);
            Tuple(pickle, StoredTensor.RowMajor(value.shape));
            pickle.WriteByte(0x89);
            EmptyOrderedDict(pickle);
            pickle.Write("tR"u8);
        }

        pickle.Write("u."u8);
        return pickle.ToArray();
    }

    private static void EmptyOrderedDict(Stream pickle)
    {
        Global(pickle, "collections", "OrderedDict");
        pickle.Write(")R"u8);
    }

    private static void Global(Stream pickle, string module, string name) => pickle.Write(Encoding.ASCII.GetBytes($"c{module}\n{name}\n"));

    private static void Text(Stream pickle, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        byte[] length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, bytes.Length);
        pickle.Write([(byte)'X', .. length, .. bytes]);
    }

    private static void Integer(Stream pickle, long value)
    {
        byte[] digits = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(digits, value);
        pickle.Write([0x8a, 8, .. digits]);
    }

    private static void Tuple(Stream pickle, long[] values)
    {
        pickle.WriteByte((byte)'(');
        foreach (long value in values)
        {
            Integer(pickle, value);
        }

        pickle.WriteByte((byte)'t');
    }
}
