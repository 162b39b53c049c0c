// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Name and shape of every tensor of a CLIP, in the order and with the names of OpenAI's files.</summary>
internal static class ClipShapes
{
    public const string Positions = "positional_embedding";
    public const string TrainedPositions = "positional_embedding_res";
    public const string LogitScale = "logit_scale";

    /// <summary>All tensors that a model of this architecture consists of.</summary>
    /// <param name="config">The architecture.</param>
    public static IEnumerable<(string Name, long[] Shape)> Of(ClipConfig config)
    {
        long vision = config.VisionWidth, text = config.TextWidth, embed = config.EmbedDim, patch = config.PatchSize;
        yield return (Positions, [config.ContextLength, text]);
        if (config.HasFrozenPositions)
        {
            yield return (TrainedPositions, [config.ContextLength, text]);
        }

        yield return ("text_projection", [text, embed]);
        yield return (LogitScale, []);
        yield return ("visual.class_embedding", [vision]);
        yield return ("visual.positional_embedding", [((long)config.Grid * config.Grid) + 1, vision]);
        yield return ("visual.proj", [vision, embed]);
        yield return ("visual.conv1.weight", [vision, 3, patch, patch]);
        foreach ((string, long[]) tensor in Norm("visual.ln_pre", vision).Concat(Blocks("visual.", config.VisionLayers, vision, config.VisionMlpWidth)).Concat(Norm("visual.ln_post", vision)))
        {
            yield return tensor;
        }

        foreach ((string, long[]) tensor in Blocks("", config.TextLayers, text, config.TextMlpWidth))
        {
            yield return tensor;
        }

        yield return ("token_embedding.weight", [config.VocabSize, text]);
        foreach ((string, long[]) tensor in Norm("ln_final", text))
        {
            yield return tensor;
        }
    }

    private static IEnumerable<(string Name, long[] Shape)> Blocks(string tower, int layers, long width, long hidden)
    {
        for (int layer = 0; layer < layers; layer++)
        {
            string block = $"{tower}transformer.resblocks.{layer}";
            yield return ($"{block}.attn.in_proj_weight", [3 * width, width]);
            yield return ($"{block}.attn.in_proj_bias", [3 * width]);
            yield return ($"{block}.attn.out_proj.weight", [width, width]);
            yield return ($"{block}.attn.out_proj.bias", [width]);
            yield return ($"{block}.ln_1.weight", [width]);
            yield return ($"{block}.ln_1.bias", [width]);
            yield return ($"{block}.mlp.c_fc.weight", [hidden, width]);
            yield return ($"{block}.mlp.c_fc.bias", [hidden]);
            yield return ($"{block}.mlp.c_proj.weight", [width, hidden]);
            yield return ($"{block}.mlp.c_proj.bias", [width]);
            yield return ($"{block}.ln_2.weight", [width]);
            yield return ($"{block}.ln_2.bias", [width]);
        }
    }

    private static IEnumerable<(string Name, long[] Shape)> Norm(string name, long width) => [($"{name}.weight", [width]), ($"{name}.bias", [width])];
}
