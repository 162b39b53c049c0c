// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.RegularExpressions;

namespace HiMo.Trainer;

/// <summary>Infers a model's architecture from the shapes of its tensors and compares the whole with it.</summary>
internal static partial class Architecture
{
    private const int MaxLayers = 1000;

    /// <summary>The architecture; heads are 64 wide because no file says otherwise.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="shapes">All tensors by OpenAI's names.</param>
    /// <param name="activation">What the file or its configuration says.</param>
    /// <exception cref="UserError">Tensors are missing, left over or misshapen; the message lists every one.</exception>
    public static ClipConfig Infer(string path, IReadOnlyDictionary<string, long[]> shapes, ClipActivation activation)
    {
        RefuseOthers(path, shapes);
        long[] conv = Shape(shapes, "visual.conv1.weight", 4), projection = Shape(shapes, "text_projection", 2);
        long[] positions = Shape(shapes, ClipShapes.Positions, 2), tokens = Shape(shapes, "token_embedding.weight", 2);
        long[] grid = Shape(shapes, "visual.positional_embedding", 2);
        int visionLayers = Layers(shapes, VisionBlock()), textLayers = Layers(shapes, TextBlock());
        long side = (long)Math.Round(Math.Sqrt(Math.Max(0L, grid[0] - 1)));
        ClipConfig config;
        try
        {
            config = new ClipConfig
            {
                EmbedDim = checked((int)projection[1]),
                ImageResolution = checked((int)(conv[3] * side)),
                PatchSize = checked((int)conv[3]),
                VisionWidth = checked((int)conv[0]),
                VisionLayers = visionLayers,
                VisionMlpWidth = checked((int)Shape(shapes, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0]),
                ContextLength = checked((int)positions[0]),
                VocabSize = checked((int)tokens[0]),
                TextWidth = checked((int)tokens[1]),
                TextLayers = textLayers,
                TextMlpWidth = checked((int)Shape(shapes, "transformer.resblocks.0.mlp.c_fc.weight", 2)[0]),
                HasFrozenPositions = shapes.ContainsKey(ClipShapes.TrainedPositions),
                Activation = activation,
            };
            config.Validate();
        }
        catch (Exception failure) when (failure is ArgumentException or OverflowException)
        {
            string listed = string.Join(", ", s_decisive.Select(name => $"{name} {(shapes.TryGetValue(name, out long[]? shape) ? Text(shape) : "missing")}"));
            throw new UserError($"{path}: these shapes are no CLIP with two transformers ({failure.Message}): {listed}", failure);
        }

        Compare(path, shapes, config);
        return config;
    }

    private static readonly string[] s_decisive =
        ["visual.conv1.weight", "visual.positional_embedding", ClipShapes.Positions, "token_embedding.weight", "text_projection",
            "visual.transformer.resblocks.0.mlp.c_fc.weight", "transformer.resblocks.0.mlp.c_fc.weight"];

    private static void RefuseOthers(string path, IReadOnlyDictionary<string, long[]> shapes)
    {
        if (shapes.ContainsKey("logit_bias"))
        {
            throw new UserError($"{path}: has a logit_bias, so it is a SigLIP model, trained with another loss; use a CLIP checkpoint");
        }

        if (shapes.Keys.Any(name => name.StartsWith("visual.layer1.", StringComparison.Ordinal) || name.StartsWith("visual.attnpool.", StringComparison.Ordinal)))
        {
            throw new UserError($"{path}: its image tower is a ResNet; only vision transformers are supported (ViT-B/32, ViT-B/16, ViT-L/14 ...)");
        }
    }

    private static void Compare(string path, IReadOnlyDictionary<string, long[]> shapes, ClipConfig config)
    {
        List<string> problems = [];
        HashSet<string> expected = [];
        foreach ((string name, long[] shape) in ClipShapes.Of(config))
        {
            _ = expected.Add(name);
            if (!shapes.TryGetValue(name, out long[]? actual))
            {
                problems.Add($"missing {name} {Text(shape)}");
            }
            else if (!actual.AsSpan().SequenceEqual(shape))
            {
                problems.Add($"{name} is {Text(actual)} instead of {Text(shape)}");
            }
        }

        problems.AddRange(shapes.Keys.Where(name => !expected.Contains(name)).Select(name => $"unknown {name} {Text(shapes[name])}"));
        if (problems.Count > 0)
        {
            throw new UserError($"{path}: {problems.Count} tensors do not fit the architecture that the others describe:{string.Concat(problems.Select(problem => $"\n  {problem}"))}");
        }
    }

    /// <summary>The shape, or zeros of the given rank, which no architecture has.</summary>
    private static long[] Shape(IReadOnlyDictionary<string, long[]> shapes, string name, int rank) =>
        shapes.TryGetValue(name, out long[]? shape) && shape.Length == rank ? shape : new long[rank];

    /// <summary>One more than the highest block, so that a block missing below it is reported.</summary>
    private static int Layers(IReadOnlyDictionary<string, long[]> shapes, Regex block) => shapes.Keys
        .Select(name => block.Match(name))
        .Where(match => match.Success && int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture) < MaxLayers)
        .Select(match => int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture) + 1)
        .DefaultIfEmpty(0)
        .Max();

    internal static string Text(long[] shape) => $"[{string.Join(", ", shape)}]";

    [GeneratedRegex(@"^visual\.transformer\.resblocks\.(\d{1,6})\.")]
    private static partial Regex VisionBlock();

    [GeneratedRegex(@"^transformer\.resblocks\.(\d{1,6})\.")]
    private static partial Regex TextBlock();
}
