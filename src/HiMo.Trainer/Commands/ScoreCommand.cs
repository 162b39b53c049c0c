// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary><c>score</c>: is a fuller caption more similar to its image?</summary>
internal static class ScoreCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Argument<string> image = new("image") { Description = "A JPEG, PNG or WebP file.", HelpName = "IMAGE" };
        Argument<string[]> texts = new("text") { Description = "Captions that grow; a single one is split into sentences and given sentence by sentence.", HelpName = "TEXT", Arity = ArgumentArity.OneOrMore };
        ModelOptions options = new();
        Option<bool> json = new("--json") { Description = "Prints JSON instead of the chart." };
        Command command = new("score", "Similarities of an image with a caption that grows, drawn in the terminal.") { image, texts, json };
        options.AddTo(command);
        command.Set((parse, _) =>
        {
            IReadOnlyList<string> captions = CaptionScore.Grow(parse.GetRequiredValue(texts));
            (ClipModel model, ITokenizer tokenizer) = options.Load(parse);
            using ClipModel loaded = model;
            CaptionScore score = CaptionScore.Measure(model, tokenizer, parse.GetRequiredValue(image), captions);
            TextWriter output = parse.InvocationConfiguration.Output;
            if (parse.GetValue(json))
            {
                JsonObject result = score.ToJson();
                result.Insert(0, "checkpoint", options.Checkpoint(parse));
                output.WriteLine(result.ToJsonString(JsonText.Readable));
                return;
            }

            foreach (string line in TrendChart.Lines(score))
            {
                output.WriteLine(line);
            }
        });
        return command;
    }
}
