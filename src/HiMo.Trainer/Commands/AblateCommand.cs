// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;

namespace HiMo.Trainer;

/// <summary><c>ablate</c>: the paper's tables 4 to 6 on procedural scenes.</summary>
internal static class AblateCommand
{
    public static Command Create()
    {
        Option<string> output = new("--out") { Description = "Folder of data, runs and tables.", DefaultValueFactory = _ => Path.Combine("out", "ablation"), HelpName = "DIR" };
        Option<string?> start = new("--base") { Description = "Model that every run starts from. [the demonstration's first base]", HelpName = "FILE" };
        Option<int> seeds = new("--seeds") { Description = "Fine-tunings of each setting.", DefaultValueFactory = _ => new AblationPlan().Seeds, HelpName = "N" };
        Option<int> steps = new("--steps") { Description = "Steps of each fine-tuning; 0 takes the preset's.", DefaultValueFactory = _ => 0, HelpName = "N" };
        Option<bool> tiny = new("--tiny") { Description = "A few steps on a few scenes: shows that everything works, not what the settings do.", Hidden = true };
        Command command = new("ablate", "Fine-tune in every setting of tau, loss terms and lambda, several seeds each, and write the tables.") { output, start, seeds, steps, tiny };
        command.Set((parse, cancel) =>
        {
            long began = Stopwatch.GetTimestamp();
            int count = parse.GetValue(seeds), length = parse.GetValue(steps);
            if (count is < 1 or > 100 || length < 0)
            {
                throw new UserError($"--seeds {count} --steps {length}: from 1 to 100 seeds are possible, and steps from 0 on");
            }

            AblationPlan plan = (parse.GetValue(tiny) ? Tiny : new AblationPlan()) with { Seeds = count };
            plan = length > 0 ? plan with { Options = [.. plan.Options, "--steps", length.ToString(CultureInfo.InvariantCulture)] } : plan;
            Ablation ablation = new(parse.GetRequiredValue(output), plan, parse.GetValue(start) ?? Demonstration.ShippedBase(1), parse.InvocationConfiguration.Error);
            TextWriter text = parse.InvocationConfiguration.Output;
            text.Write(ablation.Run(cancel));
            text.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{plan.Settings.Count} settings, {count} seeds, {Stopwatch.GetElapsedTime(began).TotalSeconds:F0} s on {Environment.ProcessorCount} processors. The same tables: {Path.GetFullPath(ablation.File)}"));
        });
        return command;
    }

    private static AblationPlan Tiny => new() { Scenes = 64, EvaluationScenes = 16, Options = ["--batch", "16", "--warmup-steps", "1", "--steps", "2"] };
}
