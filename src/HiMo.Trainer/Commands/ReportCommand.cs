// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary><c>himo report</c>: one self-contained page about one or more runs.</summary>
internal static class ReportCommand
{
    /// <summary>The command with its options.</summary>
    public static Command Create()
    {
        Argument<string[]> runs = new("run") { Description = "Run folders of 'himo train' or 'himo eval'; several show seeds and losses together.", Arity = ArgumentArity.OneOrMore };
        Option<string> output = new("--out") { Description = "The page to write.", HelpName = "FILE", Required = true };
        Option<string?> benchmarks = new("--bench") { Description = "Output of 'himo bench loss --json', one object or an array of them.", HelpName = "FILE" };
        Command command = new("report", "Make one self-contained page about runs: curves, tables, example scenes.") { runs, output, benchmarks };
        command.Set((parse, _) =>
        {
            string page = parse.GetRequiredValue(output);
            IReadOnlyCollection<string> missing = Write(
                parse.GetRequiredValue(runs), parse.GetValue(benchmarks), page, "./himo " + string.Join(' ', parse.Tokens.Select(token => token.Value)));
            if (missing.Count > 0)
            {
                parse.InvocationConfiguration.Error.WriteLine($"himo: {missing.Count} example pictures were not found and are left out: {string.Join(", ", missing)}");
            }

            parse.InvocationConfiguration.Output.WriteLine(page);
        });
        return command;
    }

    /// <summary>Writes the page.</summary>
    /// <param name="runs">Run folders as <c>himo train</c> makes them, at least one.</param>
    /// <param name="benchmarks">A file with the output of <c>himo bench loss --json</c>, one object or an array; null for none.</param>
    /// <param name="output">Path of the page; replaced only when the new one is complete.</param>
    /// <param name="command">The command line, shown on the page.</param>
    /// <returns>Example pictures that were not found, each once.</returns>
    /// <exception cref="UserError">A folder or file is missing or not what it should be.</exception>
    public static IReadOnlyCollection<string> Write(IReadOnlyList<string> runs, string? benchmarks, string output, string command)
    {
        RunFolder[] folders = [.. runs.Select(RunFolder.Read)];
        SortedSet<string> missing = new(StringComparer.Ordinal);
        string page = ReportPage.Build(folders, benchmarks is null ? [] : ReadBenchmarks(benchmarks), command, missing);
        byte[] bytes = Encoding.UTF8.GetBytes(page);
        AtomicFile.Write(output, stream => stream.Write(bytes));
        return missing;
    }

    private static List<JsonObject> ReadBenchmarks(string path)
    {
        if (!File.Exists(path))
        {
            throw new UserError($"--bench {path}: no such file; 'himo bench loss --n 128 --dim 512 --json > {path}' makes one.");
        }

        try
        {
            return JsonText.Node(File.ReadAllText(path)) switch
            {
                JsonObject one => [one],
                JsonArray many => [.. many.Select(entry => entry as JsonObject ?? throw new UserError($"--bench {path}: the array must hold objects only."))],
                _ => throw new UserError($"--bench {path}: an object or an array of objects is expected."),
            };
        }
        catch (JsonException error)
        {
            throw new UserError($"--bench {path}: not valid JSON ({error.Message}).", error);
        }
    }
}
