// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>The evaluation of growing captions against the same measures computed the slow way.</summary>
public sealed class GrowingEvaluationTests
{
    private const int Scenes = 24;

    private SceneModel _scenes = null!;

    [OneTimeSetUp]
    public void MakeModelAndData() => _scenes = new SceneModel(Scenes, seed: 5);

    [OneTimeTearDown]
    public void DeleteScenes() => _scenes.Dispose();

    [Test]
    public void Measures_are_those_of_the_definitions()
    {
        JsonObject result = EvalCommand.Run(_scenes.Checkpoint, _scenes.Data, null, null, CancellationToken.None);
        using ClipModel model = ClipModel.Load(_scenes.Checkpoint);
        EvaluationSet set = EvaluationSet.Load(_scenes.Data);
        ITokenizer tokenizer = Tokenizers.For(model.Metadata, null, _scenes.Checkpoint);
        float[][] images = [.. Enumerable.Range(0, Scenes).Select(i => Image(model, set, i))];
        float[][][] texts = [.. set.Captions.Select(caption => caption.Captions.Select(text => Text(model, tokenizer, text)).ToArray())];
        float[] average = [.. Enumerable.Range(0, images[0].Length).Select(k => images.Average(image => image[k]))];
        double[][] similarity = [.. texts.Select((own, i) => own.Select(text => Dot(text, images[i])).ToArray())];
        double[][] margin = [.. texts.Select((own, i) => own.Select(text => Dot(text, images[i]) - Dot(text, average)).ToArray())];
        Assert.Multiple(() =>
        {
            AssertRecall("full", own => own[^1]);
            AssertRecall("half", own => own[(own.Length / 2) - 1]);
            AssertRecall("gist", own => own[0]);
            AssertGrowth((JsonObject)result["himo"]!, similarity);
            AssertGrowth((JsonObject)result["margin"]!, margin);
            for (int point = 1; point <= 5; point++)
            {
                // float32 features of about 1, summed over 16 columns in another order
                Assert.That((double)result["completeness"]!["similarity"]![point - 1]!, Is.EqualTo(similarity.Average(row => row[(point * row.Length / 5) - 1])).Within(1e-5));
                Assert.That((double)result["completeness"]!["margin"]![point - 1]!, Is.EqualTo(margin.Average(row => row[(point * row.Length / 5) - 1])).Within(1e-5));
            }

            Assert.That(result["examples"]![1]!["similarity"]!.AsArray().Select(value => (double)value!), Is.EqualTo(similarity[1]).Within(1e-5));
            Assert.That((string)result["examples"]![1]!["captions"]![0]!, Is.EqualTo(set.Captions[1].Captions[0]));
            AssertPairs();
            Assert.That((int)result["gallery"]!, Is.EqualTo(Scenes));
            Assert.That((int)result["truncated_captions"]!, Is.Zero);
        });

        void AssertPairs()
        {
            JsonNode histogram = result["histogram"]!;
            double[] matched = [.. Enumerable.Range(0, Scenes).Select(i => Dot(images[i], texts[i][^1]))];
            double unmatched = Enumerable.Range(0, Scenes).SelectMany(i => Enumerable.Range(0, Scenes).Where(j => j != i).Select(j => Dot(images[i], texts[j][^1]))).Average();
            Assert.That(histogram["matched"]!.AsArray().Sum(value => (long)value!), Is.EqualTo(Scenes));
            Assert.That(histogram["unmatched"]!.AsArray().Sum(value => (long)value!), Is.EqualTo(Scenes * (Scenes - 1)));
            Assert.That((double)histogram["mean_matched"]!, Is.EqualTo(matched.Average()).Within(1e-5));
            Assert.That((double)histogram["mean_unmatched"]!, Is.EqualTo(unmatched).Within(1e-5));
            int fullest = histogram["matched"]!.AsArray().Select(value => (long)value!).Index().MaxBy(pair => pair.Item).Index;
            Assert.That(matched.Count(value => Math.Abs(value - SimilarityHistogram.LowerEnd(fullest) - 0.01) < 0.02), Is.GreaterThan(0), "the bins are where they say");

            JsonArray failures = result["failures"]!.AsArray();
            int worst = Enumerable.Range(0, Scenes).Max(text => images.Count(image => Dot(image, texts[text][^1]) > Dot(images[text], texts[text][^1])));
            Assert.That(failures.Select(failure => (int)failure!["rank"]!), Is.Ordered.Descending);
            Assert.That((int)failures[0]!["rank"]!, Is.EqualTo(worst + 1));
            int asked = set.Captions.ToList().FindIndex(caption => caption.Image == (string)failures[0]!["image"]!);
            Assert.That((string)failures[0]!["text"]!, Is.EqualTo(set.Captions[asked].Captions[^1]));
            Assert.That((float)failures[0]!["first"]!["similarity"]!, Is.EqualTo(images.Max(image => Dot(image, texts[asked][^1]))).Within(1e-5));
        }

        void AssertRecall(string part, Func<float[][], float[]> choose)
        {
            float[][] chosen = [.. texts.Select(choose)];
            double imageToText = Enumerable.Range(0, Scenes).Count(i => chosen.All(text => Dot(images[i], text) <= Dot(images[i], chosen[i]) + 1e-6)) / (double)Scenes;
            double textToImage = Enumerable.Range(0, Scenes).Count(i => images.All(image => Dot(image, chosen[i]) <= Dot(images[i], chosen[i]) + 1e-6)) / (double)Scenes;
            Assert.That((double)result["retrieval"]![part]!["image_to_text_R@1"]!, Is.EqualTo(imageToText), part);
            Assert.That((double)result["retrieval"]![part]!["text_to_image_R@1"]!, Is.EqualTo(textToImage), part);
        }
    }

    [Test]
    public void All_components_together_are_the_texts_themselves()
    {
        JsonObject result = EvalCommand.Run(_scenes.Checkpoint, _scenes.Data, null, null, CancellationToken.None);
        JsonArray components = result["components"]!.AsArray();
        double[] spectrum = [.. result["spectrum"]!.AsArray().Select(value => (double)value!)];
        Assert.Multiple(() =>
        {
            Assert.That(components.Select(entry => (int)entry!["kept"]!), Is.EqualTo(new[] { 1, 2, 4, 8, 16 }));
            Assert.That((double)components[^1]!["image_to_text_R@1"]!, Is.EqualTo((double)result["retrieval"]!["full"]!["image_to_text_R@1"]!));
            Assert.That((double)components[^1]!["text_to_image_R@1"]!, Is.EqualTo((double)result["retrieval"]!["full"]!["text_to_image_R@1"]!));
            Assert.That(spectrum, Is.Ordered.Descending.And.Length.EqualTo(16));
        });
    }

    [Test]
    public void Components_of_a_known_spectrum()
    {
        // Two directions of equal variance: 2 and 2 along the first two axes, around the mean (0, 0, 5).
        using Tensor texts = tensor(new float[] { 2, 0, 5, -2, 0, 5, 0, 2, 5, 0, -2, 5 }).view(4, 3);
        using TextComponents components = new(texts);
        using Tensor all = components.Reconstruct(3);
        using Tensor two = components.Reconstruct(2);
        Assert.Multiple(() =>
        {
            Assert.That(components.Spectrum, Is.EqualTo(new[] { 2.0, 2.0, 0.0 }).Within(1e-14));
            Assert.That(components.EffectiveRank, Is.EqualTo(2.0).Within(1e-12));
            Assert.That(all.data<float>().ToArray(), Is.EqualTo(texts.data<float>().ToArray()).Within(1e-6));
            Assert.That(two.data<float>().ToArray(), Is.EqualTo(texts.data<float>().ToArray()).Within(1e-6), "the third direction holds nothing");
        });
    }

    [Test]
    public void Equal_texts_have_rank_zero_and_share_their_rank()
    {
        using Tensor texts = ones(5, 3);
        using TextComponents components = new(texts);
        Assert.That(components.EffectiveRank, Is.Zero);
        Retrieval shared = Retrieval.Measure<float>(new float[] { 1, 1, 1, 1 }, 2, 2, TieRule.ShareRank);
        Retrieval ordered = Retrieval.Measure<float>(new float[] { 1, 1, 1, 1 }, 2, 2);
        Assert.That((shared.ImageToText.At1, ordered.ImageToText.At1), Is.EqualTo((1.0, 0.5)));
    }

    [Test]
    public void Growth_by_hand()
    {
        GrowthResult result = GrowthResult.From([[0.1, 0.2], [0.2, 0.1, 0.3], [0.5], [1, 2, 3, 4, 5, 6]]);
        Assert.Multiple(() =>
        {
            Assert.That(result.At2, Is.EqualTo(1.0), "0.1 < 0.2; 0.2 < 0.3 (the first of three, then all); 3 < 6");
            Assert.That(result.At3, Is.EqualTo(0.5), "0.2, 0.1, 0.3 does not rise; 2, 4, 6 does");
            Assert.That(result.At5, Is.EqualTo(Growth.Pearson([1, 2, 3, 4, 6])).Within(1e-15));
            Assert.That(result.AtK, Is.EqualTo((1 + Growth.Pearson([0.2, 0.1, 0.3]) + 0 + 1) / 4).Within(1e-15));
            Assert.That(result.Curve, Is.EqualTo(new[] { 1.0, 2, 3, 4, 6 }));
            Assert.That(GrowthResult.From([[0.5]]).ToJson().Select(pair => pair.Key), Is.EqualTo(new[] { "himo@K" }), "measures that no image allows are left out");
        });
    }

    [Test]
    public void The_program_prints_json_and_writes_the_file()
    {
        string output = Path.Combine(_scenes.Folder, "eval.json");
        ProgramResult result = HimoProgram.Run(["eval", "--checkpoint", _scenes.Checkpoint, "--data", _scenes.Data, "--out", output, "--json"]);
        Assert.That(result.ExitCode, Is.Zero, result.Error);
        JsonObject printed = JsonNode.Parse(result.Output)!.AsObject();
        Assert.Multiple(() =>
        {
            Assert.That(JsonNode.DeepEquals(printed, JsonNode.Parse(File.ReadAllText(output))));
            Assert.That(printed.Select(pair => pair.Key), Is.SupersetOf(new[]
            {
                "checkpoint", "gallery", "retrieval", "components", "effective_rank", "himo", "margin", "completeness", "spectrum", "examples",
            }));
            Assert.That((string)printed["checkpoint"]!, Is.EqualTo(_scenes.Checkpoint));
        });
    }

    [Test]
    public void The_table_names_every_measure()
    {
        StringWriter output = new();
        Assert.That(CommandRunner.Run(["eval", "--checkpoint", _scenes.Checkpoint, "--data", _scenes.Data], output, new StringWriter()), Is.Zero);
        Assert.That(output.ToString(), Does.Contain("whole captions, R@1").And.Contain("8 text components").And.Contain("HiMo@2").And.Contain("HiMo@K").And.Contain($"{Scenes} images"));
    }

    [Test]
    public void A_diverged_model_is_refused()
    {
        using ClipModel model = ClipModel.Load(_scenes.Checkpoint);
        using (no_grad())
        {
            foreach ((string name, TorchSharp.Modules.Parameter parameter) in model.named_parameters())
            {
                if (name == "text_projection")
                {
                    parameter.fill_(float.NaN);
                }
            }
        }

        string damaged = Path.Combine(_scenes.Folder, "nan.safetensors");
        model.Save(damaged, model.Metadata, float32);
        Assert.That(() => EvalCommand.Run(damaged, _scenes.Data, null, null, CancellationToken.None), Throws.TypeOf<UserError>().With.Message.Contains("text features are not finite"));
    }

    [TestCase("", "holds no record")]
    [TestCase("{\"img_path\":\"a.png\"}", "line 1: needs img_path")]
    [TestCase("{\"img_path\":\"a.png\",\"caption\":[]}", "line 1: needs img_path")]
    [TestCase("{\"img_path\":\"a.png\",\"caption\":[\"x\",\" \"]}", "line 1: needs img_path")]
    [TestCase("{\"caption\":[\"x\"]}", "line 1: needs img_path")]
    [TestCase("{\"img_path\":\"a.png\",\"caption\":[\"x\"]}\n{\"img_path\":", "line 2: is no JSON object")]
    [TestCase("null", "line 1")]
    [TestCase("{\"img_path\":\"none.png\",\"caption\":[\"x\"]}", "none.png: cannot be read")]
    public void Bad_caption_files_are_refused(string content, string reason)
    {
        string path = Path.Combine(_scenes.Folder, "bad.jsonl");
        File.WriteAllText(path, content);
        Assert.That(() => EvaluationSet.Load(path), Throws.TypeOf<UserError>().With.Message.Contains(reason));
    }

    [Test]
    public void Images_are_read_from_the_folder_that_is_named()
    {
        string captions = Path.Combine(Directory.CreateDirectory(Path.Combine(_scenes.Folder, "apart")).FullName, "captions.jsonl");
        File.Copy(Path.Combine(_scenes.Data, "eval", "captions.jsonl"), captions, overwrite: true);
        string images = Path.Combine(_scenes.Data, "eval", "images");
        JsonObject usual = EvalCommand.Run(_scenes.Checkpoint, _scenes.Data, null, null, CancellationToken.None);
        JsonObject named = EvalCommand.Run(_scenes.Checkpoint, captions, null, null, CancellationToken.None, images: images);
        Assert.Multiple(() =>
        {
            Assert.That((string?)named["image_folder"], Is.EqualTo(images));
            Assert.That(JsonNode.DeepEquals(named["himo"], usual["himo"]) && JsonNode.DeepEquals(named["retrieval"], usual["retrieval"]));
            Assert.That(() => EvaluationSet.Load(captions), Throws.TypeOf<UserError>(), "they are not beside the captions");
        });
    }

    [Test]
    public void HiMo_Docci_is_read()
    {
        List<GrowingCaption> captions = GrowingCaptions.Load(TestData.Get("data", "himo_docci_data.json"));
        Assert.Multiple(() =>
        {
            Assert.That(captions, Has.Count.EqualTo(1000));
            Assert.That(captions.Sum(caption => caption.Captions.Length), Is.EqualTo(6660));
            Assert.That(captions.CountBy(caption => caption.Captions.Length).Single(pair => pair.Key == 6).Value, Is.EqualTo(247));
            Assert.That(captions.Sum(caption => caption.Captions.Sum(text => (long)text.Length)), Is.EqualTo(2454972));
            Assert.That((captions[0].Image, captions[^1].Image), Is.EqualTo(("test_00000.jpg", "test_02496.jpg")));
        });
    }

    private static void AssertGrowth(JsonObject actual, double[][] scores)
    {
        Assert.That((double)actual["himo@2"]!, Is.EqualTo(Share(row => row[(row.Length / 2) - 1] < row[^1])));
        Assert.That((double)actual["himo@3"]!, Is.EqualTo(Share(row => row[(row.Length / 3) - 1] < row[(2 * row.Length / 3) - 1] && row[(2 * row.Length / 3) - 1] < row[^1])));

        // A correlation of differences of about 1e-2 in features rounded to 1e-7.
        Assert.That((double)actual["himo@K"]!, Is.EqualTo(scores.Average(row => Growth.Pearson(row))).Within(1e-3));

        double Share(Func<double[], bool> holds) => (double)scores.Count(holds) / scores.Length;
    }

    private static double Dot(float[] x, float[] y) => x.Zip(y, (a, b) => (double)a * b).Sum();

    private static float[] Image(ClipModel model, EvaluationSet set, int index)
    {
        using DisposeScope scope = NewDisposeScope();
        ImagePreprocessor preprocessor = new(36, rgbFirst: true);
        float[] pixels = new float[preprocessor.ValuesPerImage];
        preprocessor.Load([set.Captions[index].ImagePath], pixels);
        return Unit(model.EncodeImage(tensor(pixels).view(1, 3, 36, 36)));
    }

    private static float[] Text(ClipModel model, ITokenizer tokenizer, string text)
    {
        using DisposeScope scope = NewDisposeScope();
        int context = model.Config.ContextLength;
        return Unit(model.EncodeText(tensor(Array.ConvertAll(tokenizer.Encode(text, context), id => (long)id)).view(1, context)));
    }

    private static float[] Unit(Tensor features)
    {
        float[] values = features.detach().data<float>().ToArray();
        float length = MathF.Sqrt(values.Sum(value => value * value));
        return Array.ConvertAll(values, value => value / length);
    }
}
