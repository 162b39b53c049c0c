// SPDX-License-Identifier: Apache-2.0
using TorchSharp.Modules;

namespace HiMo.Trainer;

/// <summary>Which parameters of a model are not trained.</summary>
internal static class Freezing
{
    /// <summary>Reads a description such as <c>image</c>, <c>text:2</c> or <c>image,text:1</c>.</summary>
    /// <param name="text">Towers with a comma between them; a number behind a colon leaves that many last blocks, the last norm and the projection trained. Empty freezes nothing.</param>
    /// <returns>For each frozen tower the number of last blocks that are trained; -1 where nothing of it is.</returns>
    /// <exception cref="UserError">The description is not understood.</exception>
    public static IReadOnlyDictionary<string, int> Parse(string text)
    {
        Dictionary<string, int> frozen = [];
        foreach (string part in text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            string[] words = part.Split(':');
            int blocks = -1;
            bool understood = words[0] is "image" or "text" && words.Length <= 2 && (words.Length == 1 || (int.TryParse(words[1], out blocks) && blocks >= 0));
            if (!understood || !frozen.TryAdd(words[0], blocks))
            {
                throw new UserError($"--freeze {text}: a tower is image or text, each at most once, as in image, text:2 or image,text:1");
            }
        }

        return frozen;
    }

    /// <summary>Marks parameters as not trained.</summary>
    /// <param name="model">The model.</param>
    /// <param name="text">See <see cref="Parse"/>.</param>
    /// <exception cref="UserError">It asks for more blocks than a tower has.</exception>
    public static void Apply(ClipModel model, string text)
    {
        foreach ((string tower, int trained) in Parse(text))
        {
            int blocks = tower == "image" ? model.Config.VisionLayers : model.Config.TextLayers;
            if (trained > blocks)
            {
                throw new UserError($"--freeze {text}: the {tower} tower has {blocks} blocks");
            }

            foreach ((string name, Parameter parameter) in model.named_parameters())
            {
                if (Tower(name) == tower && !(trained >= 0 && IsLast(name, blocks - trained)))
                {
                    parameter.requires_grad = false;
                }
            }
        }
    }

    private static string Tower(string name) => name == ClipShapes.LogitScale ? "" : name.StartsWith("visual.", StringComparison.Ordinal) ? "image" : "text";

    private static bool IsLast(string name, int firstTrained)
    {
        string[] parts = name.Split('.');
        int block = Array.IndexOf(parts, "resblocks");
        return block >= 0
            ? int.Parse(parts[block + 1], System.Globalization.CultureInfo.InvariantCulture) >= firstTrained
            : name is "visual.proj" or "text_projection" || name.StartsWith("visual.ln_post.", StringComparison.Ordinal) || name.StartsWith("ln_final.", StringComparison.Ordinal);
    }
}
