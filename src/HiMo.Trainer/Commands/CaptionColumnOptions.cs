// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary>The options that name the columns of .tsv and .csv files.</summary>
internal static class CaptionColumnOptions
{
    private static readonly CaptionColumns s_usual = new();

    /// <summary><c>--image-column</c>.</summary>
    public static Option<string> Image() => Create("--image-column", "Column of a .tsv or .csv file that holds the image's path.", s_usual.Image);

    /// <summary><c>--caption-column</c>.</summary>
    public static Option<string> Caption() => Create("--caption-column", "Column of a .tsv or .csv file that holds the caption.", s_usual.Caption);

    private static Option<string> Create(string name, string description, string usual) =>
        new(name) { Description = $"{description} [{usual}]", HelpName = "NAME", DefaultValueFactory = _ => usual };
}
