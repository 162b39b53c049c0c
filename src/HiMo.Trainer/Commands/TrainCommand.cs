// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary><c>train</c>: fine-tunes a checkpoint, or trains a small model from nothing.</summary>
internal static class TrainCommand
{
    public static Command Create()
    {
        Option<string> data = new("--data") { Description = "Data folder, ShareGPT4V .json, .tsv or .csv with a header, or tar shards such as data/{00000..00099}.tar.", Required = true, HelpName = "DIR" };
        Option<string> output = new("--out") { Description = "Folder of the run.", Required = true, HelpName = "RUN" };
        Option<bool> resume = new("--resume") { Description = "Continue the run in --out from its newest checkpoint; start it where there is none." };
        Option<string> vocabulary = new("--vocab") { Description = "CLIP's vocabulary, for models without words of their own.", HelpName = "FILE" };
        Option<OnOff> evaluate = ChoiceOption.Create("--evaluate", OnOff.On, "Whether the model is measured, on the data's evaluation split or on the records of --held-out.");
        Option<bool> stopWithInput = new("--stop-with-input") { Description = "Stop, as on Ctrl-C, when standard input ends.", Hidden = true };
        TrainOptionSet hyperparameters = new();
        Command command = new("train", "Fine-tune a checkpoint with the HiMo or the plain loss, or train a small one from nothing.")
        {
            data, output, resume, vocabulary, evaluate, stopWithInput,
        };
        hyperparameters.AddTo(command);
        command.Set((parse, cancel) =>
        {
            TextWriter messages = parse.InvocationConfiguration.Error;
            using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            if (parse.GetValue(stopWithInput))
            {
                StopWithInput(stop);
            }

            using TrainingRun run = TrainingRun.Open(
                parse.GetRequiredValue(output), hyperparameters.Read(parse, parse.GetRequiredValue(data)), parse.GetValue(resume));
            RunTraining.Execute(run, parse.GetValue(vocabulary), parse.GetValue(evaluate) == OnOff.On, messages, stop.Token);
        });
        return command;
    }

    /// <summary>A parent that holds the other end of standard input stops this process by closing it, or by ending.</summary>
    private static void StopWithInput(CancellationTokenSource stop)
    {
        Thread watcher = new(() =>
        {
            Console.OpenStandardInput().CopyTo(Stream.Null);
            stop.Cancel();
        })
        { IsBackground = true };
        watcher.Start();
    }
}
