// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary><c>eval</c>: every measure of a checkpoint on a data folder's evaluation split.</summary>
internal static class EvalCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string> checkpoint = new("--checkpoint") { Description = "The model: safetensors, a torch.save state dict or a TorchScript archive.", HelpName = "FILE", Required = true };
        Option<string> data = new("--data") { Description = "Data folder with an evaluation split, or a file in HiMo-Docci's layout.", HelpName = "DIR", Required = true };
        Option<string?> output = new("--out") { Description = "Writes the measures to a JSON file.", HelpName = "FILE" };
        Option<bool> json = new("--json") { Description = "Prints JSON instead of the table." };
        Option<int?> context = new("--context") { Description = "Text positions; 248 stretches a checkpoint with 77. [the checkpoint's]", HelpName = "N" };
        Option<string?> vocab = TokenizeCommand.VocabOption();
        Option<Protocol> protocol = ChoiceOption.Create("--protocol", Protocol.Growing, "Which set --data holds; growing takes every measure on a data folder's evaluation split.");
        Option<string?> images = new("--images") { Description = "Folder of the images, for protocols other than growing. [the set's usual one]", HelpName = "DIR" };
        Command command = new("eval", "Retrieval and HiMo measures of a checkpoint.") { checkpoint, data, protocol, images, output, json, context, vocab };
        command.Set((parse, cancel) =>
        {
            JsonObject result = Run(
                parse.GetRequiredValue(checkpoint), parse.GetRequiredValue(data), parse.GetValue(context), parse.GetValue(vocab), cancel,
                parse.GetValue(protocol), parse.GetValue(images));
            if (parse.GetValue(output) is { } file)
            {
                AtomicFile.WriteText(file, result.ToJsonString(JsonText.Readable) + "\n");
            }

            TextWriter writer = parse.InvocationConfiguration.Output;
            if (parse.GetValue(json))
            {
                writer.WriteLine(result.ToJsonString(JsonText.Readable));
            }
            else
            {
                EvaluationTable.Print(result, writer);
            }
        });
        return command;
    }

    /// <summary>Loads a checkpoint and measures it.</summary>
    /// <param name="checkpoint">The file.</param>
    /// <param name="data">The set's folder or file.</param>
    /// <param name="context">Text positions, or null for the checkpoint's.</param>
    /// <param name="vocab">CLIP's vocabulary, or null.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <param name="protocol">Which set it is.</param>
    /// <param name="images">Folder of the images, or null for the set's usual one.</param>
    /// <returns>What <c>eval.json</c> holds.</returns>
    /// <exception cref="UserError">A file is missing or damaged.</exception>
    public static JsonObject Run(
        string checkpoint, string data, int? context, string? vocab, CancellationToken cancel, Protocol protocol = Protocol.Growing, string? images = null)
    {
        using ClipModel model = ClipModel.Load(checkpoint, context);
        ITokenizer tokenizer = Tokenizers.For(model.Metadata, vocab, checkpoint);
        JsonObject result = new ProtocolEvaluation(model, tokenizer, images).Run(protocol, data, cancel);
        result.Insert(0, "checkpoint", checkpoint);
        return result;
    }
}
