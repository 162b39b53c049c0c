// SPDX-License-Identifier: Apache-2.0
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>A name of Python code; only names on the list of <see cref="TorchGlobals"/> come to exist, and none is ever run.</summary>
/// <param name="Module">Its module.</param>
/// <param name="Name">Its name there.</param>
internal sealed record PickleGlobal(string Module, string Name)
{
    /// <summary>Whether it names a class of a TorchScript archive.</summary>
    public bool IsScriptClass => Module == TorchGlobals.ScriptModule || Module.StartsWith(TorchGlobals.ScriptModule + ".", StringComparison.Ordinal);

    public override string ToString() => $"{Module} {Name}";
}

/// <summary>A tuple.</summary>
/// <param name="Items">Its values.</param>
internal sealed record PickleTuple(object?[] Items);

/// <summary>A list.</summary>
internal sealed class PickleList
{
    /// <summary>Its values.</summary>
    public List<object?> Items { get; } = [];
}

/// <summary>A dict or OrderedDict, in the order of insertion.</summary>
internal sealed class PickleDict
{
    /// <summary>Its pairs; a later one with the same key replaces the earlier.</summary>
    public List<KeyValuePair<object?, object?>> Pairs { get; } = [];

    /// <summary>The last value under a key that is text, or null.</summary>
    /// <param name="key">The key.</param>
    public object? this[string key] => Pairs.LastOrDefault(pair => key.Equals(pair.Key as string, StringComparison.Ordinal)).Value;
}

/// <summary>An object of a TorchScript archive: a record of named values.</summary>
/// <param name="Class">Its class.</param>
internal sealed record PickleObject(PickleGlobal Class)
{
    /// <summary>Its attributes, once BUILD has set them.</summary>
    public PickleDict? Attributes { get; set; }
}

/// <summary>A reference to the raw bytes of an entry <c>data/KEY</c>.</summary>
/// <param name="Type">Type of its elements; null where only bytes are counted.</param>
/// <param name="Key">Its key.</param>
/// <param name="Count">Number of elements, or of bytes.</param>
internal sealed record PickleStorage(ScalarType? Type, string Key, long Count);

/// <summary>A view of a storage.</summary>
/// <param name="Storage">The storage.</param>
/// <param name="Type">Type of the elements.</param>
/// <param name="Offset">First element.</param>
/// <param name="Shape">Size of each dimension.</param>
/// <param name="Strides">Elements between neighbours of each dimension.</param>
internal sealed record PickleTensor(PickleStorage Storage, ScalarType Type, long Offset, long[] Shape, long[] Strides);

/// <summary>A value that is kept for nothing but its place.</summary>
internal sealed record PickleInert
{
    public static PickleInert Instance { get; } = new();
}
