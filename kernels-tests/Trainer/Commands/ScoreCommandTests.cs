// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class ScoreCommandTests
{
    private SceneModel _scenes = null!;
    private GrowingCaption _first = null!;

    [OneTimeSetUp]
    public void MakeScenes()
    {
        _scenes = new SceneModel(scenes: 3, seed: 11);
        _first = _scenes.Captions[0];
    }

    [OneTimeTearDown]
    public void DeleteScenes() => _scenes.Dispose();

    [Test]
    public void A_caption_grows_sentence_by_sentence_to_the_similarities_of_the_evaluation()
    {
        JsonNode result = Json(_first.Captions[^1]);
        JsonNode expected = EvalCommand.Run(_scenes.Checkpoint, _scenes.Data, null, null, CancellationToken.None)["examples"]![0]!;
        double[] similarity = [.. result["captions"]!.AsArray().Select(caption => (double)caption!["similarity"]!)];
        Assert.Multiple(() =>
        {
            Assert.That(result["captions"]!.AsArray().Select(caption => (string)caption!["text"]!), Is.EqualTo(_first.Captions));
            Assert.That(similarity, Is.EqualTo(expected["similarity"]!.AsArray().Select(value => (double)value!)).Within(1e-6));
            Assert.That((double)result["himo@K"]!, Is.EqualTo(Growth.Pearson(similarity)));
            Assert.That((bool)result["rises"]!, Is.EqualTo(Growth.IsStrictlyRising(similarity)));
            Assert.That((int)result["truncated_captions"]!, Is.Zero);
        });
    }

    [Test]
    public void Several_texts_are_taken_as_they_are()
    {
        JsonNode result = Json(_first.Captions[2], _first.Captions[0]);
        Assert.That(result["captions"]!.AsArray().Select(caption => (string)caption!["text"]!), Is.EqualTo(new[] { _first.Captions[2], _first.Captions[0] }));
    }

    [Test]
    public void A_single_sentence_has_a_similarity_and_no_trend()
    {
        JsonNode result = Json(_first.Captions[0]);
        Assert.That((result["captions"]!.AsArray().Count, result["himo@K"], result["rises"]), Is.EqualTo((1, (JsonNode?)null, (JsonNode?)null)));
    }

    [Test]
    public void The_trend_is_drawn()
    {
        CaptionScore score = new("x.jpg", ["A.", "A. B.", "A. B. C."], [0.1, 0.3, 0.2], Truncated: 1);
        string[] lines = [.. TrendChart.Lines(score)];
        Assert.That(lines, Is.EqualTo(new[]
        {
            " 0.1000   ▏                         A.",
            " 0.3000   ████████████████████████  + B.",
            " 0.2000 ↓ ████████████              + C.",
            "",
            "Bars run from 0.1000 to 0.3000; ↓ marks a fuller caption that is not more similar.",
            "HiMo@K (Pearson) 0.500, does not rise with every step",
            "1 of 3 captions are longer than the model's context and were cut.",
        }));
    }

    [Test]
    public void The_program_draws_one_line_a_caption()
    {
        HimoCall call = HimoCall.Run("score", _first.ImagePath, _first.Captions[^1], "--checkpoint", _scenes.Checkpoint);
        Assert.That((call.Code, call.Error), Is.EqualTo((0, "")));
        Assert.That(call.Output.Split('\n').TakeWhile(line => line.Length > 0).Count(), Is.EqualTo(_first.Captions.Length));
    }

    [Test]
    public void Bad_input_is_named() => Assert.Multiple(() =>
    {
        Fails(1, "a text is blank", _first.ImagePath, " ");
        Fails(1, "none.jpg: cannot be read", Path.Combine(_scenes.Folder, "none.jpg"), "three shapes .");
        Fails(1, "zeppelin", _first.ImagePath, "a zeppelin .");
        Fails(2, "TEXT", _first.ImagePath);
    });

    private void Fails(int code, string reason, params string[] arguments)
    {
        HimoCall call = HimoCall.Run(["score", .. arguments, "--checkpoint", _scenes.Checkpoint]);
        Assert.That((call.Code, call.Output), Is.EqualTo((code, "")));
        Assert.That(call.Error, Does.Contain(reason));
    }

    private JsonNode Json(params string[] texts)
    {
        HimoCall call = HimoCall.Run(["score", _first.ImagePath, .. texts, "--checkpoint", _scenes.Checkpoint, "--json"]);
        Assert.That(call.Code, Is.Zero, call.Error);
        JsonNode result = JsonNode.Parse(call.Output)!;
        Assert.That((string)result["image"]!, Is.EqualTo(_first.ImagePath));
        return result;
    }
}
