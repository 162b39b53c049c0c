// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary><c>himo checkpoint</c>: say what a file of weights is, write it for other programs.</summary>
internal static class CheckpointCommand
{
    private enum WeightType
    {
        Float32,
        Float16,
        Bfloat16,
    }

    /// <summary>The command with its options.</summary>
    public static Command Create() => new("checkpoint", "Say what a file of weights is, or write it for other programs.") { Inspect(), Export() };

    /// <summary>Prints what a file of weights is; returns whether it can be loaded.</summary>
    /// <param name="path">The file.</param>
    /// <param name="output">Receives the lines.</param>
    internal static bool Inspect(string path, TextWriter output)
    {
        CheckpointReport report = CheckpointInspector.Inspect(path);
        foreach ((string label, string text) in report.Lines())
        {
            output.WriteLine($"{label,-12}{text}");
        }

        return report.Problem is null;
    }

    private static Command Inspect()
    {
        Argument<string> file = new("FILE") { Description = "safetensors, torch.save, TorchScript, an index of shards, or a folder of them." };
        Command command = new("inspect", "Kind, hash, shapes and architecture, without loading the weights.") { file };
        command.SetAction(parse => Inspect(parse.GetRequiredValue(file), parse.InvocationConfiguration.Output) ? 0 : 1);
        return command;
    }

    private static Command Export()
    {
        Option<string> checkpoint = new("--checkpoint") { Description = "Weights of any kind that is read.", HelpName = "FILE", Required = true };
        Option<ExportFormat> format = ChoiceOption.Create("--format", ExportFormat.Safetensors, "For whom: one file in OpenAI's names, Long-CLIP's .pt, a folder for transformers, a folder for open_clip.");
        Option<int?> context = new("--context") { Description = "Text positions; 248 stretches a checkpoint of 77. [the checkpoint's own]", HelpName = "N" };
        Option<StretchPrecision> stretch = ChoiceOption.Create("--stretch", StretchPrecision.F32, "Rounding of stretched positions; f16 gives the authors' bits.");
        Option<ActivationChoice> activation = ActivationOption.Create();
        Option<WeightType> type = ChoiceOption.Create("--type", WeightType.Float32, "Type of the weights in the file.");
        Option<string> output = new("--out") { Description = "File to write, for hugging-face and open-clip a folder.", HelpName = "PATH", Required = true };
        Command command = new("export", "Write a checkpoint for other programs.") { checkpoint, format, context, stretch, activation, type, output };
        command.Set((parse, _) =>
        {
            using ClipModel model = ClipModel.Load(parse.GetRequiredValue(checkpoint), parse.GetValue(context), parse.GetValue(stretch), ActivationOption.Read(parse.GetValue(activation)));
            ScalarType stored = parse.GetValue(type) switch
            {
                WeightType.Float16 => ScalarType.Float16,
                WeightType.Bfloat16 => ScalarType.BFloat16,
                _ => ScalarType.Float32,
            };
            CheckpointExport.Write(model, parse.GetValue(format), parse.GetRequiredValue(output), stored);
        });
        return command;
    }
}
