// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;

namespace HiMo.Trainer;

/// <summary><c>demo</c>: what HiMo-CLIP's loss does to small models, in a few minutes.</summary>
internal static class DemoCommand
{
    public static Command Create()
    {
        Option<string> output = new("--out") { Description = "Folder of everything that the demonstration makes.", DefaultValueFactory = _ => Path.Combine("out", "demo"), HelpName = "DIR" };
        Option<int> seeds = new("--seeds") { Description = "Fine-tunings of each base with each loss.", DefaultValueFactory = _ => new DemoPlan().Seeds, HelpName = "N" };
        Option<bool> complete = new("--long") { Description = "A third base, five seeds, and tau, gradient, lambda and smoothing varied; takes about half an hour." };
        Option<bool> tiny = new("--tiny") { Description = "A few steps on a few scenes: shows that everything works, not what the loss does.", Hidden = true };
        Command command = new("demo", "Fine-tune small models with both losses, evaluate them, and make a page of it.") { output, seeds, complete, tiny };
        command.Set((parse, cancel) =>
        {
            long start = Stopwatch.GetTimestamp();
            DemoPlan plan = parse.GetValue(complete) ? Long : parse.GetValue(tiny) ? Tiny : new DemoPlan();
            if (parse.GetResult(seeds) is { Implicit: false })
            {
                int count = parse.GetValue(seeds);
                plan = plan with { Seeds = count is >= 1 and <= 100 ? count : throw new UserError($"--seeds {count}: from 1 to 100 are possible") };
            }

            Demonstration demonstration = new(parse.GetRequiredValue(output), plan, parse.InvocationConfiguration.Error);
            demonstration.Run(cancel);
            TextWriter text = parse.InvocationConfiguration.Output;
            DemoTable.Write(demonstration.RunFolders, text);
            text.WriteLine();
            text.WriteLine("Mean +- standard deviation over seeds. What this shows and what it does not: docs/demo.md.");
            text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Stopwatch.GetElapsedTime(start).TotalSeconds:F0} s. The page: {Path.GetFullPath(demonstration.Page)}"));
        });
        return command;
    }

    private static DemoPlan Long => new() { Bases = [1, 2, 3], Seeds = 5, VariantSeeds = 1 };

    private static DemoPlan Tiny => new()
    {
        Scenes = 64,
        EvaluationScenes = 16,
        Seeds = 1,
        Options = ["--steps", "3", "--batch", "16", "--warmup-steps", "1"],
        BenchmarkSizes = [],
    };
}
