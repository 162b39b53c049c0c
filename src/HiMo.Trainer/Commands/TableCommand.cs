// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary><c>table</c>: results of <c>eval</c> under the paper's rows.</summary>
internal static class TableCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Argument<string[]> results = new("result") { Description = "Files that 'himo eval --out' wrote, one for each model and set.", HelpName = "EVAL.json", Arity = ArgumentArity.OneOrMore };
        Option<bool> json = new("--json") { Description = "JSON instead of Markdown." };
        Option<string?> output = new("--out") { Description = "Writes to a file instead of the terminal.", HelpName = "FILE" };
        Command command = new("table", "Results beside the paper's, in the layout of its tables 1 to 3, with 95 % intervals.") { results, json, output };
        command.Set((parse, _) =>
        {
            IReadOnlyList<ComparisonTable> tables = ComparisonTable.From([.. parse.GetRequiredValue(results).Select(file => (file, ComparisonTable.Read(file)))]);
            string text = parse.GetValue(json)
                ? new JsonArray([.. tables.Select(table => table.ToJson())]).ToJsonString(JsonText.Readable) + "\n"
                : string.Join('\n', tables.Select(table => table.ToMarkdown())) + $"\nRows marked (paper): {PaperTables.Source}. In brackets: 95 % interval of the share, for the number of queries.\n";
            if (parse.GetValue(output) is { } file)
            {
                AtomicFile.WriteText(file, text);
            }
            else
            {
                parse.InvocationConfiguration.Output.Write(text);
            }
        });
        return command;
    }
}
