// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary><c>bench chart</c>: the README's chart from the results of <c>bench table --json</c>.</summary>
internal static class BenchChartCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string> results = new("--results") { Description = "What 'bench table --json' wrote.", HelpName = "FILE", DefaultValueFactory = _ => Path.Combine("perf", "results", "loss.json") };
        Option<string> output = new("--out") { Description = "The SVG file.", HelpName = "FILE", DefaultValueFactory = _ => Path.Combine("docs", "loss.svg") };
        Command command = new("chart", "Draw the results of 'bench table --json' as SVG.") { results, output };
        command.Set((parse, _) =>
        {
            string from = parse.GetValue(results)!;
            JsonNode? json;
            try
            {
                json = JsonNode.Parse(File.ReadAllText(from));
            }
            catch (JsonException failure)
            {
                throw new UserError($"{from}: no JSON ({failure.Message})", failure);
            }

            AtomicFile.WriteText(parse.GetValue(output)!, LossChart.Draw(json));
        });
        return command;
    }
}
