// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;
using SkiaSharp;

namespace HiMo.Kernels.Tests;

/// <summary>Decoding, resize, crop and normalisation against the authors' pixels, which must be equal.</summary>
public sealed class ImagePreprocessorTests : FolderTests
{
    [TestCaseSource(nameof(GoldenOutputs))]
    public void Golden_pixels(string image, int size, string kind, string output)
    {
        string path = TestData.Get("golden", "preprocess", "images", image);
        string expected = TestData.Get("golden", "preprocess", output);
        ImagePreprocessor preprocessor = new(size, rgbFirst: kind == "rgb_first_rgb8");
        byte[] planes = preprocessor.LoadPixels(path);
        if (kind != "tensor")
        {
            Assert.That(planes, Is.EqualTo(NpyFile.Read<byte>(expected).Elements));
            return;
        }

        float[] values = new float[preprocessor.ValuesPerImage];
        preprocessor.Normalize(planes, values);
        Assert.That(values, Is.EqualTo(NpyFile.Read<float>(expected).Elements));
    }

    [TestCase("08_large")]
    [TestCase("09_gray")]
    [TestCase("12_exif")]
    [TestCase("14_progressive")]
    public void Jpeg_pixels_are_those_of_the_authors_decoder(string name)
    {
        Raster actual = ImageFile.Decode(TestData.Get("golden", "preprocess", "images", $"{name}.jpg"), rgbFirst: true);
        Raster expected = ImageFile.Decode(TestData.Get("golden", "preprocess", "images", $"{name}.decoded.png"), rgbFirst: true);
        Assert.Multiple(() =>
        {
            Assert.That((actual.Width, actual.Height), Is.EqualTo((expected.Width, expected.Height)), "no rotation");
            Assert.That(actual.Rgba, Is.EqualTo(expected.Rgba));
        });
    }

    [TestCase(SKAlphaType.Opaque, false)]
    [TestCase(SKAlphaType.Unpremul, true)]
    public void WebP_keeps_every_pixel_of_a_lossless_file(SKAlphaType alpha, bool hasAlpha)
    {
        SKImageInfo info = new(37, 23, SKColorType.Rgba8888, alpha);
        byte[] pixels = new byte[info.BytesSize];
        SeededRandom random = new(3);
        for (int i = 0; i < pixels.Length; i++)
        {
            pixels[i] = (byte)(i % 4 == 3 ? (hasAlpha ? random.Next(1, 256) : 255) : random.Next(0, 256));
        }

        using SKImage image = SKImage.FromPixelCopy(info, pixels)!;
        using SKData encoded = image.PeekPixels()!.Encode(new SKWebpEncoderOptions(SKWebpEncoderCompression.Lossless, 70))!;
        string path = Path.Combine(Folder, "x.webp");
        File.WriteAllBytes(path, encoded.ToArray());

        Raster raster = ImageFile.Decode(path, rgbFirst: false);
        Assert.Multiple(() =>
        {
            Assert.That(raster.Rgba, Is.EqualTo(pixels));
            Assert.That(raster.HasAlpha, Is.EqualTo(hasAlpha));
            Assert.That(ImageFile.Decode(path, rgbFirst: true).HasAlpha, Is.False);
        });
    }

    [Test]
    public void A_square_of_the_right_size_is_left_alone()
    {
        Raster image = new(3, 3, [.. Enumerable.Range(100, 36).Select(value => (byte)value)], HasAlpha: true, NearestOnly: false);
        Assert.That(PillowResize.ResizeAndCrop(image, 3, "x"), Is.EqualTo(image.Rgba), "even the rounding of premultiplied colours");
    }

    [Test]
    public void Images_are_loaded_in_their_order()
    {
        string[] paths = [.. new[] { "01_gradient.png", "02_noise.png", "04_alpha.png" }.Select(name => TestData.Get("golden", "preprocess", "images", name))];
        ImagePreprocessor preprocessor = new(64);
        float[] all = new float[3 * preprocessor.ValuesPerImage];
        preprocessor.Load(paths, all);
        float[] expected = [.. new[] { "01_gradient", "02_noise", "04_alpha" }.SelectMany(name => NpyFile.Read<float>(TestData.Get("golden", "preprocess", "out64", $"{name}.tensor.npy")).Elements)];
        Assert.That(all, Is.EqualTo(expected));
    }

    [Test]
    public void More_than_25_million_pixels_are_refused_before_decoding()
    {
        string path = Path.Combine(Folder, "huge.png");
        File.WriteAllBytes(path, Png(30_000, 20_000, []));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => ImageFile.Decode(path, false), Throws.TypeOf<UserError>().With.Message.Contains("30000 x 20000").And.Message.Contains("25 million"));
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1 << 20));
    }

    [Test]
    public void A_thread_of_an_image_is_refused()
    {
        Raster image = new(100_000, 1, new byte[400_000], HasAlpha: false, NearestOnly: true);
        Assert.That(() => PillowResize.ResizeAndCrop(image, 224, "thin.png"), Throws.TypeOf<UserError>().With.Message.StartsWith("thin.png").And.Message.Contains("22400000 x 224"));
    }

    [TestCase("01_gradient.png")]
    [TestCase("08_large.jpg")]
    [TestCase("14_progressive.jpg")]
    public void Truncated_files_are_refused(string name)
    {
        byte[] whole = File.ReadAllBytes(TestData.Get("golden", "preprocess", "images", name));
        string path = Path.Combine(Folder, name);
        int[] lengths = [0, 1, 8, 20, 26, 33, 100, whole.Length / 4, whole.Length / 2, whole.Length * 3 / 4];
        Assert.Multiple(() =>
        {
            foreach (int length in lengths)
            {
                File.WriteAllBytes(path, whole[..length]);
                Assert.That(() => ImageFile.Decode(path, false), Throws.TypeOf<UserError>().With.Message.StartsWith(path), $"{length} of {whole.Length} bytes");
            }
        });
    }

    [Test]
    public void Damaged_bytes_give_an_image_or_one_clear_error()
    {
        SeededRandom random = new(11);
        string[] names = ["01_gradient.png", "06_palette.png", "09_gray.jpg", "14_progressive.jpg"];
        int refused = 0;
        int count = TestLength.Pick(200, 100_000);
        for (int i = 0; i < count; i++)
        {
            byte[] bytes = File.ReadAllBytes(TestData.Get("golden", "preprocess", "images", names[i % names.Length]));
            for (int change = random.Next(1, 6); change > 0; change--)
            {
                bytes[random.Next(0, bytes.Length)] = (byte)random.Next(0, 256);
            }

            try
            {
                Raster image = ImageFile.Decode(bytes, "damaged", false);
                Assert.That(image.Rgba, Has.Length.EqualTo(image.Width * image.Height * 4));
            }
            catch (UserError failure)
            {
                Assert.That(failure.Message, Does.StartWith("damaged: "));
                refused++;
            }
        }

        Assert.That(refused, Is.GreaterThan(count / 20));
    }

    [TestCase("text.png", "hello")]
    [TestCase("empty.jpg", "")]
    [TestCase("animation.gif", "GIF89a\u0001\0\u0001\0\0\0\0!\u00F9\u0004\u0001\0\0\0\0,\0\0\0\0\u0001\0\u0001\0\0\u0002\u0002D\u0001\0;")]
    public void Other_content_is_refused(string name, string content)
    {
        string path = Path.Combine(Folder, name);
        File.WriteAllBytes(path, System.Text.Encoding.Latin1.GetBytes(content));
        Assert.That(() => ImageFile.Decode(path, false), Throws.TypeOf<UserError>().With.Message.StartsWith(path));
    }

    [Test]
    public void A_missing_file_is_named() =>
        Assert.That(() => new ImagePreprocessor(8).LoadPixels("/nowhere/x.png"), Throws.TypeOf<UserError>().With.Message.StartsWith("/nowhere/x.png: cannot be read"));

    [TestCase(0)]
    [TestCase(-1)]
    [TestCase(4097)]
    public void Impossible_sizes_are_refused(int size) => Assert.That(() => new ImagePreprocessor(size), Throws.TypeOf<UserError>().With.Message.Contains($"{size}"));

    private static IEnumerable<TestCaseData> GoldenOutputs()
    {
        if (TestData.RootOrNull is not { } root)
        {
            yield return new TestCaseData("01_gradient.png", 64, "rgb8", "none").SetArgDisplayNames("no test data");
            yield break;
        }

        using JsonDocument manifest = JsonDocument.Parse(File.ReadAllText(Path.Combine(root, "golden", "preprocess", "manifest.json")));
        foreach (JsonElement image in manifest.RootElement.GetProperty("images").EnumerateArray())
        {
            string name = image.GetProperty("name").GetString()!;
            foreach (JsonProperty output in image.GetProperty("outputs").EnumerateObject())
            {
                foreach (string kind in new[] { "rgb8", "rgb_first_rgb8", "tensor" })
                {
                    if (output.Value.TryGetProperty(kind, out JsonElement file))
                    {
                        yield return new TestCaseData(name, int.Parse(output.Name), kind, file.GetString()!).SetArgDisplayNames(name, output.Name, kind);
                    }
                }
            }
        }
    }

    /// <summary>A PNG header that announces a size, with data that do not fill it.</summary>
    private static byte[] Png(int width, int height, byte[] data)
    {
        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), height);
        header[8] = 8;
        header[9] = 2;
        return [0x89, .. "PNG\r\n\u001a\n"u8, .. Chunk("IHDR"u8, header), .. Chunk("IDAT"u8, data), .. Chunk("IEND"u8, [])];
    }

    private static byte[] Chunk(ReadOnlySpan<byte> type, byte[] data)
    {
        byte[] checkedPart = [.. type, .. data];
        uint crc = uint.MaxValue;
        foreach (byte value in checkedPart)
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320);
            }
        }

        byte[] length = new byte[4];
        byte[] check = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(length, data.Length);
        BinaryPrimitives.WriteUInt32BigEndian(check, ~crc);
        return [.. length, .. checkedPart, .. check];
    }
}
