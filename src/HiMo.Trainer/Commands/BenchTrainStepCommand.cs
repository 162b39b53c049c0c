// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;

namespace HiMo.Trainer;

/// <summary>Architectures of <c>bench train-step</c>.</summary>
internal enum TrainStepSize
{
    /// <summary>For tests.</summary>
    Tiny,

    /// <summary>The demonstration's model.</summary>
    Demo,

    /// <summary>A third of ViT-B/32 in width and depth, context 77.</summary>
    Medium,

    /// <summary>ViT-B/32 with 248 text positions.</summary>
    VitB32,

    /// <summary>ViT-B/16 with 248 text positions.</summary>
    VitB16,
}

/// <summary><c>bench train-step</c>: a whole training step against the same model written plainly, and where its time goes.</summary>
internal static class BenchTrainStepCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<TrainStepSize> size = ChoiceOption.Create("--size", TrainStepSize.Demo, "Architecture.");
        Option<int> batch = new("--batch") { Description = "Pairs in a step.", HelpName = "N", DefaultValueFactory = _ => 64 };
        Option<int> threads = new("--threads") { Description = "Threads of both sides. [one per processor]", HelpName = "T", DefaultValueFactory = _ => Environment.ProcessorCount };
        Option<double> seconds = new("--seconds") { Description = "Time for the comparison.", HelpName = "S", DefaultValueFactory = _ => 30.0 };
        Option<Precision> precision = ChoiceOption.Create("--precision", Precision.Float32, "A lower one is timed against float32 in the place of the plain model.");
        Option<string> device = DeviceOption.Create("A GPU: the step with our loss and with plain ones, each loss's share.");
        Option<bool> json = new("--json") { Description = "Print one JSON object." };
        Option<int> only = new("--only") { Description = "Run this many steps of ours and print their milliseconds: what the profile starts.", Hidden = true };
        Command command = new("train-step", "A whole training step: against the same model in plain TorchSharp, the optimizer's share, the share of matrix products.")
        {
            size, batch, threads, seconds, precision, device, json, only,
        };
        command.Set((parse, cancel) =>
        {
            (int pairs, int count) = (parse.GetValue(batch), parse.GetValue(threads));
            if (pairs < 2 || count < 1)
            {
                throw new UserError($"--batch {pairs} --threads {count}: from 2 pairs and 1 thread on are possible");
            }

            TextWriter output = parse.InvocationConfiguration.Output;
            Precision wanted = parse.GetValue(precision);
            ClipConfig model = Model(parse.GetValue(size));
            if (parse.GetValue(only) is > 0 and int steps)
            {
                using TrainStepBenchmark own = new(model, pairs, count, wanted);
                output.WriteLine(Steps(own, steps).ToString("R", CultureInfo.InvariantCulture));
                return;
            }

            if (TorchDevice.Open(parse.GetRequiredValue(device)) is { type: DeviceType.CUDA } gpu)
            {
                using DeviceTrainStep step = new(model, pairs, gpu, wanted);
                JsonObject measured = step.Measure(parse.GetValue(seconds), cancel);
                output.WriteLine(parse.GetValue(json) ? measured.ToJsonString(s_indented) : Text(measured));
                return;
            }

            JsonObject result = new() { ["size"] = model.VisionWidth, ["batch"] = pairs, ["threads"] = count, ["cpu"] = LossBenchmarkResult.Processor };
            Measure(result, model, pairs, count, wanted, parse.GetValue(seconds), cancel);
            Profile(result, [.. parse.Tokens.Select(token => token.Value).Where(token => token != "--json")], cancel);
            output.WriteLine(parse.GetValue(json) ? result.ToJsonString(s_indented) : Text(result));
        });
        return command;
    }

    private static void Measure(JsonObject result, ClipConfig model, int batch, int threads, Precision precision, double seconds, CancellationToken cancel)
    {
        using TrainStepBenchmark own = new(model, batch, threads, Precision.Float32);
        if (precision == Precision.Float32)
        {
            Timing[] times = own.Compare(seconds, cancel);
            foreach ((string name, Timing time) in new[] { "ours", "plain_infonce", "plain_himo" }.Zip(times))
            {
                (result[$"{name}_ms"], result[$"{name}_min_ms"]) = (Math.Round(time.Median, 3), Math.Round(time.Minimum, 3));
            }

            (result["ratio_infonce"], result["ratio_himo"]) = (Ratio(times[1], times[0]), Ratio(times[2], times[0]));
        }
        else
        {
            using TrainStepBenchmark low = new(model, batch, threads, precision);
            Timing[] times = InterleavedTiming.Run(seconds, 3, cancel, () => own.Step(), () => low.Step());
            (result["float32_ms"], result["float32_min_ms"]) = (Math.Round(times[0].Median, 3), Math.Round(times[0].Minimum, 3));
            (result["low_ms"], result["low_min_ms"]) = (Math.Round(times[1].Median, 3), Math.Round(times[1].Minimum, 3));
            (result["precision"], result["ratio_float32"]) = (precision.ToString().ToLowerInvariant(), Ratio(times[0], times[1]));
        }

        double before = own.OptimizerSeconds, milliseconds = Steps(own, 3);
        result["optimizer_share"] = Math.Round(1000.0 * (own.OptimizerSeconds - before) / milliseconds, 4);
    }

    /// <summary>Two children, of which one runs ten steps more, so that what is not a step cancels.</summary>
    private static void Profile(JsonObject result, string[] arguments, CancellationToken cancel)
    {
        const int Few = 2, Many = 12;
        (double Products, double Steps)[] runs = [.. new[] { Few, Many }.Select(steps =>
        {
            string output = ChildProcess.RunAsync(
                [.. arguments, "--only", steps.ToString(CultureInfo.InvariantCulture)], _ => { }, oneThread: false, cancel, ProductProfile.Environment).GetAwaiter().GetResult();
            string last = output.TrimEnd().Split('\n')[^1];
            return (ProductProfile.Milliseconds(output), double.Parse(last, CultureInfo.InvariantCulture));
        })];
        double products = runs[1].Products - runs[0].Products;
        result["matrix_product_share"] = runs[1].Products > 0.0 ? Math.Round(products / (runs[1].Steps - runs[0].Steps), 4) : null;
    }

    private static double Steps(TrainStepBenchmark benchmark, int count)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < count; i++)
        {
            _ = benchmark.Step();
        }

        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    private static double Ratio(Timing slow, Timing quick) => Math.Round(slow.Minimum / quick.Minimum, 3);

    private static string Text(JsonObject result) => string.Join('\n', result.Select(pair => $"{pair.Key.Replace('_', ' '),-22} {pair.Value?.ToJsonString() ?? "not known: this libtorch does not print its products"}"));

    /// <summary>An architecture.</summary>
    internal static ClipConfig Model(TrainStepSize size) => size switch
    {
        TrainStepSize.Tiny => new ClipConfig
        {
            EmbedDim = 16, ImageResolution = 16, PatchSize = 8, VisionWidth = 32, VisionLayers = 2, ContextLength = 24, VocabSize = 40, TextWidth = 32, TextLayers = 2,
        },
        TrainStepSize.Demo => new ClipConfig
        {
            EmbedDim = 128, ImageResolution = 36, PatchSize = 12, VisionWidth = 128, VisionLayers = 3, VisionMlpWidth = 256, ContextLength = 88, VocabSize = 110,
            TextWidth = 128, TextLayers = 2, TextMlpWidth = 256,
        },
        TrainStepSize.Medium => new ClipConfig
        {
            EmbedDim = 256, ImageResolution = 224, PatchSize = 32, VisionWidth = 256, VisionLayers = 4, ContextLength = 77, VocabSize = 49408, TextWidth = 256, TextLayers = 4,
        },
        _ => new ClipConfig
        {
            EmbedDim = 512, ImageResolution = 224, PatchSize = size == TrainStepSize.VitB32 ? 32 : 16, VisionWidth = 768, VisionLayers = 12, ContextLength = 248,
            VocabSize = 49408, TextWidth = 512, TextLayers = 12,
        },
    };
}
