// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

/// <summary>Data without an evaluation split, as users have them: what is held out is what is measured.</summary>
internal sealed class HeldOutTests
{
    private const int HeldOut = 12;

    private TrainingScenes _scenes = null!;
    private TrainingConfig _config = null!;

    /// <summary>A caption file alone, and a model that brings its words.</summary>
    [OneTimeSetUp]
    public void MakeScenes()
    {
        _scenes = new TrainingScenes();
        TrainingScenes.Train(_scenes.Folder("base"), _scenes.Config with { Steps = 1, WarmupSteps = 0 });
        _config = _scenes.Config with { Data = Path.Combine(_scenes.Data, "captions.json"), Base = Path.Combine(_scenes.Folder("base"), TrainingRun.ModelFile), HeldOut = HeldOut, Filler = 0.0, Steps = 4, Batch = 8 };
    }

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    [Test]
    public void Held_out_records_are_measured_during_the_run_and_at_its_end()
    {
        string folder = _scenes.Folder("measured"), image = CaptionDataset.Load(_config.Data)[3].ImagePath;
        StringWriter messages = new();
        File.Move(image, image + ".away");
        try
        {
            using TrainingRun run = TrainingRun.Open(folder, _config with { EvalEvery = 2 }, resume: false);
            RunTraining.Execute(run, vocabulary: null, evaluate: true, messages, CancellationToken.None);
        }
        finally
        {
            File.Move(image + ".away", image);
        }

        JsonObject log = File.ReadLines(Path.Combine(folder, TrainingLog.FileName)).Select(line => JsonNode.Parse(line)!.AsObject()).Single(entry => (string?)entry["kind"] == "eval");
        JsonObject end = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, RunTraining.EvaluationFile)))!.AsObject();
        Assert.Multiple(() =>
        {
            Assert.That((int)log["step"]!, Is.EqualTo(2));
            Assert.That((double)log["retrieval"]!["full"]!["image_to_text_R@10"]!, Is.InRange(0.0, 1.0));
            Assert.That(((int)end["gallery"]!, (int)end["skipped_images"]!), Is.EqualTo((HeldOut - 1, 1)));
            Assert.That(messages.ToString(), Does.Contain($"1 of the {HeldOut} records that are held out have no readable image"));
            Assert.That(File.Exists(Path.Combine(folder, TrainingRun.BestFile)));
        });
    }

    [Test]
    public void Their_captions_grow_by_sentences()
    {
        CaptionDataset data = CaptionDataset.Load(_config.Data);
        EvaluationSet set = EvaluationSet.Of(_config.Data, data.First(HeldOut));
        Assert.Multiple(() =>
        {
            Assert.That(set.Captions.Select(caption => caption.Captions[^1]), Is.EqualTo(Enumerable.Range(0, HeldOut).Select(i => data[i].Caption)));
            Assert.That(set.Captions.Select(caption => caption.Captions), Has.All.Matches<string[]>(captions => captions is not null
                && captions.Length == Sentences.Split(captions[^1]).Count && captions.Zip(captions.Skip(1)).All(pair => pair.Second.StartsWith(pair.First + " ", StringComparison.Ordinal))));
            Assert.That(set.Captions[5].ImagePath, Is.EqualTo(data[5].ImagePath));
        });
    }

    [Test]
    public void Nothing_to_measure_on_is_refused_before_the_first_step()
    {
        string folder = _scenes.Folder("nothing");
        using TrainingRun run = TrainingRun.Open(folder, _config with { HeldOut = 0, EvalEvery = 2 }, resume: false);
        Assert.That(() => RunTraining.Execute(run, null, evaluate: true, TextWriter.Null, CancellationToken.None), Throws.TypeOf<UserError>().With.Message.Contains("--eval-every 2").And.Message.Contains("--held-out"));
        Assert.That(File.Exists(Path.Combine(folder, TrainingLog.FileName)), Is.False);
    }

    [Test]
    public void Images_of_another_folder_and_columns_of_other_names()
    {
        string table = _scenes.Folder("pairs.csv"), folder = _scenes.Folder("columns");
        CaptionDataset data = CaptionDataset.Load(_config.Data);
        File.WriteAllText(table, "picture,words\n" + string.Concat(Enumerable.Range(0, data.Count).Select(i => $"{Path.GetFileName(data[i].ImagePath)},\"{data[i].Caption}\"\n")) + "none.png,\n");
        HimoCall call = HimoCall.Run(
            "train", "--preset", "smoke", "--base", _config.Base!, "--data", table, "--images", Path.Combine(_scenes.Data, "images"), "--image-column", "picture", "--caption-column", "words",
            "--held-out", "8", "--threads", "1", "--out", folder);
        Assert.That(call.Code, Is.Zero, call.Error);
        Assert.That(call.Error, Does.Contain("pairs.csv: 1 records without caption are left out"));
        Assert.That((int)JsonNode.Parse(File.ReadAllText(Path.Combine(folder, RunTraining.EvaluationFile)))!["gallery"]!, Is.EqualTo(8));
    }
}
