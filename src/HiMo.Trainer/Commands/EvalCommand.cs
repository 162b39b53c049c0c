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
        ModelOptions options = new();
        Option<string> data = new("--data") { Description = "Data folder with an evaluation split, or a file in HiMo-Docci's layout.", HelpName = "DIR", Required = true };
        Option<string?> output = new("--out") { Description = "Writes the measures to a JSON file.", HelpName = "FILE" };
        Option<bool> json = new("--json") { Description = "Prints JSON instead of the table." };
        Option<Protocol> protocol = ChoiceOption.Create("--protocol", Protocol.Growing, "Which set --data holds; growing takes every measure on a data folder's evaluation split.");
        Option<string?> images = new("--images") { Description = "Folder of the images, for protocols other than growing. [the set's usual one]", HelpName = "DIR" };
        Command command = new("eval", "Retrieval and HiMo measures of a checkpoint.") { data, protocol, images, output, json };
        options.AddTo(command);
        command.Set((parse, cancel) =>
        {
            (ClipModel model, ITokenizer tokenizer) = options.Load(parse);
            using ClipModel loaded = model;
            JsonObject result = Run(model, tokenizer, options.Checkpoint(parse), parse.GetValue(protocol), parse.GetRequiredValue(data), parse.GetValue(images), cancel);
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
        return Run(model, Tokenizers.For(model.Metadata, vocab, checkpoint), checkpoint, protocol, data, images, cancel);
    }

    private static JsonObject Run(ClipModel model, ITokenizer tokenizer, string checkpoint, Protocol protocol, string data, string? images, CancellationToken cancel)
    {
        JsonObject result = new ProtocolEvaluation(model, tokenizer, images).Run(protocol, data, cancel);
        result.Insert(0, "checkpoint", checkpoint);
        return result;
    }
}
