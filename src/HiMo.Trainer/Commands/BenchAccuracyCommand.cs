// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using HiMo.Interop;

namespace HiMo.Trainer;

/// <summary><c>bench accuracy</c>: errors of the float32 operator and of the plain forms against float64.</summary>
internal static class BenchAccuracyCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<int> each = BenchOptions.Number("--spectra", 200, "S", "Random batches: power-law, flat, clustered spectra, and near-ties at the cut, as many of each.");
        Option<string> golden = new("--golden") { Description = "Folder of the authors' stored losses; left out if it is missing.", HelpName = "DIR", DefaultValueFactory = _ => GoldenInput.DefaultFolder };
        Option<int> maxRows = BenchOptions.Number("--max-rows", 128, "N", "Stored batches of more rows are left out.");
        Option<bool> json = BenchOptions.Json();
        Command command = new("accuracy", "Errors of loss and gradients against float64: fused, and both plain forms in float32.") { each, golden, maxRows, json };
        command.Set((parse, cancel) =>
        {
            TorchLoader.EnsureLoaded();
            TextWriter error = parse.InvocationConfiguration.Error;
            string folder = parse.GetValue(golden)!;
            IEnumerable<AccuracyCase> stored = [];
            if (Directory.Exists(folder))
            {
                stored = GoldenInput.All(folder, BenchOptions.AtLeast(parse, maxRows, 1));
            }
            else
            {
                error.WriteLine($"himo: no folder {folder}; without the authors' stored batches");
            }

            AccuracyBenchmark benchmark = new();
            foreach (AccuracyCase given in SpectrumFamilies.All(BenchOptions.AtLeast(parse, each, 4) / 4).Concat(stored).Where(IsWithinRange))
            {
                cancel.ThrowIfCancellationRequested();
                benchmark.Add(given);
            }

            BenchmarkTable table = benchmark.ToTable();
            string[] notFinite = [.. benchmark.NotFinite], worse = [.. benchmark.Worse()];
            table.Notes.Add(("not_finite", $"A plain form is not finite on {notFinite.Length}: {string.Join("; ", notFinite)}", notFinite.Length));
            table.Notes.Add(("worse", $"Fused more than twice the better plain error on {worse.Length}:{string.Concat(worse.Select(line => "\n- " + line))}", worse.Length));
            table.Write(parse.InvocationConfiguration.Output, parse.GetValue(json));
        });
        return command;
    }

    private static bool IsWithinRange(AccuracyCase given) => given.LogitScale is >= -100.0 and <= 80.0;
}
