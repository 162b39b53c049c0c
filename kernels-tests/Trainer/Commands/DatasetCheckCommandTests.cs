// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class DatasetCheckCommandTests : FolderTests
{
    [SetUp]
    public void WriteScenes() => SyntheticDataset.Write(Path.Combine(Folder, "data"), count: 4, seed: 1, threads: 1, evaluationCount: 2);

    [TestCase("4 images, 4 captions; 0 images missing or broken, 0 captions blank")]
    [TestCase("2 images, ", "--protocol", "growing")]
    [TestCase("4 images, 4 captions", "--decode")]
    public void A_sound_set_passes(string expected, params string[] options)
    {
        (int code, string output, string error) = Run([Path.Combine(Folder, "data"), .. options]);
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.Zero, error);
            Assert.That(output, Does.StartWith(expected));
        });
    }

    [Test]
    public void Missing_and_broken_images_and_blank_captions_are_counted()
    {
        string images = Path.Combine(Folder, "data", "images");
        File.Delete(Path.Combine(images, "000000.png"));
        File.WriteAllText(Path.Combine(images, "000001.png"), "no image");
        byte[] whole = File.ReadAllBytes(Path.Combine(images, "000002.png"));
        File.WriteAllBytes(Path.Combine(images, "000002.png"), whole[..(whole.Length / 2)]);
        string data = Path.Combine(Folder, "data");
        string captions = File.ReadAllText(Path.Combine(data, "captions.json"));
        int start = captions.LastIndexOf("\"value\": \"", StringComparison.Ordinal) + "\"value\": \"".Length;
        File.WriteAllText(Path.Combine(data, "captions.json"), captions[..start] + " " + captions[captions.IndexOf('"', start)..]);

        (int code, string output, string error) = Run([data]);
        (int _, string decoded, _) = Run([data, "--decode"]);
        Assert.Multiple(() =>
        {
            Assert.That(code, Is.EqualTo(1));
            Assert.That(output, Does.Contain("000000.png: cannot be read").And.Contain("000001.png: is no readable image").And.Contain("2 images missing or broken, 1 captions blank"));
            Assert.That(decoded, Does.Contain("000002.png: cannot be decoded").And.Contain("3 images missing or broken"));
            Assert.That(error, Does.Contain("is not sound"));
        });
    }

    private static (int Code, string Output, string Error) Run(string[] options)
    {
        StringWriter output = new();
        StringWriter error = new();
        int code = CommandRunner.Run(["dataset", "check", "--data", .. options], output, error);
        return (code, output.ToString(), error.ToString());
    }
}
