// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary><c>himo bench</c>: the fused loss against its plain forms on this machine.</summary>
internal static class BenchCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    private static readonly (int Rows, int Columns)[] s_tableSizes = [(128, 512), (128, 768), (256, 512), (1024, 512), (1024, 768), (4096, 768)];

    /// <summary>The command with its subcommands.</summary>
    public static Command Create() =>
        new("bench", "Time the loss on this machine, fused against plain TorchSharp operations, and its parts against libtorch's.")
        {
            CreateLoss(), CreateTable(), BenchTrainStepCommand.Create(), BenchChartCommand.Create(), BenchThreadsCommand.Create(), BenchScaleCommand.Create(), BenchHideCommand.Create(),
            BenchAccuracyCommand.Create(), BenchRooflineCommand.Create(), BenchGemmCommand.Create(), BenchEighCommand.Create(), BenchPredictCommand.Create(), BenchGpuCommand.Create(),
        };

    private static Command CreateLoss()
    {
        Option<int> rows = new("--n") { Description = "Rows of the batch.", HelpName = "N", DefaultValueFactory = _ => 128 };
        Option<int> columns = new("--dim") { Description = "Width of the features.", HelpName = "D", DefaultValueFactory = _ => 512 };
        Option<bool> json = new("--json") { Description = "Print one JSON object." };
        Settings settings = new();
        Command command = new("loss", "One size: times of every form, ratios, and the machine's own rates.") { rows, columns, json };
        settings.AddTo(command);
        command.Set((parse, cancel) =>
        {
            LossBenchmarkResult result = settings.Run(parse, parse.GetValue(rows), parse.GetValue(columns), cancel);
            parse.InvocationConfiguration.Output.Write(parse.GetValue(json) ? result.ToJson().ToJsonString(s_indented) + "\n" : result.ToText());
        });
        return command;
    }

    private static Command CreateTable()
    {
        Settings settings = new();
        Option<bool> json = new("--json") { Description = "Print a JSON array instead, for 'bench chart'." };
        Option<int> upTo = BenchOptions.Number("--up-to", int.MaxValue, "N", "Larger batches are left out.");
        Command command = new("table", "Six sizes from 128 x 512 to 4096 x 768 as a Markdown table of minima, in ms.") { json, upTo };
        settings.AddTo(command);
        command.Set((parse, cancel) =>
        {
            TextWriter output = parse.InvocationConfiguration.Output;
            JsonArray? all = parse.GetValue(json) ? [] : null;
            if (all is null)
            {
                output.WriteLine(LossBenchmarkResult.MarkdownHead);
            }

            foreach ((int rows, int columns) in s_tableSizes.Where(size => size.Rows <= parse.GetValue(upTo)))
            {
                LossBenchmarkResult result = settings.Run(parse, rows, columns, cancel);
                all?.Add(result.ToJson());
                if (all is null)
                {
                    output.WriteLine(result.ToMarkdownRow());
                    output.Flush();
                }
            }

            if (all is not null)
            {
                output.WriteLine(all.ToJsonString(s_indented));
            }
        });
        return command;
    }

    /// <summary>What both subcommands take.</summary>
    private sealed class Settings
    {
        private readonly Option<int> _threads = new("--threads")
        {
            Description = "Threads of both sides. [one per processor]", HelpName = "T", DefaultValueFactory = _ => Environment.ProcessorCount,
        };

        private readonly Option<long> _seed = new("--seed") { Description = "Seed of the features.", HelpName = "S", DefaultValueFactory = _ => 1 };

        private readonly Option<int> _repeats = new("--repeats")
        {
            Description = "Timed runs of each form; 0 takes what fits into about ten seconds.", HelpName = "R", DefaultValueFactory = _ => 0,
        };

        public void AddTo(Command command)
        {
            command.Add(_threads);
            command.Add(_seed);
            command.Add(_repeats);
        }

        public LossBenchmarkResult Run(ParseResult parse, int rows, int columns, CancellationToken cancel)
        {
            int threads = parse.GetValue(_threads), repeats = parse.GetValue(_repeats);
            long seed = parse.GetValue(_seed);
            Check(rows >= 2, "--n", rows, "2 or more");
            Check(columns >= 2, "--dim", columns, "2 or more");
            Check((long)rows * columns <= Array.MaxLength, "--n", rows, $"at most {Array.MaxLength / columns} at this width");
            Check(threads >= 1, "--threads", threads, "1 or more");
            Check(repeats >= 0, "--repeats", repeats, "0 or more");
            Check(seed >= 0, "--seed", seed, "0 or more");
            parse.InvocationConfiguration.Error.WriteLine($"himo: {rows} x {columns}, {threads} threads, seed {seed}");
            return new LossBenchmark(rows, columns, threads, seed, repeats).Run(cancel);
        }

        private static void Check(bool condition, string option, long value, string wanted)
        {
            if (!condition)
            {
                throw new UserError($"{option} is {value}; it must be {wanted}");
            }
        }
    }
}
