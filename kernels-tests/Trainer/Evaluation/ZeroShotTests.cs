// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

public sealed class ZeroShotTests
{
    private const int Scenes = 12;

    private static readonly string[] s_colours = ["blue", "green", "red"]; // in ordinal order

    private SceneModel _scenes = null!;
    private string _data = "";
    private string _templates = "";

    [OneTimeSetUp]
    public void MakeClasses()
    {
        _scenes = new SceneModel(Scenes, seed: 21);
        _data = Path.Combine(_scenes.Folder, "classes");
        _templates = _scenes.Save("templates.txt", "{} circle .\n\n{} square {} .\n");
        for (int i = 0; i < Scenes; i++)
        {
            // The last class is larger, so that the mean over classes differs from that over images; one image lies deeper.
            string folder = Path.Combine(_data, $"class_{(i < 3 ? 0 : i < 6 ? 1 : 2)}", i == 4 ? "deeper" : "");
            _ = Directory.CreateDirectory(folder);
            File.Copy(Path.Combine(_scenes.Images, $"{i:D6}.png"), Path.Combine(folder, $"{i:D6}.PNG"));
        }

        _scenes.Save("classes/class_0/notes.md", "no image");
        _scenes.Save("classes/classes.txt", "class_0 blue\nclass_1\tgreen, emerald\nclass_2  red\n");
    }

    [OneTimeTearDown]
    public void DeleteScenes() => _scenes.Dispose();

    [Test]
    public void Accuracy_is_that_of_the_definition()
    {
        (JsonObject result, List<JsonObject> records) = Run();
        (int[] labels, int[] ranks) = TheSlowWay();
        double Share(int limit) => ranks.Average(rank => rank < limit ? 1.0 : 0.0);
        Assert.Multiple(() =>
        {
            Assert.That((double)result["top-1"]!, Is.EqualTo(Share(1)));
            Assert.That((double)result["top-5"]!, Is.EqualTo(1), "there are three classes");
            Assert.That((double)result["mean_class_top-1"]!, Is.EqualTo(Enumerable.Range(0, 3).Average(label => ranks.Where((_, i) => labels[i] == label).Average(rank => rank < 1 ? 1.0 : 0.0))).Within(1e-12));
            Assert.That(((int)result["images"]!, (int)result["classes"]!, (int)result["templates"]!), Is.EqualTo((Scenes, 3, 2)));
            Assert.That(result["per_class"]!.AsArray().Select(entry => (string)entry!["class"]!), Is.EqualTo(s_colours));
            Assert.That(records.Select(record => (int)record["rank"]! - 1), Is.EqualTo(ranks));
            Assert.That(records.Select(record => (string)record["answer"]!["class"]!), Is.EqualTo(labels.Select(label => s_colours[label])));
            Assert.That(records.Select(record => (string)record["best"]![0]!["class"]! == (string)record["answer"]!["class"]!), Is.EqualTo(ranks.Select(rank => rank == 0)));
            Assert.That(ranks, Does.Contain(0).And.Some.GreaterThan(0), "or the test shows little");
        });
    }

    [Test]
    public void Names_come_from_the_option_the_folder_or_the_folders_names()
    {
        string other = _scenes.Save("names.txt", "class_2 x\nclass_1 y\nclass_0 z\nunused u\n");
        string bare = Path.Combine(_scenes.Folder, "bare");
        foreach (string name in new[] { "old_street", "beach" })
        {
            _ = Directory.CreateDirectory(Path.Combine(bare, name));
            File.Copy(Path.Combine(_scenes.Images, "000000.png"), Path.Combine(bare, name, "a.png"));
        }

        Assert.Multiple(() =>
        {
            Assert.That(ImageFolder.Load(_data, null).Names, Is.EqualTo(s_colours));
            Assert.That(ImageFolder.Load(_data, other).Names, Is.EqualTo(new[] { "z", "y", "x" }));
            Assert.That(ImageFolder.Load(bare, null).Names, Is.EqualTo(new[] { "beach", "old street" }));
            Assert.That(ZeroShot.Templates(null), Is.EqualTo(new[] { "a photo of a {}." }));
        });
    }

    [Test]
    public void The_program_prints_a_table_and_checks_the_folder()
    {
        HimoCall eval = HimoCall.Run("eval", "--checkpoint", _scenes.Checkpoint, "--protocol", "zero-shot", "--data", _data, "--templates", _templates);
        HimoCall check = HimoCall.Run("dataset", "check", "--protocol", "zero-shot", "--data", _data);
        Assert.Multiple(() =>
        {
            Assert.That(eval.Code, Is.Zero, eval.Error);
            Assert.That(eval.Output, Does.Match(@"top-1, %\s+\d+\.\d").And.Match(@"classes\s+3"));
            Assert.That((check.Code, check.Output), Is.EqualTo((0, $"{Scenes} images, 3 captions; 0 images missing or broken, 0 captions blank\n")));
        });
    }

    [Test]
    public void Bad_input_is_named()
    {
        string one = Path.GetDirectoryName(_scenes.Save("one/only/a.png", "x"))!;
        string hollow = Path.GetDirectoryName(Path.GetDirectoryName(_scenes.Save("hollow/a/a.png", "x")))!;
        _ = Directory.CreateDirectory(Path.Combine(hollow, "b"));
        Assert.Multiple(() =>
        {
            Assert.That(() => ImageFolder.Load("/nowhere", null), Refused("/nowhere"));
            Assert.That(() => ImageFolder.Load(Path.GetDirectoryName(one)!, null), Refused("holds 1 folders"));
            Assert.That(() => ImageFolder.Load(hollow, null), Refused("b: holds no image"));
            Assert.That(() => ImageFolder.Load(_data, _scenes.Save("few.txt", "class_0 x\n")), Refused("names none of the classes class_1, class_2"));
            Assert.That(() => ImageFolder.Load(_data, _scenes.Save("twice.txt", "class_0 x\nclass_0 y\n")), Refused("names a class again"));
            Assert.That(() => ImageFolder.Load(_data, _scenes.Save("short.txt", "class_0\n")), Refused("the line 'class_0'"));
            Assert.That(() => ZeroShot.Templates(_scenes.Save("none.txt", "\n")), Refused("holds no template"));
            Assert.That(() => ZeroShot.Templates(_scenes.Save("flat.txt", "a {}\na photo\n")), Refused("'a photo' has no {}"));
        });

        static NUnit.Framework.Constraints.IResolveConstraint Refused(string reason) => Throws.TypeOf<UserError>().With.Message.Contains(reason);
    }

    private (JsonObject Result, List<JsonObject> Records) Run()
    {
        using ClipModel model = ClipModel.Load(_scenes.Checkpoint);
        List<JsonObject> records = [];
        EvaluationRequest request = new(Protocol.ZeroShot, _data) { Templates = _templates };
        JsonObject result = new ProtocolEvaluation(model, Tokenizers.For(model.Metadata, null, null), records.Add).Run(request, CancellationToken.None);
        return (result, records);
    }

    /// <summary>Class and rank of each image, in the order of class and file.</summary>
    private (int[] Labels, int[] Ranks) TheSlowWay()
    {
        using ClipModel model = ClipModel.Load(_scenes.Checkpoint);
        using DisposeScope scope = NewDisposeScope();
        float[][] classes = [.. s_colours.Select(colour =>
        {
            using Tensor prompts = model.EncodeTexts([$"{colour} circle .", $"{colour} square {colour} ."]);
            float[] sum = prompts.sum([0L]).data<float>().ToArray();
            float norm = MathF.Sqrt(sum.Sum(value => value * value));
            return sum.Select(value => value / norm).ToArray();
        })];
        int[] labels = [.. Enumerable.Range(0, Scenes).Select(i => i < 3 ? 0 : i < 6 ? 1 : 2)];
        int[] order = [0, 1, 2, 3, 5, 4, .. Enumerable.Range(6, Scenes - 6)]; // 'class_1/0...' before 'class_1/deeper'
        int[] ranks = [.. order.Select(i =>
        {
            using Tensor image = model.EncodeImages([Path.Combine(_scenes.Images, $"{i:D6}.png")]);
            float[] feature = image.data<float>().ToArray();
            float[] scores = [.. classes.Select(one => one.Zip(feature, (a, b) => a * b).Sum())];
            return scores.Count(score => score > scores[labels[i]]);
        })];
        return (labels, ranks);
    }
}
