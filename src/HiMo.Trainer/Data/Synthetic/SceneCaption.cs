// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Describes a scene in five to nine sentences, from the gist to the last detail.</summary>
internal static class SceneCaption
{
    /// <summary>The sentences; all words are in <see cref="SceneVocabulary.Words"/> but for their case.</summary>
    /// <param name="scene">The scene.</param>
    public static string[] Sentences(Scene scene)
    {
        SceneObject main = scene.Objects[0];
        string count = SceneVocabulary.Counts[scene.Objects.Length];
        List<string> sentences =
        [
            $"{count} shapes with a {ColourOf(main)} {ShapeOf(main)} on {SceneVocabulary.Backgrounds[scene.Background].Name}.",
            .. scene.Objects.Select(Sentence),
            $"The background is {SceneVocabulary.Grounds[(int)scene.Ground].Name}.",
        ];
        if (scene.Border is int border)
        {
            sentences.Add($"A {SceneVocabulary.Colours[border].Name} border surrounds it.");
        }

        if (scene.Light != Light.Normal)
        {
            sentences.Add($"The light is {SceneVocabulary.Lights[(int)scene.Light].Name}.");
        }

        return [.. sentences];
    }

    private static string Sentence(SceneObject item)
    {
        string size = item.Large ? "large" : "small";
        string texture = item.Texture == Texture.Solid ? "" : SceneVocabulary.Textures[(int)item.Texture].Name + " ";
        string place = $"{SceneVocabulary.Rows[item.Row]} {SceneVocabulary.Columns[item.Column]}";
        return $"A {size} {ColourOf(item)} {texture}{ShapeOf(item)} at {place}.";
    }

    private static string ColourOf(SceneObject item) => SceneVocabulary.Colours[item.Colour].Name;

    private static string ShapeOf(SceneObject item) => SceneVocabulary.Shapes[(int)item.Shape].Name;
}
