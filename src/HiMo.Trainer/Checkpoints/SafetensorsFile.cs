// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.Text.Json;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// The safetensors format: a length, a JSON header, the tensors without gaps. The header is believed only as far as the
/// file's length confirms it. Source: github.com/huggingface/safetensors, README.
/// </summary>
internal static class SafetensorsFile
{
    private const int MaxHeader = 100_000_000;
    private const int LengthBytes = 8;
    private const string MetadataKey = "__metadata__";

    private static readonly (string Name, ScalarType Type)[] s_types =
    [
        ("F32", ScalarType.Float32), ("F16", ScalarType.Float16), ("BF16", ScalarType.BFloat16), ("F64", ScalarType.Float64), ("I64", ScalarType.Int64),
        ("I32", ScalarType.Int32), ("I16", ScalarType.Int16), ("I8", ScalarType.Int8), ("U8", ScalarType.Byte), ("BOOL", ScalarType.Bool),
    ];

    /// <summary>Reads the header.</summary>
    /// <param name="file">A file that starts like this format.</param>
    /// <exception cref="UserError">The header is malformed or does not fit the file.</exception>
    public static (Dictionary<string, StoredTensor> Tensors, Dictionary<string, string> Metadata) ReadHeader(CheckpointFile file)
    {
        byte[] lengthBytes = new byte[LengthBytes];
        file.Read(lengthBytes, 0, "the header's length");
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(lengthBytes);
        if (length > MaxHeader || (long)length > file.Length - LengthBytes)
        {
            throw Damaged(file, $"its header claims {length} bytes, the file has {file.Length} and a header at most {MaxHeader}");
        }

        byte[] header = new byte[length];
        file.Read(header, LengthBytes, "the header");
        try
        {
            using JsonDocument document = JsonDocument.Parse(header, new JsonDocumentOptions { AllowDuplicateProperties = false, MaxDepth = 8 });
            return Parse(file, document.RootElement, LengthBytes + (long)length);
        }
        catch (Exception failure) when (failure is JsonException or InvalidOperationException or FormatException)
        {
            // InvalidOperation and Format: a value of another kind than the format has in that place, or text that is no UTF-8.
            throw Damaged(file, $"its header cannot be understood ({failure.Message})", failure);
        }
    }

    /// <summary>Writes a file, complete or not at all; tensors are converted one at a time.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="tensors">Names and values, on any device.</param>
    /// <param name="metadata">Text to keep beside them.</param>
    /// <param name="type">The type of floating-point tensors in the file, single values apart, which stay float32; null keeps each as it is.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public static void Write(string path, IEnumerable<(string Name, Tensor Value)> tensors, IReadOnlyDictionary<string, string> metadata, ScalarType? type = null)
    {
        // Wide types first, so that every tensor starts at a multiple of its element size.
        List<(string Name, Tensor Value, ScalarType Type)> entries =
            [.. tensors.Select(entry => (entry.Name, entry.Value, TypeInFile(entry.Value, type))).OrderByDescending(entry => StoredTensor.ElementBytes(entry.Item3))];
        byte[] header = Header(entries, metadata);
        AtomicFile.Write(path, stream =>
        {
            byte[] length = new byte[LengthBytes];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach ((_, Tensor value, ScalarType stored) in entries)
            {
                TensorBytes.Write(stream, value, stored);
            }
        });
    }

    private static ScalarType TypeInFile(Tensor value, ScalarType? type) =>
        type is null || !value.is_floating_point() ? value.dtype : value.dim() == 0 ? ScalarType.Float32 : type.Value;

    private static byte[] Header(List<(string Name, Tensor Value, ScalarType Type)> entries, IReadOnlyDictionary<string, string> metadata)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream))
        {
            json.WriteStartObject();
            json.WriteStartObject(MetadataKey);
            json.WriteString("format", "pt");
            foreach ((string key, string value) in metadata.Where(pair => pair.Key != "format"))
            {
                json.WriteString(key, value);
            }

            json.WriteEndObject();
            long offset = 0;
            foreach ((string name, Tensor value, ScalarType type) in entries)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", s_types.Single(known => known.Type == type).Name);
                WriteNumbers(json, "shape", value.shape);
                long end = offset + (value.numel() * StoredTensor.ElementBytes(type));
                WriteNumbers(json, "data_offsets", [offset, end]);
                json.WriteEndObject();
                offset = end;
            }

            json.WriteEndObject();
        }

        while (stream.Length % LengthBytes != 0)
        {
            stream.WriteByte((byte)' ');
        }

        return stream.ToArray();
    }

    private static void WriteNumbers(Utf8JsonWriter json, string name, ReadOnlySpan<long> values)
    {
        json.WriteStartArray(name);
        foreach (long value in values)
        {
            json.WriteNumberValue(value);
        }

        json.WriteEndArray();
    }

    private static (Dictionary<string, StoredTensor> Tensors, Dictionary<string, string> Metadata) Parse(CheckpointFile file, JsonElement root, long dataStart)
    {
        Dictionary<string, StoredTensor> tensors = [];
        Dictionary<string, string> metadata = [];
        List<(long Begin, long End)> ranges = [];
        foreach (JsonProperty property in root.EnumerateObject())
        {
            if (property.Name == MetadataKey)
            {
                metadata = property.Value.EnumerateObject().ToDictionary(entry => entry.Name, entry => entry.Value.GetString() ?? "");
                continue;
            }

            (StoredTensor tensor, long begin, long end) = ParseTensor(file, property, dataStart);
            tensors.Add(property.Name, tensor);
            ranges.Add((begin, end));
        }

        long expected = 0;
        foreach ((long begin, long end) in ranges.Order())
        {
            if (begin != expected)
            {
                throw Damaged(file, $"its tensors leave a hole or overlap at byte {Math.Min(begin, expected)} of the data");
            }

            expected = end;
        }

        return expected == file.Length - dataStart
            ? (tensors, metadata)
            : throw Damaged(file, $"its header describes {expected} bytes of tensors, the file holds {file.Length - dataStart}");
    }

    private static (StoredTensor Tensor, long Begin, long End) ParseTensor(CheckpointFile file, JsonProperty property, long dataStart)
    {
        JsonElement description = property.Value;
        string name = property.Name;
        if (!description.TryGetProperty("dtype", out JsonElement dtype) || !description.TryGetProperty("shape", out JsonElement sizes) || !description.TryGetProperty("data_offsets", out JsonElement offsets))
        {
            throw Damaged(file, $"tensor {name} lacks dtype, shape or data_offsets");
        }

        string? typeName = dtype.GetString();
        (string Name, ScalarType Type) known = s_types.FirstOrDefault(candidate => candidate.Name == typeName);
        if (known.Name is null)
        {
            throw new UserError($"{file.Path}: tensor {name} has type {typeName}; readable are {string.Join(", ", s_types.Select(candidate => candidate.Name))}");
        }

        long[] shape = [.. sizes.EnumerateArray().Select(size => size.GetInt64())];
        long[] range = [.. offsets.EnumerateArray().Select(offset => offset.GetInt64())];
        Int128 bytes = StoredTensor.ElementBytes(known.Type);
        foreach (long size in shape)
        {
            bytes = size < 0 ? -1 : Int128.Min(bytes * size, long.MaxValue);
            if (bytes < 0)
            {
                throw Damaged(file, $"tensor {name} has the shape {string.Join(" x ", shape)}");
            }
        }

        return range is [>= 0, _] && range[1] >= range[0] && range[1] <= file.Length - dataStart && range[1] - range[0] == bytes
            ? (new StoredTensor(file, name, known.Type, shape, StoredTensor.RowMajor(shape), dataStart + range[0]), range[0], range[1])
            : throw Damaged(file, $"tensor {name}, {known.Name} of {(shape.Length == 0 ? "one value" : string.Join(" x ", shape))}, cannot lie at bytes {string.Join(" to ", range)} of {file.Length - dataStart}");
    }

    private static UserError Damaged(CheckpointFile file, string what, Exception? inner = null) =>
        new($"{file.Path}: is no intact safetensors file: {what}; copy or download it again", inner);
}
