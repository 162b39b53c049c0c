// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.Json.Nodes;
using Spectre.Console;

namespace HiMo.Trainer;

/// <summary>Measures as a table for people.</summary>
internal static class EvaluationTable
{
    /// <summary>Prints what an evaluation gave.</summary>
    /// <param name="result">From <see cref="ProtocolEvaluation"/>.</param>
    /// <param name="writer">Receives the table.</param>
    public static void Print(JsonObject result, TextWriter writer)
    {
        if (result.ContainsKey("retrieval"))
        {
            PrintGrowing(result, writer);
            return;
        }

        Table table = new Table().Border(TableBorder.Simple).AddColumn("").AddColumn(new TableColumn("").RightAligned()).AddColumn(new TableColumn("95 % interval").RightAligned());
        foreach ((string name, JsonNode? value) in result.Where(pair => pair.Value?.GetValueKind() == System.Text.Json.JsonValueKind.Number))
        {
            bool share = name.Contains("R@", StringComparison.Ordinal) || name.Contains("top-", StringComparison.Ordinal) || name is "accuracy" or "himo@2" or "himo@3";
            bool real = share || name.Contains('@', StringComparison.Ordinal) || name.EndsWith("rank", StringComparison.Ordinal);
            table.AddRow(name.Replace('_', ' ') + (share ? ", %" : ""), share ? Percent(value) : real ? Number(value) : value!.ToString(), share ? Interval(result, name, (double)value!) : "");
        }

        AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(writer) }).Write(table);
    }

    /// <summary>Where the true share may lie, for the number of queries that the result names.</summary>
    private static string Interval(JsonObject result, string name, double share)
    {
        string queries = name.StartsWith("text_to_image", StringComparison.Ordinal) ? "texts" : name == "accuracy" ? "pairs" : "images";
        if (result[queries] is not { } count || name.StartsWith("mean_class", StringComparison.Ordinal))
        {
            return ""; // a mean over classes is no share of independent queries
        }

        (double low, double high) = Wilson.Interval(share, (int)count);
        return $"{Percent(low)} to {Percent(high)}";
    }

    private static void PrintGrowing(JsonObject result, TextWriter writer)
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
