// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary><c>bench roofline</c>: every operator against the machine's rate of multiply-adds and its memory bandwidth.</summary>
internal static class BenchRooflineCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string> sizes = BenchOptions.List("--sizes", "128,768,256,512,1024,768", "Rows and width of each batch, in turn.");
        Option<int> threads = BenchOptions.Threads();
        Option<double> seconds = BenchOptions.Seconds(1.0);
        Option<bool> json = BenchOptions.Json();
        Command command = new("roofline", "Flops, bytes and rate of every operator, and its share of what this machine allows.") { sizes, threads, seconds, json };
        command.Set((parse, cancel) =>
        {
            int[] shape = BenchOptions.Numbers(parse, sizes, 2);
            if (shape.Length % 2 != 0)
            {
                throw new UserError($"--sizes has {shape.Length} numbers; it must be pairs of rows and width");
            }

            BenchmarkTable table = Roofline.NewTable();
            Roofline roofline = new(BenchOptions.AtLeast(parse, threads, 1), parse.GetValue(seconds));
            foreach (int[] pair in shape.Chunk(2))
            {
                parse.InvocationConfiguration.Error.WriteLine($"himo: {pair[0]} x {pair[1]}");
                roofline.Measure(pair[0], pair[1], table, cancel);
            }

            table.Write(parse.InvocationConfiguration.Output, parse.GetValue(json));
        });
        return command;
    }
}
