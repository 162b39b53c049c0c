// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Kernels.Tests.Trainer.Reporting;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class TensorBoardLogTests
{
    private TrainingScenes _scenes = null!;

    [OneTimeSetUp]
    public void MakeScenes() => _scenes = new TrainingScenes();

    [OneTimeTearDown]
    public void RemoveScenes() => _scenes.Dispose();

    [Test]
    public void Events_are_the_logs_numbers_with_distributions_and_examples_and_a_continued_run_says_where_it_starts()
    {
        string folder = _scenes.Folder("board");
        TrainingConfig config = _scenes.Config with { Steps = 21, TensorBoard = true, EvalEvery = 7 };
        using (CancellationTokenSource stop = new())
        {
            stop.Cancel(); // after the first step
            Assert.That(() => TrainingScenes.Train(folder, config, cancel: stop.Token), Throws.InstanceOf<OperationCanceledException>());
        }

        using (TrainingRun run = TrainingRun.Open(folder, config, resume: true))
        {
            RunTraining.Execute(run, vocabulary: null, evaluate: true, TextWriter.Null, CancellationToken.None);
        }

        string[] files = [.. Directory.EnumerateFiles(Path.Combine(folder, TensorBoardLog.FolderName)).OrderBy(File.GetCreationTimeUtc).ThenBy(path => path, StringComparer.Ordinal)];
        Assert.That(files, Has.Length.EqualTo(2));
        EventRecord[] second = [.. EventRecord.ReadAll(files[1])];
        Assert.That((second[1].Number(2), second[1].Message(7).Number(1)), Is.EqualTo((2L, 1L)), "START at the first new step");

        EventRecord[] values = [.. files.SelectMany(EventRecord.ReadAll).Where(record => record.Has(5))];
        Dictionary<(string, long), float> scalars = values.Where(record => Value(record).Has(2)).ToDictionary(record => (Value(record).Text(1), record.Number(2)), record => Value(record).Float(2));
        JsonObject[] log = [.. File.ReadLines(Path.Combine(folder, TrainingLog.FileName)).Select(line => JsonNode.Parse(line)!.AsObject())];
        foreach (JsonObject step in log.Where(entry => (string?)entry["kind"] == "step"))
        {
            foreach (string name in new[] { "loss", "component", "m", "explained_variance", "lr", "logit_scale", "grad_norm", "step_ms", "data_share", "samples_per_second" })
            {
                Assert.That(scalars[($"train/{name}", (long)step["step"]!)], Is.EqualTo((float)(double)step[name]!), $"{name} at step {step["step"]}");
            }
        }

        JsonObject evaluation = log.First(entry => (string?)entry["kind"] == "eval");
        Assert.That(scalars[("eval/retrieval/full/image_to_text_R@1", 7)], Is.EqualTo((float)(double)evaluation["retrieval"]!["full"]!["image_to_text_R@1"]!));
        Assert.That(scalars.Keys.Select(key => key.Item1), Has.None.EndsWith("/step"));

        EventRecord explained = Value(values.Single(record => Value(record).Text(1) == "hide/explained_variance"));
        double[] of = [.. log.Where(entry => (string?)entry["kind"] == "step" && (int)entry["step"]! is >= 2 and <= 20).Select(entry => (double)entry["explained_variance"]!)];
        Assert.That((explained.Message(5).Double(3), explained.Message(5).Double(1)), Is.EqualTo((19.0, of.Min())), "the steps since this part of the run began");
        Assert.That(Value(values.Single(record => Value(record).Text(1) == "hide/share_of_each_component")).Message(5).Double(4), Is.EqualTo(1.0).Within(1e-6), "shares add up");

        EventRecord[] pictures = [.. values.Where(record => Value(record).Has(4))];
        Assert.That(pictures, Has.Length.EqualTo(4));
        EventRecord picture = Value(pictures[0]).Message(4);
        Raster decoded = ImageFile.Decode(picture.Bytes(4), "event", rgbFirst: true);
        Assert.That((picture.Number(1), picture.Number(2), decoded.Width, decoded.Height), Is.EqualTo((36L, 36L, 36, 36)));
        Assert.That(decoded.Rgba.Distinct().Count(), Is.GreaterThan(10), "a scene, not a blank");
        Assert.That(values.Count(record => Value(record).Text(1).StartsWith("examples/", StringComparison.Ordinal) && Value(record).Has(8)), Is.EqualTo(4), "captions");

        static EventRecord Value(EventRecord record) => record.Message(5).Message(1);
    }
}
