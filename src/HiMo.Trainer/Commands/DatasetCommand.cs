// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary><c>dataset synthesize</c>, a data folder of painted scenes, and <c>dataset check</c>.</summary>
internal static class DatasetCommand
{
    public static Command Create()
    {
        Option<string> folder = new("--out") { Description = "Folder to create.", Required = true, HelpName = "DIR" };
        Option<int> count = new("--count") { Description = "Training scenes.", DefaultValueFactory = _ => 30_000, HelpName = "N" };
        Option<long> seed = new("--seed") { Description = "Chooses all scenes.", DefaultValueFactory = _ => 2, HelpName = "S" };
        Option<int> threads = new("--threads") { Description = "Worker threads; 0 takes one per processor. Does not change the result.", HelpName = "T" };
        Option<int> evaluation = new("--eval-count") { Description = "Held-out scenes.", DefaultValueFactory = _ => SyntheticDataset.EvaluationCount, HelpName = "N" };
        Command synthesize = new("synthesize", "Paint scenes of three to five objects with captions of five to nine sentences, in ShareGPT4V's layout.")
        {
            folder, count, seed, threads, evaluation,
        };
        synthesize.Set((parse, cancel) =>
        {
            int scenes = Positive(parse.GetValue(count), "--count"), heldOut = Positive(parse.GetValue(evaluation), "--eval-count");
            string path = parse.GetRequiredValue(folder);
            using Progress progress = new("scenes", scenes + heldOut, parse.InvocationConfiguration.Error);
            bool written = SyntheticDataset.Write(path, scenes, parse.GetValue(seed), parse.GetValue(threads), heldOut, progress.Report, cancel);
            progress.Dispose();
            parse.InvocationConfiguration.Error.WriteLine(
                written ? $"{path}: {scenes} training and {heldOut} evaluation scenes" : $"{path}: is complete already, nothing to do");
        });
        return new Command("dataset", "Make a data set, or check one.") { synthesize, DatasetCheckCommand.Create() };
    }

    private static int Positive(int value, string option) =>
        value is >= 1 and <= 1_000_000 ? value : throw new UserError($"{option} {value}: from 1 to 1000000 scenes can be made");
}
