// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Spectre.Console;

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
        Command command = new("eval", "Retrieval and HiMo measures of a checkpoint on images with growing captions.") { checkpoint, data, output, json, context, vocab };
        command.Set((parse, cancel) =>
        {
            JsonObject result = Run(parse.GetRequiredValue(checkpoint), parse.GetRequiredValue(data), parse.GetValue(context), parse.GetValue(vocab), cancel);
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
                PrintTable(result, writer);
            }
        });
        return command;
    }

    /// <summary>Loads a checkpoint and measures it.</summary>
    /// <param name="checkpoint">The file.</param>
    /// <param name="data">Data folder or file.</param>
    /// <param name="context">Text positions, or null for the checkpoint's.</param>
    /// <param name="vocab">CLIP's vocabulary, or null.</param>
    /// <param name="cancel">Stops between batches.</param>
    /// <returns>What <c>eval.json</c> holds.</returns>
    /// <exception cref="UserError">A file is missing or damaged.</exception>
    public static JsonObject Run(string checkpoint, string data, int? context, string? vocab, CancellationToken cancel)
    {
        using ClipModel model = ClipModel.Load(checkpoint, context);
        ITokenizer tokenizer = Tokenizers.For(model.Metadata, vocab, checkpoint);
        EvaluationSet set = EvaluationSet.Load(data, model.Config.ImageResolution, cancel);
        JsonObject result = GrowingEvaluation.Run(model, tokenizer, set, cancel);
        result.Insert(0, "checkpoint", checkpoint);
        return result;
    }

    private static void PrintTable(JsonObject result, TextWriter writer)
    {
        Table table = new Table().Border(TableBorder.Simple).AddColumn("").AddColumn(new TableColumn("image to text").RightAligned()).AddColumn(new TableColumn("text to image").RightAligned());
        foreach ((string part, string label) in new[] { ("full", "whole captions"), ("half", "half captions"), ("gist", "first sentences") })
        {
            foreach (int k in new[] { 1, 5, 10 })
            {
                JsonNode recall = result["retrieval"]![part]!;
                Add($"{label}, R@{k}, %", Percent(recall[$"image_to_text_R@{k}"]), Percent(recall[$"text_to_image_R@{k}"]));
            }
        }

        foreach (JsonNode? entry in result["components"]!.AsArray())
        {
            Add($"{entry!["kept"]} text components, R@1, %", Percent(entry["image_to_text_R@1"]), Percent(entry["text_to_image_R@1"]));
        }

        Table growth = new Table().Border(TableBorder.Simple).AddColumn("").AddColumn(new TableColumn("similarity").RightAligned()).AddColumn(new TableColumn("less the average image").RightAligned());
        foreach (KeyValuePair<string, JsonNode?> measure in result["himo"]!.AsObject())
        {
            bool share = measure.Key is "himo@2" or "himo@3";
            JsonNode? margin = result["margin"]![measure.Key];
            growth.AddRow($"HiMo{measure.Key[4..]}{(share ? ", %" : ", Pearson")}", share ? Percent(measure.Value) : Number(measure.Value), share ? Percent(margin) : Number(margin));
        }

        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(writer) });
        console.Write(table);
        console.Write(growth);
        writer.WriteLine($"{result["gallery"]} images, {result["captions"]} captions ({result["truncated_captions"]} cut to the context); effective rank of the whole captions {((double)result["effective_rank"]!).ToString("0.0", CultureInfo.InvariantCulture)}");

        void Add(string label, string first, string second) => table.AddRow(label, first, second);
    }

    private static string Percent(JsonNode? share) => share is null ? "-" : (100 * (double)share).ToString("0.0", CultureInfo.InvariantCulture);

    private static string Number(JsonNode? value) => value is null ? "-" : ((double)value).ToString("0.000", CultureInfo.InvariantCulture);
}
