// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary><c>bench gpu</c>: device time of training steps, and of HiDe alone, on a CUDA GPU.</summary>
internal static class BenchGpuCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string[]> cases = new("--case")
        {
            Description = "N,D[,precision[,groups]] is the training step, N,D,hide[,groups] HiDe forward and backward; may be repeated.", HelpName = "CASE", DefaultValueFactory = _ =>
                ["128,768", "128,768,strict,64", "128,768,hide,64", "1024,768", "1024,768,tf32", "8192,768,tf32", "8192,768,bf16"],
        };
        Option<double> seconds = BenchOptions.Seconds(1.0);
        Option<bool> profile = new("--profile") { Description = "Time every kernel by itself instead." };
        Option<bool> json = BenchOptions.Json();
        Command command = new("gpu", "Device time of the step, or of HiDe alone, on a CUDA GPU, by events: launch by launch, and as a replayed graph.") { cases, seconds, profile, json };
        command.Set((parse, cancel) =>
        {
            TextWriter output = parse.InvocationConfiguration.Output;
            GpuCase[] wanted = [.. parse.GetValue(cases)!.Select(GpuCase.Parse)];
            Gpu gpu = Gpu.OpenCuda();
            if (parse.GetValue(profile))
            {
                Profile(gpu, wanted, output);
                return;
            }

            JsonArray rows = [];
            bool asText = !parse.GetValue(json);
            if (asText)
            {
                output.WriteLine($"{gpu.Description}\n");
                output.WriteLine("| N, d, precision, groups | m | first run, ms | run, ms | graph, ms | host, us | workspace, MiB | loss; of HiDe explained variance |\n|---|---|---|---|---|---|---|---|");
            }

            foreach (GpuCase each in wanted)
            {
                cancel.ThrowIfCancellationRequested();
                GpuTimes times = new GpuBenchmark(gpu, () => each.Create(gpu)).Run(parse.GetValue(seconds));
                rows.Add(new JsonObject
                {
                    ["case"] = each.Text, ["m"] = times.Kept, ["number"] = times.Number, ["first_ms"] = times.FirstMilliseconds, ["stream_ms"] = times.StreamMilliseconds,
                    ["graph_ms"] = times.GraphMilliseconds, ["host_us"] = times.HostMicroseconds, ["workspace_bytes"] = times.WorkspaceBytes,
                });
                if (asText)
                {
                    output.WriteLine(string.Create(
                        CultureInfo.InvariantCulture,
                        $"| {each.Text} | {times.Kept} | {times.FirstMilliseconds:0} | {times.StreamMilliseconds:0.000} | {times.GraphMilliseconds:0.000} | {times.HostMicroseconds:0} | {times.WorkspaceBytes / 1048576.0:0.0} | {times.Number:0.000000} |"));
                    output.Flush();
                }
            }

            if (!asText)
            {
                output.WriteLine(new JsonObject { ["device"] = gpu.Description.ToString(), ["cases"] = rows }.ToJsonString(s_indented));
            }
        });
        return command;
    }

    private static void Profile(Gpu gpu, GpuCase[] cases, TextWriter output)
    {
        foreach (GpuCase each in cases)
        {
            output.WriteLine($"{each.Text}\n{"us",10} {"launches",8}  kernel");
            foreach ((string kernel, int launches, double milliseconds) in new GpuBenchmark(gpu, () => each.Create(gpu)).Profile(rounds: 5))
            {
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{1e3 * milliseconds,10:0.0} {launches,8}  {kernel}"));
            }
        }
    }
}
