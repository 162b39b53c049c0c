// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary><c>metrics</c>: the paper's measures of scores that come from anywhere.</summary>
internal static class MetricsCommand
{
    /// <summary>The command with its two subcommands.</summary>
    public static Command Create() => new("metrics", "Recall and HiMo measures of scores in .npy files, as JSON.") { CreateHiMo(), CreateRetrieval() };

    private static Command CreateHiMo()
    {
        Option<string> scores = new("--scores") { Description = "n x K: the similarity of each image with its K growing captions, f4 or f8.", HelpName = "FILE", Required = true };
        Command command = new("himo", "HiMo@2 or HiMo@3 (share of rows that rise strictly; K = 2 or 3) and HiMo@K (mean Pearson).") { scores };
        command.Set((parse, _) =>
        {
            string path = parse.GetRequiredValue(scores);
            NpyArray<double> array = NpyFile.Read<double>(path);
            if (array.Shape is not [>= 1, >= 2])
            {
                throw new UserError($"{path}: scores are n x K with at least one image and two captions; these are {array.ShapeText}");
            }

            parse.InvocationConfiguration.Output.WriteLine(HiMo(array.Elements, array.Shape[1], path).ToJsonString(JsonText.Readable));
        });
        return command;
    }

    private static Command CreateRetrieval()
    {
        Option<string> similarity = new("--similarity") { Description = "n x n: images are rows, texts columns, the pairs on the diagonal; f4 or f8.", HelpName = "FILE", Required = true };
        Command command = new("retrieval", "Recall@1, @5 and @10 in both directions; ties go to the lower index.") { similarity };
        command.Set((parse, _) =>
        {
            string path = parse.GetRequiredValue(similarity);
            NpyArray<double> array = NpyFile.Read<double>(path);
            if (array.Shape is not [>= 1 and int images, int texts] || texts != images)
            {
                throw new UserError($"{path}: similarities are n x n; these are {array.ShapeText}");
            }

            CheckNumbers(array.Elements, texts, path);
            parse.InvocationConfiguration.Output.WriteLine(Retrieval.Measure<double>(array.Elements, images, texts).ToJson().ToJsonString(JsonText.Readable));
        });
        return command;
    }

    private static JsonObject HiMo(double[] scores, int captions, string path)
    {
        CheckNumbers(scores, captions, path);
        int images = scores.Length / captions;
        int rising = 0;
        double correlation = 0;
        for (int image = 0; image < images; image++)
        {
            ReadOnlySpan<double> row = scores.AsSpan(image * captions, captions);
            rising += Growth.IsStrictlyRising(row) ? 1 : 0;
            correlation += Growth.Pearson(row);
        }

        JsonObject json = [];
        if (captions <= 3)
        {
            json[$"himo@{captions}"] = (double)rising / images;
        }

        json["himo@K"] = correlation / images;
        return json;
    }

    private static void CheckNumbers(double[] values, int columns, string path)
    {
        int bad = Array.FindIndex(values, value => !double.IsFinite(value));
        if (bad >= 0)
        {
            throw new UserError($"{path}: the value in row {bad / columns}, column {bad % columns} is {values[bad]}; all must be finite");
        }
    }
}
