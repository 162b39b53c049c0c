// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary><c>bench hide</c>: batched HiDe against a loop of plain operations.</summary>
internal static class BenchHideCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<int> groups = BenchOptions.Number("--groups", 64, "G", "Independent groups.");
        Option<int> rows = BenchOptions.Number("--n", 128, "N", "Rows of a group.");
        Option<int> columns = BenchOptions.Number("--dim", 768, "D", "Width of the features.");
        Option<int> threads = BenchOptions.Threads();
        Option<double> seconds = BenchOptions.Seconds(20.0);
        Option<bool> json = BenchOptions.Json();
        Command command = new("hide", "HiDe of many groups, forward and backward, against a loop of plain TorchSharp operations.") { groups, rows, columns, threads, seconds, json };
        command.Set((parse, cancel) =>
        {
            HideBenchmark benchmark = new(
                BenchOptions.AtLeast(parse, groups, 1), BenchOptions.AtLeast(parse, rows, 2), BenchOptions.AtLeast(parse, columns, 2), BenchOptions.AtLeast(parse, threads, 1));
            benchmark.Run(parse.GetValue(seconds), cancel).Write(parse.InvocationConfiguration.Output, parse.GetValue(json));
        });
        return command;
    }
}
