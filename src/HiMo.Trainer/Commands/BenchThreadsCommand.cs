// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using HiMo.Interop;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary><c>bench threads</c>: the loss with one thread, with one per processor, and with more than there are processors.</summary>
internal static class BenchThreadsCommand
{
    private const double LogitScale = 4.6052;
    private const int MinRounds = 5;

    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string> sizes = BenchOptions.List("--sizes", "128,512,128,768,256,512,1024,512", "Rows and width of each batch, in turn.");
        Option<string> threads = BenchOptions.List("--threads", "1,2,4,8,16,32,64", "Numbers of threads.");
        Option<double> seconds = BenchOptions.Seconds(3.0);
        Option<bool> json = BenchOptions.Json();
        Command command = new("threads", "Forward and backward by number of threads, fused and in the fastest plain form.") { sizes, threads, seconds, json };
        command.Set((parse, cancel) =>
        {
            int[] shape = BenchOptions.Numbers(parse, sizes, 2), counts = BenchOptions.Numbers(parse, threads, 1);
            if (shape.Length % 2 != 0)
            {
                throw new UserError($"--sizes has {shape.Length} numbers; it must be pairs of rows and width");
            }

            BenchmarkTable table = new(
                "threads", ("n", "N", ""), ("dim", "d", ""), ("threads", "threads", ""), ("fused_ms", "fused, ms", "F2"), ("eigh_ms", "plain eigh, ms", "F2"), ("ratio", "eigh / fused", "F2"));
            foreach (int[] pair in shape.Chunk(2))
            {
                foreach (int count in counts)
                {
                    parse.InvocationConfiguration.Error.WriteLine($"himo: {pair[0]} x {pair[1]}, {count} threads");
                    Measure(table, pair[0], pair[1], count, parse.GetValue(seconds), cancel);
                }
            }

            table.Write(parse.InvocationConfiguration.Output, parse.GetValue(json));
        });
        return command;
    }

    // More threads than processors help no side; libtorch, which starts them all, is left out there.
    private static void Measure(BenchmarkTable table, int rows, int columns, int threads, double seconds, CancellationToken cancel)
    {
        TorchLoader.EnsureLoaded();
        int before = get_num_threads();
        bool both = threads <= Environment.ProcessorCount;
        try
        {
            set_num_threads(Math.Min(threads, Environment.ProcessorCount));
            using DisposeScope scope = NewDisposeScope();
            (Tensor images, Tensor texts) = PowerLawFeatures.Create(rows, columns, 1);
            Tensor[] inputs = [images.requires_grad_(), texts.requires_grad_(), tensor((float)LogitScale).requires_grad_()];
            using MoLoLoss fused = new(threads: threads);
            using PlainMoLoLoss eigh = new(method: PlainMethod.Eigh);
            fused.Warning += _ => { };
            Action[] contestants = both ? [() => LossBenchmark.Step(fused, inputs), () => LossBenchmark.Step(eigh, inputs)] : [() => LossBenchmark.Step(fused, inputs)];
            Timing[] times = InterleavedTiming.Run(seconds, MinRounds, cancel, contestants);
            table.Add(rows, columns, threads, times[0].Minimum, both ? times[1].Minimum : null, both ? times[1].Minimum / times[0].Minimum : null);
        }
        finally
        {
            set_num_threads(before);
        }
    }
}
