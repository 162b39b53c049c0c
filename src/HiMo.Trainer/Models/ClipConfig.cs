// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>The non-linearity between the two layers of every MLP.</summary>
public enum ClipActivation
{
    /// <summary>x * sigmoid(1.702 x): OpenAI's models and all fine-tuned from them.</summary>
    QuickGelu,

    /// <summary>The exact Gaussian error linear unit: most models trained with open_clip.</summary>
    Gelu,
}

/// <summary>The architecture of a CLIP with two transformers; heads are 64 wide, as in every published model.</summary>
public sealed record ClipConfig
{
    /// <summary>Width of one attention head.</summary>
    public const int HeadWidth = 64;

    /// <summary>Width of the shared embedding space, e.</summary>
    public required int EmbedDim { get; init; }

    /// <summary>Side of the square input images in pixels; a multiple of <see cref="PatchSize"/>.</summary>
    public required int ImageResolution { get; init; }

    /// <summary>Side of the square patches in pixels.</summary>
    public required int PatchSize { get; init; }

    /// <summary>Width of the image transformer; at most 64 or a multiple of it.</summary>
    public required int VisionWidth { get; init; }

    /// <summary>Blocks of the image transformer.</summary>
    public required int VisionLayers { get; init; }

    /// <summary>Width of the image transformer's hidden MLP layer; four times its width unless set.</summary>
    public int VisionMlpWidth { get => field != 0 ? field : 4 * VisionWidth; init; }

    /// <summary>Longest text in tokens, start and end included.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Number of token ids.</summary>
    public required int VocabSize { get; init; }

    /// <summary>Width of the text transformer; at most 64 or a multiple of it.</summary>
    public required int TextWidth { get; init; }

    /// <summary>Blocks of the text transformer.</summary>
    public required int TextLayers { get; init; }

    /// <summary>Width of the text transformer's hidden MLP layer; four times its width unless set.</summary>
    public int TextMlpWidth { get => field != 0 ? field : 4 * TextWidth; init; }

    /// <summary>
    /// True: positions 0 to 19 come from a frozen table <c>positional_embedding</c>, all others from the trained
    /// <c>positional_embedding_res</c>, as in Long-CLIP and HiMo-CLIP. False: one trained table.
    /// </summary>
    public bool HasFrozenPositions { get; init; }

    /// <summary>The activation of both MLPs.</summary>
    public ClipActivation Activation { get; init; }

    /// <summary>Patches along one side of an image.</summary>
    public int Grid => ImageResolution / PatchSize;

    /// <summary>Attention heads at a width: one for every 64, at least one.</summary>
    /// <param name="width">Width of the transformer.</param>
    public static int Heads(int width) => Math.Max(1, width / HeadWidth);

    /// <summary>Checks every value.</summary>
    /// <exception cref="ArgumentException">A value is impossible; the message names it.</exception>
    public void Validate()
    {
        Require(EmbedDim > 0, nameof(EmbedDim), EmbedDim, "must be positive");
        Require(PatchSize > 0, nameof(PatchSize), PatchSize, "must be positive");
        Require(ImageResolution > 0 && ImageResolution % PatchSize == 0, nameof(ImageResolution), ImageResolution, $"must be a positive multiple of the patch size {PatchSize}");
        Require(VisionLayers > 0, nameof(VisionLayers), VisionLayers, "must be positive");
        Require(TextLayers > 0, nameof(TextLayers), TextLayers, "must be positive");
        Require(VisionWidth > 0 && VisionWidth % Heads(VisionWidth) == 0, nameof(VisionWidth), VisionWidth, $"must be positive and, above {HeadWidth}, divide evenly into heads of about {HeadWidth}");
        Require(TextWidth > 0 && TextWidth % Heads(TextWidth) == 0, nameof(TextWidth), TextWidth, $"must be positive and, above {HeadWidth}, divide evenly into heads of about {HeadWidth}");
        Require(VisionMlpWidth > 0, nameof(VisionMlpWidth), VisionMlpWidth, "must be positive");
        Require(TextMlpWidth > 0, nameof(TextMlpWidth), TextMlpWidth, "must be positive");
        Require(VocabSize > 0, nameof(VocabSize), VocabSize, "must be positive");
        Require(ContextLength > (HasFrozenPositions ? PositionalTable.Frozen : 0), nameof(ContextLength), ContextLength, $"must be positive, above {PositionalTable.Frozen} with frozen positions");
        Require(Enum.IsDefined(Activation), nameof(Activation), Activation, "is no ClipActivation");
    }

    private static void Require<T>(bool condition, string name, T value, string must)
    {
        if (!condition)
        {
            throw new ArgumentException(FormattableString.Invariant($"{name} {must}; it is {value}."), name);
        }
    }
}
