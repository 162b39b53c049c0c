// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Something that scenes choose at random: its name in captions and its weight.</summary>
internal readonly record struct Choice(string Name, double Weight);

/// <summary>A colour with its red, green and blue from 0 to 1.</summary>
internal readonly record struct Colour(string Name, double Weight, float Red, float Green, float Blue);

/// <summary>Everything that scenes are made of, and the words that their captions use.</summary>
internal static class SceneVocabulary
{
    public static readonly Colour[] Colours =
    [
        new("red", 0.20, 0.90f, 0.15f, 0.15f), new("green", 0.18, 0.15f, 0.75f, 0.20f),
        new("blue", 0.15, 0.20f, 0.35f, 0.95f), new("yellow", 0.14, 0.95f, 0.90f, 0.20f),
        new("purple", 0.11, 0.60f, 0.20f, 0.75f), new("orange", 0.09, 0.98f, 0.55f, 0.10f),
        new("cyan", 0.07, 0.20f, 0.90f, 0.90f), new("white", 0.06, 1.00f, 1.00f, 1.00f),
    ];

    public static readonly Colour[] Backgrounds =
    [
        new("black", 0.30, 0.05f, 0.05f, 0.05f), new("gray", 0.22, 0.45f, 0.45f, 0.45f),
        new("navy", 0.18, 0.05f, 0.08f, 0.35f), new("brown", 0.12, 0.35f, 0.20f, 0.10f),
        new("teal", 0.10, 0.05f, 0.35f, 0.35f), new("pink", 0.08, 0.85f, 0.55f, 0.65f),
    ];

    /// <summary>In the order of <see cref="Shape"/>.</summary>
    public static readonly Choice[] Shapes =
        [new("circle", 0.24), new("square", 0.22), new("triangle", 0.18), new("cross", 0.14), new("ring", 0.12), new("diamond", 0.10)];

    /// <summary>In the order of <see cref="Texture"/>.</summary>
    public static readonly Choice[] Textures = [new("solid", 0.60), new("striped", 0.22), new("dotted", 0.18)];

    /// <summary>In the order of <see cref="Ground"/>.</summary>
    public static readonly Choice[] Grounds = [new("plain", 0.50), new("checkered", 0.25), new("lined", 0.25)];

    /// <summary>In the order of <see cref="Light"/>.</summary>
    public static readonly Choice[] Lights = [new("normal", 0.70), new("dim", 0.15), new("bright", 0.15)];

    /// <summary>Indices into <see cref="Colours"/> of the colours that a border may have.</summary>
    public static readonly int[] BorderColours = [7, 0, 2, 3];

    public static readonly string[] Counts = ["Zero", "One", "Two", "Three", "Four", "Five"];

    public static readonly string[] Rows = ["top", "middle", "bottom"];

    public static readonly string[] Columns = ["left", "center", "right"];

    /// <summary>One word from each slot and a full stop make a sentence that says nothing about the image.</summary>
    public static readonly string[][] Filler =
    [
        ["The"],
        ["lovely", "serene", "vivid", "curious", "modern", "abstract", "playful", "quiet", "bold", "subtle",
            "striking", "simple", "elegant", "dreamy", "rustic", "crisp", "gentle", "odd", "warm", "cool"],
        ["composition", "atmosphere", "arrangement", "design", "image", "view", "artwork", "setting"],
        ["feels", "seems", "evokes", "suggests", "appears", "conveys"],
        ["calm", "joyful", "nostalgic", "mysterious", "balanced", "harmonious", "energetic", "timeless", "inviting", "peaceful",
            "dramatic", "whimsical", "cozy", "festive", "solemn", "hopeful", "tense", "airy", "rich", "spare"],
    ];

    /// <summary>The full stop and all words in alphabetical order, without the special tokens of <see cref="WordTokenizer.Layout"/>.</summary>
    public static readonly string[] Words =
    [
        ".",
        .. Colours.Select(colour => colour.Name)
            .Concat(Backgrounds.Select(colour => colour.Name))
            .Concat(new[] { Shapes, Textures, Grounds, Lights }.SelectMany(choices => choices.Select(choice => choice.Name)))
            .Concat(Counts[3..]).Concat(Rows).Concat(Columns).Concat(Filler.SelectMany(slot => slot))
            .Concat("a shapes with on at background is border surrounds it light large small".Split(' '))
            .Select(word => word.ToLowerInvariant()).Distinct().Order(StringComparer.Ordinal),
    ];
}
