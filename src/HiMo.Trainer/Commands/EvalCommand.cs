// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary><c>eval</c>: every measure of a checkpoint on a data folder's evaluation split.</summary>
internal static class EvalCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        ModelOptions options = new();
        Option<string> data = new("--data") { Description = "What --protocol says; without it a data folder with an evaluation split, or a file in HiMo-Docci's layout.", HelpName = "DIR", Required = true };
        Option<string?> output = new("--out") { Description = "Writes the measures to a JSON file.", HelpName = "FILE" };
        Option<bool> json = new("--json") { Description = "Prints JSON instead of the table." };
        Option<Protocol> protocol = ChoiceOption.Create("--protocol", Protocol.Growing, "Which set --data holds; growing takes every measure on a data folder's evaluation split.");
        Option<string?> images = new("--images") { Description = "Folder of the images. [the set's usual one]", HelpName = "DIR" };
        Option<string> imageColumn = CaptionColumnOptions.Image(), captionColumn = CaptionColumnOptions.Caption();
        Option<Parity> parity = ChoiceOption.Create("--parity", Parity.None, "f16 scores as the authors' scripts do on a GPU, with the ties that float16 makes.");
        Option<string?> templates = new("--templates") { Description = $"Zero-shot: file of prompts, one a line, {{}} for the class. [{ZeroShot.DefaultTemplate}]", HelpName = "FILE" };
        Option<string?> classes = new("--classes") { Description = $"Zero-shot: file with folder and name of every class, as ImageNet's LOC_synset_mapping.txt. [{ImageFolder.NamesFile} of the folder, else the folders' names]", HelpName = "FILE" };
        Option<string?> records = new("--records") { Description = "Writes one JSON object per query: its rank, the answer, what came first.", HelpName = "FILE" };
        Command command = new("eval", "Retrieval, HiMo measures or zero-shot classification of a checkpoint, by a published set's own protocol.") { data, protocol, images, imageColumn, captionColumn, parity, templates, classes, output, records, json };
        options.AddTo(command);
        command.Set((parse, cancel) =>
        {
            (ClipModel model, ITokenizer tokenizer) = options.Load(parse);
            using ClipModel loaded = model;
            EvaluationRequest request = new(parse.GetValue(protocol), parse.GetRequiredValue(data))
            {
                Images = parse.GetValue(images), Columns = new CaptionColumns(parse.GetValue(imageColumn)!, parse.GetValue(captionColumn)!), Parity = parse.GetValue(parity), Templates = parse.GetValue(templates), Classes = parse.GetValue(classes),
            };
            JsonObject result = QueryRecords.Write(parse.GetValue(records), record => Run(model, tokenizer, options.Checkpoint(parse), request, record, cancel, parse.InvocationConfiguration.Error));
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

    /// <summary>Loads a checkpoint onto a device and measures it.</summary>
    /// <param name="checkpoint">The file.</param>
    /// <param name="data">The set's folder or file.</param>
    /// <param name="context">Text positions, or null for the checkpoint's.</param>
    /// <param name="vocab">CLIP's vocabulary, or null.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <param name="protocol">Which set it is.</param>
    /// <param name="images">Folder of the images, or null for the set's usual one.</param>
    /// <param name="device">Where the encoders run; null is the CPU.</param>
    /// <returns>What <c>eval.json</c> holds.</returns>
    /// <exception cref="UserError">A file is missing or damaged.</exception>
    public static JsonObject Run(
        string checkpoint, string data, int? context, string? vocab, CancellationToken cancel, Protocol protocol = Protocol.Growing, string? images = null, Device? device = null)
    {
        using ClipModel model = ClipModel.Load(checkpoint, context).to(device ?? CPU);
        return Run(model, Tokenizers.For(model.Metadata, vocab, checkpoint), checkpoint, new EvaluationRequest(protocol, data) { Images = images }, record: null, cancel);
    }

    private static JsonObject Run(ClipModel model, ITokenizer tokenizer, string checkpoint, EvaluationRequest request, Action<JsonObject>? record, CancellationToken cancel, TextWriter? messages = null)
    {
        JsonObject result = new ProtocolEvaluation(model, tokenizer, record, messages).Run(request, cancel);
        result.Insert(0, "checkpoint", checkpoint);
        return result;
    }
}
