// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class PreprocessCommandTests : FolderTests
{
    [Test]
    public void The_program_writes_the_golden_tensors()
    {
        string[] names = ["11_bilevel", "02_noise"];
        string output = Path.Combine(Folder, "x.npy");
        ProgramResult result = HimoProgram.Run(["preprocess", "--size", "64", "--out", output, .. names.Select(name => TestData.Get("golden", "preprocess", "images", $"{name}.png"))]);
        Assert.That(result.ExitCode, Is.Zero, result.Error);
        NpyArray<float> written = NpyFile.Read<float>(output);
        Assert.Multiple(() =>
        {
            Assert.That(result.Output + result.Error, Is.Empty);
            Assert.That(written.Shape, Is.EqualTo(new[] { 2, 3, 64, 64 }));
            Assert.That(written.StoredType, Is.EqualTo("f4"));
            Assert.That(written.Elements, Is.EqualTo(names.SelectMany(name => NpyFile.Read<float>(TestData.Get("golden", "preprocess", "out64", $"{name}.tensor.npy")).Elements)));
        });
    }

    [Test]
    public void Rgb_first_is_another_result()
    {
        string output = Path.Combine(Folder, "x.npy");
        string image = TestData.Get("golden", "preprocess", "images", "06_palette.png");
        Assert.That(Run("preprocess", "--size", "64", "--rgb-first", "--out", output, image).Code, Is.Zero);
        byte[] pixels = NpyFile.Read<byte>(TestData.Get("golden", "preprocess", "out64", "06_palette.rgb_first.rgb8.npy")).Elements;
        float[] expected = new float[pixels.Length];
        new ImagePreprocessor(64).Normalize(pixels, expected);
        Assert.That(NpyFile.Read<float>(output).Elements, Is.EqualTo(expected));
    }

    [Test]
    public void One_bad_file_is_named_and_nothing_is_written()
    {
        string output = Path.Combine(Folder, "x.npy");
        string bad = Path.Combine(Folder, "bad.png");
        File.WriteAllText(bad, "no image");
        (int code, string error) = Run("preprocess", "--out", output, TestData.Get("golden", "preprocess", "images", "07_tiny.png"), bad, "/nowhere.png");
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(error, Does.StartWith($"himo: {bad}: is no readable image").And.Not.Contains("\n   at "));
            Assert.That(File.Exists(output), Is.False);
        });
    }

    [TestCase("preprocess", "--out", "x.npy")]
    [TestCase("preprocess", "a.png")]
    public void A_call_without_images_or_output_is_wrong_usage(params string[] arguments) => Assert.That(Run(arguments).Code, Is.EqualTo(2));

    private static (int Code, string Error) Run(params string[] arguments)
    {
        StringWriter error = new();
        return (CommandRunner.Run(arguments, new StringWriter(), error), error.ToString());
    }
}
