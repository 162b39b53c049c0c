// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary><c>bench scale</c>: time and peak memory as the batch grows, every size in a process of its own.</summary>
internal static class BenchScaleCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string> sizes = BenchOptions.List("--sizes", "1024,2048,4096,8192,16384,32768,65536", "Rows of the batches.");
        Option<int> columns = BenchOptions.Number("--dim", 512, "D", "Width of the features.");
        Option<int> plainUpTo = BenchOptions.Number("--plain-up-to", 8192, "N", "The plain forms, whose memory grows with the square, run up to here; 0: not at all.");
        Option<int> threads = BenchOptions.Threads();
        Option<LossForm[]> forms = new("--forms") { Description = "Which forms: fused, svd, eigh.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => Enum.GetValues<LossForm>() };
        Option<bool> here = new("--in-process") { Description = "Measure in this process: what the processes of the single sizes do." };
        Option<bool> json = BenchOptions.Json();
        Command command = new("scale", "Time and peak memory beyond inputs and gradients, forward and backward, as the batch grows.") { sizes, columns, plainUpTo, threads, forms, here, json };
        command.Set((parse, cancel) =>
        {
            TextWriter error = parse.InvocationConfiguration.Error;
            BenchmarkTable table = ScaleBenchmark.NewTable();
            foreach (LossForm form in parse.GetValue(forms)!.Distinct())
            {
                foreach (int rows in BenchOptions.Numbers(parse, sizes, 2).Where(rows => form == LossForm.Fused || rows <= parse.GetValue(plainUpTo)))
                {
                    error.WriteLine($"himo: {form} {rows}".ToLowerInvariant());
                    ScaleBenchmark benchmark = new(rows, BenchOptions.AtLeast(parse, columns, 2), form, BenchOptions.AtLeast(parse, threads, 1));
                    if (parse.GetValue(here))
                    {
                        using Progress progress = new("% of a step", 100, error);
                        benchmark.Measure(table, share => progress.Report((int)(100.0 * share)), cancel);
                    }
                    else
                    {
                        MeasureInChild(table, benchmark, error, cancel);
                    }
                }
            }

            ScaleBenchmark.FitExponents(table);
            table.Write(parse.InvocationConfiguration.Output, parse.GetValue(json));
        });
        return command;
    }

    // A plain form that the system ends for want of memory leaves its row, without numbers.
    private static void MeasureInChild(BenchmarkTable table, ScaleBenchmark benchmark, TextWriter error, CancellationToken cancel)
    {
        string[] call =
        [
            "bench", "scale", "--in-process", "--json", "--forms", $"{benchmark.Form}".ToLowerInvariant(), "--sizes", $"{benchmark.Rows}", "--plain-up-to", $"{benchmark.Rows}",
            "--dim", $"{benchmark.Columns}", "--threads", $"{benchmark.Threads}",
        ];
        try
        {
            ScaleBenchmark.AddChildRow(table, ChildProcess.RunAsync(call, error.WriteLine, oneThread: false, cancel).GetAwaiter().GetResult());
        }
        catch (UserError failure) when (benchmark.Form != LossForm.Fused)
        {
            error.WriteLine($"himo: {failure.Message}");
            table.Add(benchmark.Rows, benchmark.Columns, $"{benchmark.Form}".ToLowerInvariant(), null, null, null, "did not end");
        }
    }
}
