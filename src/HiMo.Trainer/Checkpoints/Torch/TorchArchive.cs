// SPDX-License-Identifier: Apache-2.0
using System.Text;

namespace HiMo.Trainer;

/// <summary>
/// A file of torch.save (PyTorch 1.6 and later) or a TorchScript archive: a zip whose <c>data.pkl</c> describes tensors that lie
/// uncompressed in <c>data/0</c>, <c>data/1</c>, ... Code in the archive is never read.
/// </summary>
internal static class TorchArchive
{
    private const string Pickle = "/data.pkl";
    private const int MaxTensors = 100_000;

    /// <summary>Finds all tensors.</summary>
    /// <param name="file">A zip archive.</param>
    /// <returns>The tensors by name and whether the archive is TorchScript.</returns>
    /// <exception cref="UserError">The archive is no checkpoint or damaged.</exception>
    public static (Dictionary<string, StoredTensor> Tensors, bool IsScript) Read(CheckpointFile file)
    {
        ZipIndex index = new(file);
        ZipEntry[] pickles = [.. index.Entries.Values.Where(entry => entry.Name.EndsWith(Pickle, StringComparison.Ordinal) && entry.Name.Count(letter => letter == '/') == 1)];
        if (pickles.Length != 1)
        {
            throw new UserError($"{file.Path}: is a zip archive without a data.pkl in its one folder, so torch.save did not write it");
        }

        string root = pickles[0].Name[..^Pickle.Length];
        if (index.Entries.TryGetValue($"{root}/byteorder", out ZipEntry? order) && Encoding.ASCII.GetString(index.ReadAll(order, 100)) is string text && text != "little")
        {
            throw new UserError($"{file.Path}: was written on a {text}-endian machine; save it again on a little-endian one");
        }

        bool isScript = index.Entries.ContainsKey($"{root}/constants.pkl");
        object? value = PickleReader.Read(index.ReadAll(pickles[0], PickleReader.MaxBytes), file.Path, new TorchGlobals(isScript));
        List<(string Name, PickleTensor Tensor)> found = isScript ? TorchModules.Walk(file.Path, value) : StateDict(file.Path, value);
        return (Locate(file, index, root, found), isScript);
    }

    private static List<(string Name, PickleTensor Tensor)> StateDict(string path, object? value)
    {
        PickleDict? dict = value as PickleDict;
        if (dict?["state_dict"] is PickleDict inner)
        {
            dict = inner;
        }

        if (dict is null || dict.Pairs.Count == 0)
        {
            throw new UserError($"{path}: holds no dictionary of tensors; save the weights with torch.save(model.state_dict(), FILE)");
        }

        List<(string Name, PickleTensor Tensor)> tensors = [];
        foreach ((object? key, object? item) in dict.Pairs)
        {
            tensors.Add(key is string name && item is PickleTensor tensor
                ? (name, tensor)
                : throw new UserError($"{path}: its entry '{key as string ?? "(no text)"}' is no tensor; wanted is a state dict, or a dictionary with one under 'state_dict'"));
        }

        return tensors;
    }

    private static Dictionary<string, StoredTensor> Locate(CheckpointFile file, ZipIndex index, string root, List<(string Name, PickleTensor Tensor)> found)
    {
        if (found.Count > MaxTensors)
        {
            throw new UserError($"{file.Path}: describes {found.Count} tensors; more than {MaxTensors} are not plausible");
        }

        Dictionary<string, long> starts = [];
        Dictionary<string, StoredTensor> tensors = [];
        Int128 described = 0;
        foreach ((string name, PickleTensor tensor) in found)
        {
            string entryName = $"{root}/data/{tensor.Storage.Key}";
            if (!index.Entries.TryGetValue(entryName, out ZipEntry? entry))
            {
                throw new UserError($"{file.Path}: tensor {name} lies in {entryName}, which the archive lacks; copy or download it again");
            }

            if (!starts.TryGetValue(entryName, out long start))
            {
                start = index.DataOffset(entry);
                starts.Add(entryName, start);
            }

            described += CheckExtent(file.Path, name, tensor, entry);
            long offset = start + (tensor.Offset * StoredTensor.ElementBytes(tensor.Type));
            if (!tensors.TryAdd(name, new StoredTensor(file, name, tensor.Type, tensor.Shape, tensor.Strides, offset)))
            {
                throw new UserError($"{file.Path}: names tensor {name} twice");
            }
        }

        // Tensors may share storages, but a file that is mostly sharing would fill memory out of nothing.
        return described <= 4 * (Int128)file.Length
            ? tensors
            : throw new UserError($"{file.Path}: its tensors add up to {described} bytes, the file has {file.Length}; that is not plausible");
    }

    /// <summary>Bytes of the tensor's elements, after checking that they all lie inside the storage.</summary>
    private static Int128 CheckExtent(string path, string name, PickleTensor tensor, ZipEntry entry)
    {
        int width = StoredTensor.ElementBytes(tensor.Type);
        Int128 count = 1, last = tensor.Offset;
        for (int i = 0; i < tensor.Shape.Length; i++)
        {
            // Beyond this bound the products no longer matter, they only must not overflow.
            count = Int128.Min(count * tensor.Shape[i], long.MaxValue);
            last = Int128.Min(last + ((Int128)(tensor.Shape[i] - 1) * tensor.Strides[i]), long.MaxValue);
        }

        Int128 stored = tensor.Storage.Type is null ? tensor.Storage.Count : (Int128)tensor.Storage.Count * width;
        return stored == entry.Length && (tensor.Storage.Type is null || tensor.Storage.Type == tensor.Type) && (count == 0 || (last * width < entry.Length && count * width <= entry.Length))
            ? count * width
            : throw new UserError($"{path}: tensor {name}, {tensor.Type} {Architecture.Text(tensor.Shape)} with strides {Architecture.Text(tensor.Strides)} from element {tensor.Offset}, does not fit the {entry.Length} bytes of {entry.Name}");
    }
}
