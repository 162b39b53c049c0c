// SPDX-License-Identifier: Apache-2.0
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>The names that a checkpoint may mention and what becomes of a call to them; everything else is refused.</summary>
internal sealed class TorchGlobals(bool isScript)
{
    public const string ScriptModule = "__torch__";

    private const string ScriptPickle = "torch.jit._pickle";

    private static readonly Dictionary<string, ScalarType> s_types = new()
    {
        ["Float"] = ScalarType.Float32, ["Half"] = ScalarType.Float16, ["BFloat16"] = ScalarType.BFloat16, ["Double"] = ScalarType.Float64, ["Long"] = ScalarType.Int64,
        ["Int"] = ScalarType.Int32, ["Short"] = ScalarType.Int16, ["Char"] = ScalarType.Int8, ["Byte"] = ScalarType.Byte, ["Bool"] = ScalarType.Bool,
    };

    private static readonly Dictionary<string, ScalarType> s_dtypes = new()
    {
        ["float32"] = ScalarType.Float32, ["float16"] = ScalarType.Float16, ["bfloat16"] = ScalarType.BFloat16, ["float64"] = ScalarType.Float64, ["int64"] = ScalarType.Int64,
        ["int32"] = ScalarType.Int32, ["int16"] = ScalarType.Int16, ["int8"] = ScalarType.Int8, ["uint8"] = ScalarType.Byte, ["bool"] = ScalarType.Bool,
    };

    private const string StorageSuffix = "Storage";

    /// <summary>Whether the name may occur.</summary>
    /// <param name="global">The name.</param>
    public bool IsAllowed(PickleGlobal global) => (global.Module, global.Name) switch
    {
        ("collections", "OrderedDict") or ("torch", "Size") or ("torch.nn.parameter", "Parameter") or ("torch.storage", "UntypedStorage") => true,
        ("torch._utils", "_rebuild_tensor_v2" or "_rebuild_tensor_v3" or "_rebuild_parameter") => true,
        ("torch", string name) => s_dtypes.ContainsKey(name) || StorageType(global) is not null,
        (ScriptPickle, "build_intlist" or "build_doublelist" or "build_boollist" or "build_tensorlist" or "restore_type_tag") => isScript,
        _ => isScript && global.IsScriptClass,
    };

    /// <summary>What REDUCE makes of a name and its arguments; null stands for "not as torch writes it".</summary>
    /// <param name="global">An allowed name.</param>
    /// <param name="arguments">What it is called with.</param>
    public static object? Call(PickleGlobal global, object?[] arguments) => (global.Module, global.Name) switch
    {
        ("collections", "OrderedDict") => arguments.Length == 0 ? new PickleDict() : null,
        ("torch", "Size") => arguments is [PickleTuple sizes] ? sizes : null,
        ("torch._utils", "_rebuild_tensor_v2") => arguments is [PickleStorage { Type: ScalarType type } storage, long offset, PickleTuple shape, PickleTuple strides, bool, _, ..]
            ? Tensor(storage, type, offset, shape, strides) : null,
        ("torch._utils", "_rebuild_tensor_v3") => arguments is [PickleStorage { Type: null } storage, long offset, PickleTuple shape, PickleTuple strides, bool, _, PickleGlobal dtype, ..]
            && dtype.Module == "torch" && s_dtypes.TryGetValue(dtype.Name, out ScalarType type) ? Tensor(storage, type, offset, shape, strides) : null,
        ("torch._utils", "_rebuild_parameter") => arguments is [PickleTensor tensor, bool, _] ? tensor : null,
        (ScriptPickle, _) => PickleInert.Instance,
        _ => null,
    };

    /// <summary>The storage that a persistent id stands for, or null.</summary>
    /// <param name="id">The id.</param>
    public static PickleStorage? Storage(object? id) => id is PickleTuple { Items: ["storage", PickleGlobal kind, string key, string, long count] } && count >= 0
        && key.Length is > 0 and < 20 && key.All(char.IsAsciiDigit) && (StorageType(kind) is not null || kind is { Module: "torch.storage", Name: "UntypedStorage" })
            ? new PickleStorage(StorageType(kind), key, count)
            : null;

    private static ScalarType? StorageType(PickleGlobal global) =>
        global.Module == "torch" && global.Name.EndsWith(StorageSuffix, StringComparison.Ordinal) && s_types.TryGetValue(global.Name[..^StorageSuffix.Length], out ScalarType type) ? type : null;

    private static PickleTensor? Tensor(PickleStorage storage, ScalarType type, long offset, PickleTuple shape, PickleTuple strides) =>
        shape.Items.Length == strides.Items.Length && shape.Items.Length <= 8 && shape.Items.All(size => size is >= 0L) && strides.Items.All(stride => stride is >= 0L) && offset >= 0
            ? new PickleTensor(storage, type, offset, [.. shape.Items.Cast<long>()], [.. strides.Items.Cast<long>()])
            : null;
}
