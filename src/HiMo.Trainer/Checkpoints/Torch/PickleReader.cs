// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.Text;

namespace HiMo.Trainer;

/// <summary>
/// Reads the subset of Python's pickle format that torch writes. It is a reader of data: names of code stay names, nothing is
/// imported, constructed or called beyond the few cases of <see cref="TorchGlobals"/>. Source: Python's pickletools, protocol 2.
/// </summary>
internal sealed class PickleReader
{
    /// <summary>Longest pickle accepted; that of ViT-L/14 with its optimizer has well under 1 MiB.</summary>
    public const int MaxBytes = 64 << 20;

    private const int MaxOpcodes = 1_000_000;
    private const int MaxText = 1 << 20;

    private static readonly object s_mark = new();

    private readonly byte[] _bytes;
    private readonly string _path;
    private readonly TorchGlobals _globals;
    private readonly List<object?> _stack = [];
    private readonly Dictionary<int, object?> _memo = [];
    private int _position;
    private int _opcodeAt;

    private PickleReader(byte[] bytes, string path, TorchGlobals globals)
    {
        _bytes = bytes;
        _path = path;
        _globals = globals;
    }

    /// <summary>The value that the pickle holds.</summary>
    /// <param name="bytes">The whole pickle.</param>
    /// <param name="path">Its file, for messages.</param>
    /// <param name="globals">The names that may occur.</param>
    /// <exception cref="UserError">The pickle is damaged or mentions another name; the message gives the byte.</exception>
    public static object? Read(byte[] bytes, string path, TorchGlobals globals)
    {
        PickleReader reader = new(bytes, path, globals);
        for (int count = 0; count < MaxOpcodes; count++)
        {
            reader._opcodeAt = reader._position;
            byte opcode = reader.Take(1)[0];
            if (opcode == (byte)'.')
            {
                return reader._stack.Count == 1 ? reader.Pop() : throw reader.Error("stops with more than one value");
            }

            reader.Run(opcode);
        }

        throw reader.Error($"has more than {MaxOpcodes} operations, which no model needs");
    }

    private void Run(byte opcode)
    {
        switch (opcode)
        {
            case 0x80: RequireProtocol(Take(1)[0]); break;
            case (byte)'(': _stack.Add(s_mark); break;
            case (byte)'N': _stack.Add(null); break;
            case 0x88: _stack.Add(true); break;
            case 0x89: _stack.Add(false); break;
            case (byte)'J': _stack.Add((long)BinaryPrimitives.ReadInt32LittleEndian(Take(4))); break;
            case (byte)'K': _stack.Add((long)Take(1)[0]); break;
            case (byte)'M': _stack.Add((long)BinaryPrimitives.ReadUInt16LittleEndian(Take(2))); break;
            case 0x8a: _stack.Add(TakeLong()); break;
            case (byte)'G': _stack.Add(BinaryPrimitives.ReadDoubleBigEndian(Take(8))); break;
            case (byte)'X': _stack.Add(TakeText()); break;
            case (byte)'}': _stack.Add(new PickleDict()); break;
            case (byte)']': _stack.Add(new PickleList()); break;
            case (byte)')': _stack.Add(new PickleTuple([])); break;
            case (byte)'t': _stack.Add(new PickleTuple(PopToMark())); break;
            case 0x85: _stack.Add(new PickleTuple(Pop(1))); break;
            case 0x86: _stack.Add(new PickleTuple(Pop(2))); break;
            case 0x87: _stack.Add(new PickleTuple(Pop(3))); break;
            case (byte)'q': _memo[Take(1)[0]] = Top(); break;
            case (byte)'r': _memo[BinaryPrimitives.ReadInt32LittleEndian(Take(4))] = Top(); break;
            case (byte)'h': _stack.Add(Recall(Take(1)[0])); break;
            case (byte)'j': _stack.Add(Recall(BinaryPrimitives.ReadInt32LittleEndian(Take(4)))); break;
            case (byte)'a': AddTo(Pop(1)); break;
            case (byte)'e': AddTo(PopToMark()); break;
            case (byte)'s': SetIn(Pop(2)); break;
            case (byte)'u': SetIn(PopToMark()); break;
            case (byte)'c': _stack.Add(TakeGlobal()); break;
            case (byte)'Q': _stack.Add(TorchGlobals.Storage(Pop()) ?? throw Error("refers to something that is no storage of a tensor")); break;
            case (byte)'R': Reduce(); break;
            case 0x81: New(); break;
            case (byte)'b': Build(); break;
            default: throw Error($"uses operation 0x{opcode:x2}, which torch.save does not write");
        }
    }

    private void RequireProtocol(byte protocol)
    {
        if (protocol != 2)
        {
            throw Error($"has protocol {protocol} instead of 2; save it again with torch.save and its standard pickle protocol");
        }
    }

    private void Reduce()
    {
        object? arguments = Pop(), callable = Pop();
        if (callable is not PickleGlobal global || arguments is not PickleTuple tuple)
        {
            throw Error("calls something that is no name with a tuple of arguments");
        }

        _stack.Add(TorchGlobals.Call(global, tuple.Items) ?? throw Error($"calls {global} with arguments that torch.save does not write"));
    }

    private void New()
    {
        object? arguments = Pop(), type = Pop();
        _stack.Add(type is PickleGlobal { IsScriptClass: true } global && arguments is PickleTuple { Items.Length: 0 }
            ? new PickleObject(global)
            : throw Error("creates an object of a class that is no TorchScript module"));
    }

    private void Build()
    {
        object? state = Pop();
        switch (Top())
        {
            case PickleObject record when record.Attributes is null && state is PickleDict attributes:
                record.Attributes = attributes;
                break;
            case PickleDict:
                break; // attributes of an OrderedDict: torch keeps version numbers there
            default:
                throw Error("sets the state of something that has none");
        }
    }

    private void AddTo(object?[] values)
    {
        if (Top() is not PickleList list)
        {
            throw Error("appends to something that is no list");
        }

        list.Items.AddRange(values);
    }

    private void SetIn(object?[] pairs)
    {
        if (Top() is not PickleDict dict || pairs.Length % 2 != 0)
        {
            throw Error("sets items of something that is no dict, or a key without a value");
        }

        for (int i = 0; i < pairs.Length; i += 2)
        {
            dict.Pairs.Add(new(pairs[i], pairs[i + 1]));
        }
    }

    private PickleGlobal TakeGlobal()
    {
        PickleGlobal global = new(TakeLine(), TakeLine());
        return _globals.IsAllowed(global)
            ? global
            : throw Error($"mentions '{Printable(global.ToString())}', which is no part of a model's weights; nothing of it was run. In Python, with a file you trust: torch.save(model.state_dict(), FILE)");
    }

    private string TakeLine()
    {
        int length = _bytes.AsSpan(_position).IndexOf((byte)'\n');
        if (length is < 0 or > 1000)
        {
            throw Error("names something without an end");
        }

        return Encoding.Latin1.GetString(Take(length + 1)[..^1]);
    }

    private string TakeText()
    {
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(Take(4));
        return length <= MaxText ? Encoding.UTF8.GetString(Take((int)length)) : throw Error($"holds text of {length} bytes, which no model needs");
    }

    private long TakeLong()
    {
        ReadOnlySpan<byte> digits = Take(Take(1)[0]);
        if (digits.Length > 8)
        {
            throw Error($"holds an integer of {digits.Length} bytes");
        }

        long value = 0;
        for (int i = digits.Length - 1; i >= 0; i--)
        {
            value = (value << 8) | digits[i];
        }

        int unused = 64 - (8 * digits.Length); // sign-extend; a shift by 64 would be one by 0, which no digits need
        return digits.Length == 0 ? 0 : value << unused >> unused;
    }

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count > _bytes.Length - _position)
        {
            throw Error("ends inside an operation");
        }

        _position += count;
        return _bytes.AsSpan(_position - count, count);
    }

    private object? Recall(int key) => _memo.TryGetValue(key, out object? value) ? value : throw Error($"recalls value {key}, which it never kept");

    private object? Top() => _stack.Count > 0 && _stack[^1] != s_mark ? _stack[^1] : throw Error("needs a value where there is none");

    private object? Pop()
    {
        object? value = Top();
        _stack.RemoveAt(_stack.Count - 1);
        return value;
    }

    private object?[] Pop(int count)
    {
        object?[] values = new object?[count];
        for (int i = count - 1; i >= 0; i--)
        {
            values[i] = Pop();
        }

        return values;
    }

    private object?[] PopToMark()
    {
        int mark = _stack.LastIndexOf(s_mark);
        if (mark < 0)
        {
            throw Error("closes a sequence that was never opened");
        }

        object?[] values = [.. _stack[(mark + 1)..]];
        _stack.RemoveRange(mark, _stack.Count - mark);
        return values;
    }

    private static string Printable(string text) => new([.. text.Take(100).Select(letter => char.IsControl(letter) ? '?' : letter)]);

    private UserError Error(string what) => new($"{_path}: its pickle (data.pkl) at byte {_opcodeAt} {what}");
}
