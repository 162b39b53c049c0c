// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.RegularExpressions;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// What a kernel does with shared memory, matrix instructions and barriers: a letter for each such instruction, in the order of the PTX and along its branches.
/// </summary>
internal sealed class PtxFlow
{
    /// <summary>Barriers of the whole group: bar.sync, bar.red and barrier.sync.</summary>
    public const string Barriers = "bor";

    // The first one that fits.
    private static readonly (string Opcode, char Letter)[] s_letters =
    [
        ("bar.warp", 'w'), ("bar.sync", 'b'), ("bar.red", 'o'), ("barrier.sync", 'r'), ("barrier.cluster.arrive", 'a'), ("barrier.cluster.wait", 'c'),
        ("ld.shared", 'l'), ("st.shared", 's'), ("ld.relaxed.cluster", 'L'), ("st.relaxed.cluster", 'S'), ("ld.relaxed.gpu", 'p'), ("st.relaxed.gpu", 'q'),
        ("mma.sync", 'm'), ("wgmma.mma_async", 'g'), ("wgmma.fence", 'e'), ("wgmma.commit", 'k'), ("wgmma.wait", 'd'),
        ("mbarrier.init", 'i'), ("mbarrier.arrive", 'x'), ("mbarrier.try_wait", 't'), ("fence.proxy", 'f'),
        ("cp.async.bulk.commit", 'k'), ("cp.async.bulk.wait", 'd'), ("cp.async.bulk", 'y'),
    ];

    private readonly List<Statement> _statements = [];
    private readonly int[][] _next;

    private PtxFlow(string ptx)
    {
        // Labels of a scope in braces are its own.
        Dictionary<(int Scope, string Label), int> labels = [];
        Stack<int> scopes = new([0]);
        int scopeCount = 0;
        bool isBehindLabel = true;
        string body = ptx[ptx.IndexOf("\n{", ptx.IndexOf(".entry", StringComparison.Ordinal), StringComparison.Ordinal)..];
        foreach (string text in Regex.Replace(body, "//.*", "").Split(';', '\n').Select(each => each.Trim()).Where(each => each.Length > 0).Skip(1).SkipLast(1))
        {
            if (text == "{")
            {
                scopes.Push(++scopeCount);
            }
            else if (text == "}")
            {
                _ = scopes.Pop();
            }
            else if (Regex.IsMatch(text, @"^\w+:$"))
            {
                labels[(scopes.Peek(), text[..^1])] = _statements.Count;
                isBehindLabel = true;
            }
            else
            {
                Match parts = Regex.Match(text, @"^(@\S+\s+)?(.*)$");
                string instruction = parts.Groups[2].Value;
                char letter = s_letters.FirstOrDefault(each => instruction.StartsWith(each.Opcode, StringComparison.Ordinal)).Letter;
                _statements.Add(new(instruction, letter, parts.Groups[1].Success, isBehindLabel, scopes.Peek()));
                isBehindLabel = false;
            }
        }

        _next = [.. _statements.Select((each, i) => Next(each, i).Where(place => place < _statements.Count).ToArray())];

        IEnumerable<int> Next(Statement statement, int place)
        {
            if (statement.Instruction.StartsWith("bra", StringComparison.Ordinal))
            {
                string label = statement.Instruction.Split(' ', '\t')[^1];
                yield return labels.TryGetValue((statement.Scope, label), out int target) ? target : labels[(0, label)];
            }

            if (statement.IsGuarded || !Regex.IsMatch(statement.Instruction, @"^(bra|ret|exit)\b"))
            {
                yield return place + 1;
            }
        }
    }

    private sealed record Statement(string Instruction, char Letter, bool IsGuarded, bool BeginsBlock, int Scope);

    /// <summary>All letters, as they stand in the PTX.</summary>
    public string Letters => string.Concat(Blocks);

    /// <summary>Letters of each block that has some.</summary>
    public string[] Blocks
    {
        get
        {
            List<string> blocks = [];
            foreach (Statement statement in _statements)
            {
                if (statement.BeginsBlock)
                {
                    blocks.Add("");
                }

                if (statement.Letter != default)
                {
                    blocks[^1] += statement.Letter;
                }
            }

            return [.. blocks.Where(block => block.Length > 0)];
        }
    }

    /// <summary>Blocks in a short form: l8m16b is eight loads, sixteen products and a barrier, 3(l) three blocks of a load.</summary>
    public string Summary
    {
        get
        {
            string blocks = string.Join(' ', Blocks.Select(block => Regex.Replace(block, @"(.)\1+", run => string.Create(CultureInfo.InvariantCulture, $"{run.Value[0]}{run.Length}"))));
            return Regex.Replace(blocks, @"(?<=^| )(\S+)(?: \1(?= |$))+", run => string.Create(CultureInfo.InvariantCulture, $"{run.Value.Split(' ').Length}({run.Groups[1].Value})"));
        }
    }

    /// <summary>Reads the text of a kernel.</summary>
    public static PtxFlow Of(string ptx) => new(ptx);

    /// <summary>Places of the instructions with one of these letters.</summary>
    public int[] Places(string letters) => [.. Enumerable.Range(0, _statements.Count).Where(place => letters.Contains(_statements[place].Letter, StringComparison.Ordinal))];

    /// <summary>What the instruction there is.</summary>
    public string Instruction(int place) => _statements[place].Instruction;

    /// <summary>Places with one of these letters that a thread comes to from the beginning without one of the others.</summary>
    public int[] FromBeginning(string letters, string without) => Seen(Reached([0], without), letters);

    /// <summary>Pairs of places that a thread comes to one behind the other without an instruction of <paramref name="without"/> between them.</summary>
    public (int From, int To)[] Pairs(string from, string to, string without) =>
        [.. Places(from).SelectMany(place => Seen(Reached(_next[place], without), to).Select(target => (place, target)))];

    /// <summary>Whether a thread can leave the kernel from one of these places without an instruction of <paramref name="without"/>.</summary>
    public bool CanEnd(int[] from, string without) => 
        from.Any(start => Reached(_next[start], without).Select((isSeen, place) => isSeen && _next[place].Length == 0).Any(isEnd => isEnd));

    private int[] Seen(bool[] places, string letters) => [.. Places(letters).Where(place => places[place])];

    private bool[] Reached(int[] from, string without)
    {
        bool[] seen = new bool[_statements.Count];
        Stack<int> open = new(from);
        while (open.TryPop(out int place))
        {
            if (!seen[place] && !without.Contains(_statements[place].Letter, StringComparison.Ordinal))
            {
                seen[place] = true;
                Array.ForEach(_next[place], open.Push);
            }
        }

        return seen;
    }
}
