// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Outlines, in the order of <see cref="SceneVocabulary.Shapes"/>.</summary>
internal enum Shape
{
    Circle,
    Square,
    Triangle,
    Cross,
    Ring,
    Diamond,
}

/// <summary>How a shape is filled, in the order of <see cref="SceneVocabulary.Textures"/>.</summary>
internal enum Texture
{
    Solid,
    Striped,
    Dotted,
}

/// <summary>The pattern of the background, in the order of <see cref="SceneVocabulary.Grounds"/>.</summary>
internal enum Ground
{
    Plain,
    Checkered,
    Lined,
}

/// <summary>The light on the whole scene, in the order of <see cref="SceneVocabulary.Lights"/>.</summary>
internal enum Light
{
    Normal,
    Dim,
    Bright,
}

/// <summary>One object in a cell of the 3 x 3 grid; the shift is in pixels, -1 to 1.</summary>
internal sealed record SceneObject(Shape Shape, int Colour, Texture Texture, bool Large, int Row, int Column, int ShiftX, int ShiftY);

/// <summary>
/// A small picture that a caption can describe completely: three to five objects, the main one first and always large, then the
/// other large ones, then the small ones.
/// </summary>
/// <param name="Objects">In the order in which captions name them.</param>
/// <param name="Background">Index into <see cref="SceneVocabulary.Backgrounds"/>.</param>
/// <param name="Ground">Pattern of the background.</param>
/// <param name="Border">Index into <see cref="SceneVocabulary.Colours"/>, or null for no border.</param>
/// <param name="Light">Light on everything.</param>
internal sealed record Scene(SceneObject[] Objects, int Background, Ground Ground, int? Border, Light Light)
{
    private const double LargeShare = 0.45;
    private const double BorderShare = 0.25;

    /// <summary>Draws a scene.</summary>
    /// <param name="random">Advanced by what the scene takes.</param>
    public static Scene Draw(SeededRandom random)
    {
        int[] cells = random.Permutation(9);
        SceneObject[] objects = new SceneObject[random.Next(3, 6)];
        for (int i = 0; i < objects.Length; i++)
        {
            objects[i] = new SceneObject(
                (Shape)Choose(s_shapes, random),
                Choose(s_colours, random),
                (Texture)Choose(s_textures, random),
                Large: i == 0 || random.NextDouble() < LargeShare,
                cells[i] / 3,
                cells[i] % 3,
                random.Next(-1, 2),
                random.Next(-1, 2));
        }

        return new Scene(
            [objects[0], .. objects[1..].OrderBy(item => item.Large ? 0 : 1)], // OrderBy is stable
            Choose(s_backgrounds, random),
            (Ground)Choose(s_grounds, random),
            random.NextDouble() < BorderShare ? SceneVocabulary.BorderColours[random.Next(0, SceneVocabulary.BorderColours.Length)] : null,
            (Light)Choose(s_lights, random));
    }

    private static readonly double[] s_shapes = Weights(SceneVocabulary.Shapes);
    private static readonly double[] s_textures = Weights(SceneVocabulary.Textures);
    private static readonly double[] s_grounds = Weights(SceneVocabulary.Grounds);
    private static readonly double[] s_lights = Weights(SceneVocabulary.Lights);
    private static readonly double[] s_colours = [.. SceneVocabulary.Colours.Select(colour => colour.Weight)];
    private static readonly double[] s_backgrounds = [.. SceneVocabulary.Backgrounds.Select(colour => colour.Weight)];

    /// <summary>An index with probability proportional to its weight.</summary>
    private static int Choose(double[] weights, SeededRandom random)
    {
        double rest = random.NextDouble() * weights.Sum();
        int last = weights.Length - 1;
        for (int i = 0; i < last; i++)
        {
            rest -= weights[i];
            if (rest < 0.0)
            {
                return i;
            }
        }

        return last;
    }

    private static double[] Weights(Choice[] choices) => [.. choices.Select(choice => choice.Weight)];
}
