// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using SkiaSharp;

namespace HiMo.Trainer;

/// <summary>Paints a scene on 36 x 36 pixels: background, objects, border, light, noise. One instance per thread.</summary>
internal sealed class SceneRenderer
{
    public const int Size = 36;

    private const int Cell = Size / 3;
    private const float CellCentre = 5.5f;
    private const float LargeRadius = 5.2f;
    private const float SmallRadius = 3.2f;
    private const float Noise = 0.04f;

    // Level 1 takes half the time of the default; noise does not compress better with more effort.
    private static readonly SKPngEncoderOptions s_png = new(SKPngEncoderFilterFlags.Sub, zLibLevel: 1);

    private readonly float[] _pixels = new float[Size * Size * 3];
    private readonly byte[] _bytes = new byte[Size * Size * 4];

    /// <summary>The scene as a PNG file.</summary>
    /// <param name="scene">What to paint.</param>
    /// <param name="random">Gives the noise.</param>
    public byte[] Png(Scene scene, SeededRandom random)
    {
        Paint(scene, random);
        for (int pixel = 0; pixel < Size * Size; pixel++)
        {
            for (int channel = 0; channel < 3; channel++)
            {
                _bytes[(pixel * 4) + channel] = (byte)((Math.Clamp(_pixels[(pixel * 3) + channel], 0.0f, 1.0f) * 255.0f) + 0.5f);
            }

            _bytes[(pixel * 4) + 3] = 255;
        }

        GCHandle pinned = GCHandle.Alloc(_bytes, GCHandleType.Pinned);
        try
        {
            SKImageInfo info = new(Size, Size, SKColorType.Rgb888x, SKAlphaType.Opaque);
            using SKPixmap pixmap = new(info, pinned.AddrOfPinnedObject(), Size * 4);
            using SKData data = pixmap.Encode(s_png) ?? throw new InvalidOperationException("SkiaSharp did not encode a 36 x 36 PNG");
            return data.ToArray();
        }
        finally
        {
            pinned.Free();
        }
    }

    private void Paint(Scene scene, SeededRandom random)
    {
        PaintBackground(scene);
        foreach (SceneObject item in scene.Objects)
        {
            PaintObject(item);
        }

        if (scene.Border is int border)
        {
            for (int i = 0; i < Size; i++)
            {
                Set(i, 0, SceneVocabulary.Colours[border], 1.0f);
                Set(i, Size - 1, SceneVocabulary.Colours[border], 1.0f);
                Set(0, i, SceneVocabulary.Colours[border], 1.0f);
                Set(Size - 1, i, SceneVocabulary.Colours[border], 1.0f);
            }
        }

        (float scale, float offset) = scene.Light switch
        {
            Light.Dim => (0.6f, 0.0f),
            Light.Bright => (0.8f, 0.3f),
            _ => (1.0f, 0.0f),
        };
        for (int i = 0; i < _pixels.Length; i++)
        {
            _pixels[i] = (_pixels[i] * scale) + offset + (Noise * (float)random.NextNormal());
        }
    }

    private void PaintBackground(Scene scene)
    {
        Colour colour = SceneVocabulary.Backgrounds[scene.Background];
        for (int y = 0; y < Size; y++)
        {
            for (int x = 0; x < Size; x++)
            {
                float shade = scene.Ground switch
                {
                    Ground.Checkered => ((x / 3) + (y / 3)) % 2 == 0 ? -0.08f : 0.08f,
                    Ground.Lined => x % 4 == 0 ? 0.15f : -0.05f,
                    _ => 0.0f,
                };
                Set(x, y, colour, 1.0f, shade);
            }
        }
    }

    private void PaintObject(SceneObject item)
    {
        float centreX = (item.Column * Cell) + CellCentre + item.ShiftX;
        float centreY = (item.Row * Cell) + CellCentre + item.ShiftY;
        float radius = item.Large ? LargeRadius : SmallRadius;
        Colour colour = SceneVocabulary.Colours[item.Colour];
        for (int y = 0; y < Size; y++)
        {
            for (int x = 0; x < Size; x++)
            {
                if (Covers(item.Shape, x - centreX, y - centreY, radius))
                {
                    Set(x, y, colour, Brightness(item.Texture, x, y));
                }
            }
        }
    }

    private static bool Covers(Shape shape, float x, float y, float radius)
    {
        float acrossX = Math.Abs(x), acrossY = Math.Abs(y), square = (x * x) + (y * y);
        return shape switch
        {
            Shape.Circle => square <= radius * radius,
            Shape.Square => Math.Max(acrossX, acrossY) <= 0.85f * radius,
            Shape.Triangle => y >= -radius && y <= 0.8f * radius && acrossX <= (y + radius) * 0.55f,
            Shape.Cross => Math.Min(acrossX, acrossY) <= radius / 3.0f && Math.Max(acrossX, acrossY) <= radius,
            Shape.Ring => square <= radius * radius && square >= 0.3f * radius * radius,
            Shape.Diamond => acrossX + acrossY <= 1.05f * radius,
            _ => throw new ArgumentOutOfRangeException(nameof(shape), shape, "no such shape"),
        };
    }

    private static float Brightness(Texture texture, int x, int y) => texture switch
    {
        Texture.Striped when y % 3 == 0 => 0.35f,
        Texture.Dotted when x % 2 == 0 && y % 2 == 0 => 0.25f,
        _ => 1.0f,
    };

    private void Set(int x, int y, Colour colour, float brightness, float shade = 0.0f)
    {
        int start = ((y * Size) + x) * 3;
        _pixels[start] = (colour.Red * brightness) + shade;
        _pixels[start + 1] = (colour.Green * brightness) + shade;
        _pixels[start + 2] = (colour.Blue * brightness) + shade;
    }
}
