// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>One column of a table of the paper: a measure of a set.</summary>
/// <param name="Set">The set's name.</param>
/// <param name="Label">What is measured.</param>
/// <param name="Protocol">The protocol of <c>eval</c> that measures it.</param>
/// <param name="Key">The measure's name in its result.</param>
/// <param name="Scale">100 for shares shown as percent, else 1.</param>
/// <param name="Queries">Name of the number of queries, for the interval of a share; null where it is none.</param>
internal sealed record PaperColumn(string Set, string Label, Protocol Protocol, string Key, double Scale = 100, string? Queries = null);

/// <summary>A row as it was published; null where the number is not at hand.</summary>
/// <param name="Method">Method and backbone.</param>
/// <param name="Values">One per column, as printed.</param>
internal sealed record PaperRow(string Method, double?[] Values);

/// <summary>A table in the paper's layout.</summary>
/// <param name="Title">What it shows.</param>
/// <param name="Columns">Its columns.</param>
/// <param name="Published">The paper's rows.</param>
internal sealed record PaperTable(string Title, IReadOnlyList<PaperColumn> Columns, IReadOnlyList<PaperRow> Published);

/// <summary>The layouts of tables 1 to 3 with the numbers that the paper gives for CLIP and HiMo-CLIP.</summary>
internal static class PaperTables
{
    /// <summary>Where the published rows come from.</summary>
    public const string Source = "HiMo-CLIP, arXiv:2511.06653";

    /// <summary>Long texts, short texts, semantic hierarchy.</summary>
    public static IReadOnlyList<PaperTable> All { get; } =
    [
        new PaperTable(
            "Retrieval with long texts, R@1 in %",
            [.. Pair("Urban1k", Protocol.Urban1k), .. Pair("DOCCI", Protocol.Docci), .. Pair("Long-DCI", Protocol.LongDci)],
            [
                new PaperRow("CLIP, L/14", [68.7, 52.8, 57.5, 60.7, 33.4, 31.3]),
                new PaperRow("HiMo-CLIP, B/16", [89.2, 89.6, 77.8, 79.9, 58.6, 57.1]),
                new PaperRow("HiMo-CLIP, L/14", [93.0, 93.1, 82.4, 84.4, 62.2, 61.9]),
            ]),
        new PaperTable(
            "Retrieval with short texts, R@1 in %",
            [.. Pair("Flickr30k", Protocol.Flickr30k), .. Pair("COCO", Protocol.Coco)],
            [
                new PaperRow("CLIP, L/14", [86.1, 66.0, 56.1, 35.4]),
                new PaperRow("HiMo-CLIP, B/16", [88.4, 72.1, 60.6, 40.8]),
                new PaperRow("HiMo-CLIP, L/14", [92.5, 78.2, 65.1, 47.2]),
            ]),
        new PaperTable(
            "Semantic hierarchy",
            [
                new PaperColumn("HiMo-Docci", "HiMo@2, %", Protocol.HimoDocci, "himo@2", Queries: "images"),
                new PaperColumn("HiMo-Docci", "HiMo@3, %", Protocol.HimoDocci, "himo@3", Queries: "images"),
                new PaperColumn("HiMo-Docci", "HiMo@K", Protocol.HimoDocci, "himo@K", Scale: 1),
                new PaperColumn("COLA multi-objects", "accuracy, %", Protocol.Cola, "accuracy", Queries: "pairs"),
            ],
            [
                new PaperRow("CLIP, L/14", [null, null, 0.43, 27.6]),
                new PaperRow("HiMo-CLIP, L/14", [97.9, 64.2, 0.88, 38.6]),
            ]),
    ];

    private static PaperColumn[] Pair(string set, Protocol protocol) =>
    [
        new(set, "I2T", protocol, "image_to_text_R@1", Queries: "images"),
        new(set, "T2I", protocol, "text_to_image_R@1", Queries: "texts"),
    ];
}
