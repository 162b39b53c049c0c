// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>The architectures that OpenAI published with two transformers.</summary>
internal static class PublishedModels
{
    private static readonly (string Name, int Patch, int VisionWidth, int Resolution, int TextWidth)[] s_models =
        [("ViT-B/32", 32, 768, 224, 512), ("ViT-B/16", 16, 768, 224, 512), ("ViT-L/14", 14, 1024, 224, 768), ("ViT-L/14@336", 14, 1024, 336, 768)];

    /// <summary>The name of an architecture, or null for another one.</summary>
    /// <param name="config">Any context length.</param>
    public static string? NameOf(ClipConfig config) => s_models
        .FirstOrDefault(model => (model.Patch, model.VisionWidth, model.Resolution, model.TextWidth) == (config.PatchSize, config.VisionWidth, config.ImageResolution, config.TextWidth))
        .Name;
}
