// SPDX-License-Identifier: Apache-2.0
using System.Text.Json.Nodes;
using HiMo.Trainer;

namespace HiMo.Kernels.Tests.Trainer.Reporting;

/// <summary>Run folders with made-up smooth numbers, in the layout that <c>himo train</c> and <c>himo eval</c> write.</summary>
internal static class SampleRuns
{
    private static readonly byte[] s_pixel = Convert.FromBase64String(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==");

    /// <summary>Two bases, before, plain and HiMo, three seeds each; returns the run folders.</summary>
    /// <param name="root">An existing empty folder.</param>
    public static string[] Write(string root)
    {
        _ = Directory.CreateDirectory(Path.Combine(root, "data", "eval", "images"));
        File.WriteAllBytes(Path.Combine(root, "data", "eval", "images", "000000.png"), s_pixel);
        List<string> runs = [];
        for (int number = 1; number <= 2; number++)
        {
            string name = $"demo-base-{number}";
            runs.Add(WriteRun(root, $"base{number}", "before", name, seed: 0));
            for (int seed = 0; seed < 3; seed++)
            {
                runs.Add(WriteRun(root, $"plain-base{number}-seed{seed}", "plain", name, seed));
                runs.Add(WriteRun(root, $"himo-base{number}-seed{seed}", "himo", name, seed));
            }
        }

        return [.. runs];
    }

    private static string WriteRun(string root, string name, string loss, string baseName, int seed)
    {
        string run = Path.Combine(root, "runs", name);
        _ = Directory.CreateDirectory(run);
        double gain = loss switch { "before" => -0.3, "plain" => 0.0, _ => 0.1 };
        File.WriteAllText(Path.Combine(run, "eval.json"), Evaluation(loss == "before" ? $"models/{baseName}.safetensors" : $"{run}/model.safetensors", gain, seed).ToJsonString());
        if (loss != "before")
        {
            File.WriteAllText(Path.Combine(run, "config.json"), new JsonObject
            {
                ["name"] = name, ["loss"] = loss, ["base"] = $"models/{baseName}.safetensors", ["seed"] = seed, ["steps"] = 120, ["batch"] = 128,
                ["learning_rate"] = 1e-3, ["tau"] = 0.6, ["lambda"] = loss == "himo" ? 1.0 : 0.0, ["label_smoothing"] = 0.1, ["basis_gradient"] = "stopped",
            }.ToJsonString());
            File.WriteAllLines(Path.Combine(run, "log.jsonl"), Enumerable.Range(1, 120).SelectMany(step => step % 40 == 0 && step < 120
                ? new[] { Step(step, loss, seed), Measured(step, gain, seed) }
                : [Step(step, loss, seed)]).Select(record => record.ToJsonString()));
        }

        return run;
    }

    private static JsonObject Step(int step, string loss, int seed)
    {
        double decay = Math.Exp(-step / 40.0);
        bool himo = loss == "himo";
        return new JsonObject
        {
            ["kind"] = "step", ["step"] = step, ["loss"] = 1.0 + decay, ["global"] = 0.9 + decay + (0.02 * seed), ["component"] = himo ? 1.4 + decay : 0.0,
            ["m"] = himo ? 3 + (step / 40) : 0, ["explained_variance"] = himo ? 0.6 + (0.03 * Math.Sin(step)) : 0.0, ["relative_gap"] = himo ? 0.1 : "Infinity",
            ["lr"] = 1e-3 * decay, ["logit_scale"] = 3.3, ["grad_norm"] = 1.0, ["step_ms"] = 200.0, ["loss_ms"] = 3.0, ["data_ms"] = 5.0, ["samples_per_second"] = 640.0,
        };
    }

    /// <summary>An evaluation in the log, halfway from the base to the end.</summary>
    private static JsonObject Measured(int step, double gain, int seed)
    {
        JsonObject record = new() { ["kind"] = "eval", ["step"] = step };
        foreach ((string key, JsonNode? value) in GrowingEvaluation.Summary(Evaluation("", gain / 2, seed)))
        {
            record[key] = value?.DeepClone();
        }

        return record;
    }

    private static JsonObject Evaluation(string checkpoint, double gain, int seed)
    {
        double noise = 0.004 * seed;
        JsonObject Recall(double level) => new() { ["image_to_text_R@1"] = level + noise, ["text_to_image_R@1"] = level - 0.02 + noise };
        JsonObject Growth(double level) => new() { ["himo@2"] = level + noise, ["himo@3"] = level - 0.1, ["himo@K"] = (level * 1.2) - 0.3 };
        JsonArray components = [];
        for (int kept = 1; kept <= 128; kept *= 2)
        {
            JsonObject entry = Recall(0.98 / (1 + Math.Exp(-(Math.Log2(kept) - 3.5 + (8 * gain)))));
            entry["kept"] = kept;
            components.Add(entry);
        }

        double[] growth = [.. Enumerable.Range(1, 5).Select(k => 0.3 + (gain * 0.02 * k) + noise)];
        return new JsonObject
        {
            ["checkpoint"] = checkpoint, ["data"] = "data", ["gallery"] = 1000,
            ["retrieval"] = new JsonObject { ["full"] = Recall(0.9 - (gain / 5)), ["half"] = Recall(0.6), ["gist"] = Recall(0.45 - (gain / 3)) },
            ["components"] = components, ["effective_rank"] = 21.0 - (50 * gain), ["himo"] = Growth(0.7), ["margin"] = Growth(0.5 + (2 * gain)),
            ["completeness"] = new JsonObject { ["sentences"] = Array([1, 2, 3, 4, 5]), ["similarity"] = Array(growth), ["margin"] = Array(growth) },
            ["histogram"] = new JsonObject { ["matched"] = Bell(75 + (20 * gain), 1000), ["unmatched"] = Bell(60, 999_000) },
            ["failures"] = new JsonArray(Failure(57, "images/000000.png"), Failure(12, "images/000000.png")),
            ["spectrum"] = Array([.. Enumerable.Range(1, 128).Select(i => Math.Pow(i, -1.0 - gain))]),
            ["examples"] = new JsonArray(new JsonObject
            {
                ["image"] = "images/000000.png",
                ["captions"] = new JsonArray("three shapes .", "three shapes . the <red> disc is left ."),
                ["similarity"] = Array([0.31, 0.36 + gain]),
            }),
        };
    }

    private static JsonObject Failure(int rank, string image) => new()
    {
        ["text"] = "three shapes . the <red> disc is left .", ["image"] = image, ["rank"] = rank, ["similarity"] = 0.31,
        ["first"] = new JsonObject { ["image"] = image, ["text"] = "two shapes .", ["similarity"] = 0.4 },
    };

    private static JsonArray Bell(double centre, int pairs) => [.. Enumerable.Range(0, SimilarityHistogram.Bins).Select(bin => (JsonNode)(long)(pairs * 0.1 * Math.Exp(-Math.Pow((bin - centre) / 4, 2))))];

    private static JsonArray Array(double[] values) => [.. values.Select(value => (JsonNode)value)];
}
