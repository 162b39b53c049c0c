// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary><c>dataset check</c>: every caption read, every image looked at.</summary>
internal static class DatasetCheckCommand
{
    private const int Shown = 20;

    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string> data = new("--data") { Description = "Training data as train reads them, or an evaluation set with --protocol.", HelpName = "DIR", Required = true };
        Option<Protocol> protocol = ChoiceOption.Create("--protocol", Protocol.Growing, "An evaluation set, by its name in eval, instead of training data.");
        protocol.Description = "An evaluation set, by its name in eval, instead of training data.";
        Option<string?> images = new("--images") { Description = "Folder of the images. [the set's usual one]", HelpName = "DIR" };
        Option<string> imageColumn = CaptionColumnOptions.Image(), captionColumn = CaptionColumnOptions.Caption();
        Option<bool> decode = new("--decode") { Description = "Decode every image; otherwise only headers are read." };
        Command command = new("check", "Say what is missing or broken in a data set before a run.") { data, protocol, images, imageColumn, captionColumn, decode };
        command.Set((parse, cancel) =>
        {
            CaptionColumns columns = new(parse.GetValue(imageColumn)!, parse.GetValue(captionColumn)!);
            (IEnumerable<string> paths, IReadOnlyCollection<string> captions, int blank) =
                Read(parse.GetRequiredValue(data), parse.GetResult(protocol) is { Implicit: false } ? parse.GetValue(protocol) : null, parse.GetValue(images), columns);
            Progress? progress = null;
            DatasetCheck check = DatasetCheck.Run(paths, captions, blank, parse.GetValue(decode), count => (progress = new Progress("images", count, parse.InvocationConfiguration.Error)).Report, cancel);
            progress?.Dispose();
            TextWriter output = parse.InvocationConfiguration.Output;
            foreach (string problem in check.Problems.Take(Shown))
            {
                output.WriteLine(problem);
            }

            if (check.Problems.Count > Shown)
            {
                output.WriteLine($"... and {check.Problems.Count - Shown} more");
            }

            output.WriteLine($"{check.Images} images, {check.Captions} captions; {check.Problems.Count} images missing or broken, {check.BlankCaptions} captions blank");
            if (!check.IsSound)
            {
                throw new UserError($"{parse.GetRequiredValue(data)}: is not sound, see above");
            }
        });
        return command;
    }

    private static (IEnumerable<string> Images, IReadOnlyCollection<string> Captions, int Blank) Read(string path, Protocol? protocol, string? imageRoot, CaptionColumns columns)
    {
        switch (protocol)
        {
            case null:
                CaptionDataset data = CaptionDataset.Load(path, imageRoot, columns);
                CaptionRecord[] records = [.. Enumerable.Range(0, data.Count).Select(i => data[i])];
                return (records.Select(record => record.ImagePath), [.. records.Select(record => record.Caption)], data.Blank);
            case Protocol.Growing or Protocol.HimoDocci:
                List<GrowingCaption> growing = GrowingCaptions.Load(path, imageRoot);
                return (growing.Select(caption => caption.ImagePath), [.. growing.SelectMany(caption => caption.Captions)], 0);
            case Protocol.Cola:
                List<ColaPair> pairs = ColaPairs.Load(path, imageRoot);
                return (pairs.SelectMany(pair => new[] { pair.FirstImage, pair.SecondImage }), [.. pairs.SelectMany(pair => new[] { pair.FirstCaption, pair.SecondCaption })], 0);
            case Protocol.ZeroShot:
                ImageFolder folder = ImageFolder.Load(path, namesFile: null);
                return (folder.Images, folder.Names.ToArray(), 0);
            default:
                RetrievalSet set = RetrievalSets.Load(protocol.Value, path, imageRoot, columns);
                return (set.Images, set.Captions.ToArray(), 0);
        }
    }
}
