// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;

namespace HiMo.Trainer;

/// <summary>Hugging Face's <c>model.safetensors.index.json</c>: which of several safetensors files holds which tensor.</summary>
internal static class ShardIndex
{
    private const int MaxBytes = 64 << 20;
    private const int MaxShards = 1000;

    /// <summary>Opens all files that the index names.</summary>
    /// <param name="index">The index.</param>
    /// <exception cref="UserError">The index is malformed, or a file is missing, malformed, or lacks a tensor.</exception>
    public static (List<CheckpointFile> Files, Dictionary<string, StoredTensor> Tensors, Dictionary<string, string> Metadata) Open(CheckpointFile index)
    {
        Dictionary<string, string> map = ReadMap(index);
        string folder = Path.GetDirectoryName(Path.GetFullPath(index.Path))!;
        string[] names = [.. map.Values.Distinct().Order(StringComparer.Ordinal)];
        if (names.Length > MaxShards || names.FirstOrDefault(name => name.Length == 0 || name.Contains('\0') || name != Path.GetFileName(name) || name is "." or "..") is string)
        {
            throw new UserError($"{index.Path}: names more than {MaxShards} files, or one outside its folder");
        }

        List<CheckpointFile> files = [];
        try
        {
            Dictionary<string, StoredTensor> tensors = [];
            Dictionary<string, string> metadata = [];
            foreach (string name in names)
            {
                CheckpointFile file = new(Path.Combine(folder, name));
                files.Add(file);
                (Dictionary<string, StoredTensor> contents, Dictionary<string, string> text) = SafetensorsFile.ReadHeader(file);
                metadata = text;
                foreach (string tensor in map.Where(pair => pair.Value == name).Select(pair => pair.Key))
                {
                    tensors[tensor] = contents.TryGetValue(tensor, out StoredTensor? stored)
                        ? stored
                        : throw new UserError($"{file.Path}: lacks {tensor}, which {index.Path} places there");
                }
            }

            return (files, tensors, metadata);
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    private static Dictionary<string, string> ReadMap(CheckpointFile index)
    {
        if (index.Length > MaxBytes)
        {
            throw new UserError($"{index.Path}: an index of {index.Length} bytes is not plausible");
        }

        byte[] content = new byte[index.Length];
        index.Read(content, 0, "the index");
        try
        {
            using JsonDocument document = JsonDocument.Parse(content, new JsonDocumentOptions { AllowDuplicateProperties = false, MaxDepth = 8 });
            return document.RootElement.TryGetProperty("weight_map", out JsonElement map)
                ? map.EnumerateObject().ToDictionary(pair => pair.Name, pair => pair.Value.GetString() ?? "")
                : throw new UserError($"{index.Path}: is JSON without a weight_map, so it is no index of safetensors files; give the file with the weights, or its folder");
        }
        catch (Exception failure) when (failure is JsonException or InvalidOperationException or FormatException)
        {
            throw new UserError($"{index.Path}: is no intact index of safetensors files ({failure.Message})", failure);
        }
    }
}
