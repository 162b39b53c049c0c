// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>What is measured, and from which files.</summary>
internal enum Protocol
{
    /// <summary>Every measure, on a data folder's evaluation split (or any file in HiMo-Docci's layout).</summary>
    Growing,

    /// <summary>Any pairs that training reads, a caption for each image: .tsv, .csv, ShareGPT4V's layout, tar shards.</summary>
    Pairs,

    /// <summary>First 1000 records of a ShareGPT4V file, one caption each.</summary>
    Sharegpt4v,

    /// <summary>image/NAME.jpg with the first line of caption/NAME.txt.</summary>
    Urban1k,

    /// <summary>DOCCI's test split.</summary>
    Docci,

    /// <summary>dci_long.csv, tab-separated filepath and title.</summary>
    LongDci,

    /// <summary>COCO's annotations, the first five captions of every image.</summary>
    Coco,

    /// <summary>The test split of Karpathy's dataset_coco.json (5,000 images of val2014) or dataset_flickr30k.json (1,000), the first five captions of every image.</summary>
    Karpathy,

    /// <summary>Flickr30k's token file, five captions of every image.</summary>
    Flickr30k,

    /// <summary>HiMo@2, @3 and @K on HiMo-Docci.</summary>
    HimoDocci,

    /// <summary>COLA's multi-object pairs: choosing the right one of two images for both captions.</summary>
    Cola,

    /// <summary>Zero-shot classification of images in one folder a class.</summary>
    ZeroShot,
}

/// <summary>In which precision a set is scored.</summary>
internal enum Parity
{
    /// <summary>float32 throughout.</summary>
    None,

    /// <summary>
    /// As the authors' scripts on a GPU: products in float16, unit features and similarities rounded to float16. Different scores become equal then,
    /// which changes ranks.
    /// </summary>
    F16,
}

/// <summary>What to evaluate on, and what its files do not say.</summary>
/// <param name="Protocol">Which set it is.</param>
/// <param name="Data">Its folder or file.</param>
internal sealed record EvaluationRequest(Protocol Protocol, string Data)
{
    /// <summary>Folder of the images, or null for the set's usual place.</summary>
    public string? Images { get; init; }

    /// <summary>The precision of features and scores.</summary>
    public Parity Parity { get; init; }

    /// <summary>Pairs: columns of a .tsv or .csv file, or null for the usual ones.</summary>
    public CaptionColumns? Columns { get; init; }

    /// <summary>Zero-shot: file of prompt templates, or null for one.</summary>
    public string? Templates { get; init; }

    /// <summary>Zero-shot: file of class names, or null for the folder's own.</summary>
    public string? Classes { get; init; }
}
