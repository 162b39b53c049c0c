// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;
using HiMo.Trainer;
using NUnit.Framework;
using SkiaSharp;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class SceneTests
{
    private const int Count = 4000;
    private static readonly Scene[] s_scenes = [.. Enumerable.Range(0, Count).Select(index => Scene.Draw(new SeededRandom(5, 1, index)))];

    [Test]
    public void Objects_are_three_to_five_in_different_cells_main_first_and_large_before_small()
    {
        foreach (Scene scene in s_scenes)
        {
            Assert.That(scene.Objects, Has.Length.InRange(3, 5));
            Assert.That(scene.Objects.Select(item => (item.Row, item.Column)), Is.Unique);
            Assert.That(scene.Objects[0].Large);
            Assert.That(scene.Objects.Select(item => item.Large), Is.Ordered.Descending);
        }
    }

    [Test]
    public void Every_choice_has_its_share()
    {
        SceneObject[] objects = [.. s_scenes.SelectMany(scene => scene.Objects)];
        for (int i = 0; i < SceneVocabulary.Colours.Length; i++)
        {
            AssertShare(objects.Count(item => item.Colour == i), objects.Length, SceneVocabulary.Colours[i].Weight, SceneVocabulary.Colours[i].Name);
        }

        AssertShares(SceneVocabulary.Shapes, objects.Select(item => (int)item.Shape));
        AssertShares(SceneVocabulary.Textures, objects.Select(item => (int)item.Texture));
        AssertShares(SceneVocabulary.Grounds, s_scenes.Select(scene => (int)scene.Ground));
        AssertShares(SceneVocabulary.Lights, s_scenes.Select(scene => (int)scene.Light));
        for (int i = 0; i < SceneVocabulary.Backgrounds.Length; i++)
        {
            AssertShare(s_scenes.Count(scene => scene.Background == i), Count, SceneVocabulary.Backgrounds[i].Weight, SceneVocabulary.Backgrounds[i].Name);
        }

        AssertShare(s_scenes.Count(scene => scene.Border is not null), Count, 0.25, "border");
        AssertShare(s_scenes.Sum(scene => scene.Objects.Skip(1).Count(item => item.Large)), objects.Length - Count, 0.45, "large");
        for (int objectsInScene = 3; objectsInScene <= 5; objectsInScene++)
        {
            AssertShare(s_scenes.Count(scene => scene.Objects.Length == objectsInScene), Count, 1.0 / 3.0, $"{objectsInScene} objects");
        }
    }

    [Test]
    public void Captions_follow_the_grammar_from_gist_to_detail()
    {
        Regex grammar = Grammar();
        int most = 0;
        foreach (Scene scene in s_scenes)
        {
            string[] sentences = SceneCaption.Sentences(scene);
            string caption = string.Join(' ', sentences);
            Assert.That(grammar.IsMatch(caption), caption);
            Assert.That(sentences, Has.Length.EqualTo(scene.Objects.Length + 2 + (scene.Border is null ? 0 : 1) + (scene.Light == Light.Normal ? 0 : 1)));
            Assert.That(Sentences.Split(caption), Is.EqualTo(sentences), "the reader that cuts captions finds the same sentences");
            most = Math.Max(most, WordTokenizer.Words(caption).Count() + 2);
        }

        Assert.That(most, Is.InRange(60, SyntheticDataset.Context - 12), "room for two filler sentences");
    }

    [Test]
    public void Gist_names_number_main_object_and_background()
    {
        Scene scene = new([Object(Shape.Ring, 4, row: 0), Object(Shape.Cross, 0, row: 1), Object(Shape.Square, 1, row: 2)], 2, Ground.Lined, 3, Light.Dim);
        Assert.That(SceneCaption.Sentences(scene), Is.EqualTo(new[]
        {
            "Three shapes with a purple ring on navy.",
            "A large purple ring at top center.",
            "A large red cross at middle center.",
            "A large green square at bottom center.",
            "The background is lined.",
            "A yellow border surrounds it.",
            "The light is dim.",
        }));
    }

    [Test]
    public void Vocabulary_has_110_words_and_covers_captions_and_fillers()
    {
        WordTokenizer tokenizer = new(WordTokenizer.Layout(SceneVocabulary.Words));
        Assert.That(tokenizer.VocabSize, Is.EqualTo(110));
        DatasetDescription description = new() { Kind = "", Words = [], Filler = SceneVocabulary.Filler };
        Assert.That(description.FillerSentences, Has.Length.EqualTo(20 * 8 * 6 * 20).And.Contains("The odd view seems airy."));
        foreach (string sentence in s_scenes.SelectMany(SceneCaption.Sentences).Concat(description.FillerSentences))
        {
            Assert.That(() => tokenizer.Encode(sentence, SyntheticDataset.Context), Throws.Nothing, sentence);
        }
    }

    [TestCase(Light.Normal, 1.0, 0.0)]
    [TestCase(Light.Dim, 0.6, 0.0)]
    [TestCase(Light.Bright, 0.8, 0.3)]
    public void Pixels_show_object_background_border_and_light(Light light, double scale, double offset)
    {
        Scene scene = new([Object(Shape.Circle, 1, row: 1), Object(Shape.Ring, 2, row: 0), Object(Shape.Square, 0, row: 2)], 4, Ground.Plain, 0, light);
        byte[] png = new SceneRenderer().Png(scene, new SeededRandom(1));
        using SKBitmap image = SKBitmap.Decode(png);
        Assert.That((image.Width, image.Height), Is.EqualTo((36, 36)));
        AssertMean(image, 16, 16, SceneVocabulary.Colours[1]);     // inside the circle
        AssertMean(image, 3, 3, SceneVocabulary.Backgrounds[4]);
        AssertMean(image, 16, 4, SceneVocabulary.Backgrounds[4]);  // through the ring
        Assert.That(image.GetPixel(0, 20).Red, Is.GreaterThan(image.GetPixel(0, 20).Blue + 40), "a red border");

        void AssertMean(SKBitmap bitmap, int left, int top, Colour colour)
        {
            double red = 0.0, green = 0.0, blue = 0.0;
            for (int i = 0; i < 9; i++)
            {
                SKColor pixel = bitmap.GetPixel(left + (i % 3), top + (i / 3));
                (red, green, blue) = (red + (pixel.Red / 9.0), green + (pixel.Green / 9.0), blue + (pixel.Blue / 9.0));
            }

            // Nine pixels of noise 0.04 have a mean within 5 x 0.04 / 3 of the truth; clamping at black moves it by less than 0.02.
            const double Tolerance = 255.0 * ((5.0 * 0.04 / 3.0) + 0.02);
            Assert.That(red, Is.EqualTo(255.0 * Math.Min(1.0, (colour.Red * scale) + offset)).Within(Tolerance), "red");
            Assert.That(green, Is.EqualTo(255.0 * Math.Min(1.0, (colour.Green * scale) + offset)).Within(Tolerance), "green");
            Assert.That(blue, Is.EqualTo(255.0 * Math.Min(1.0, (colour.Blue * scale) + offset)).Within(Tolerance), "blue");
        }
    }

    private static SceneObject Object(Shape shape, int colour, int row) => new(shape, colour, Texture.Solid, Large: true, row, Column: 1, ShiftX: 0, ShiftY: 0);

    private static void AssertShares(Choice[] choices, IEnumerable<int> drawn)
    {
        int[] values = [.. drawn];
        for (int i = 0; i < choices.Length; i++)
        {
            AssertShare(values.Count(value => value == i), values.Length, choices[i].Weight, choices[i].Name);
        }
    }

    private static void AssertShare(int hits, int total, double expected, string what) =>
        Assert.That((double)hits / total, Is.EqualTo(expected).Within(5.0 * Math.Sqrt(expected * (1.0 - expected) / total)), what);

    private static Regex Grammar()
    {
        const string Colour = "(red|green|blue|yellow|purple|orange|cyan|white)";
        const string Shape = "(circle|square|triangle|cross|ring|diamond)";
        return new Regex(
            $"^(Three|Four|Five) shapes with a {Colour} {Shape} on (black|gray|navy|brown|teal|pink)\\."
            + $"( A (large|small) {Colour} ((striped|dotted) )?{Shape} at (top|middle|bottom) (left|center|right)\\.){{3,5}}"
            + " The background is (plain|checkered|lined)\\.( A (white|red|blue|yellow) border surrounds it\\.)?( The light is (dim|bright)\\.)?$");
    }
}
