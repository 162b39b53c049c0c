// SPDX-License-Identifier: Apache-2.0
// Device time on a CUDA GPU: by events, median of many, inputs rotated past the second-level cache.
using System.Diagnostics;
using HiMo.Kernels;
using ILGPU.Runtime;

namespace HiMo.Trainer;

/// <summary>One measured case.</summary>
/// <param name="Kept">m.</param>
/// <param name="Number">Of the first inputs: the loss, or, of HiDe alone, the explained variance.</param>
/// <param name="FirstMilliseconds">Wall time of the first run of the process, kernels compiled or read from the cache.</param>
/// <param name="StreamMilliseconds">Median device time of a run, launch by launch.</param>
/// <param name="GraphMilliseconds">Median device time of a replayed graph.</param>
/// <param name="HostMicroseconds">Wall time that the host takes to enqueue a run, launch by launch.</param>
/// <param name="WorkspaceBytes">Device memory beside inputs and gradients.</param>
internal sealed record GpuTimes(
    int Kept, double Number, double FirstMilliseconds, double StreamMilliseconds, double? GraphMilliseconds, double? HostMicroseconds, long WorkspaceBytes);

/// <summary>The benchmark of one workload.</summary>
/// <param name="gpu">A CUDA device.</param>
/// <param name="create">Takes the workload's memory.</param>
internal sealed class GpuBenchmark(Gpu gpu, Func<GpuWorkload> create)
{
    private const double LongRun = 5000.0;              // ms: one run tells all, and the host's part of it is lost in the rest

    /// <summary>Times runs for about this long; a run of many seconds is made once.</summary>
    public GpuTimes Run(double seconds)
    {
        using AcceleratorStream stream = gpu.Accelerator.CreateStream();
        using GpuWorkload work = create();
        gpu.Accelerator.Synchronize();
        long start = Stopwatch.GetTimestamp();
        work.Run(stream, 0);
        stream.Synchronize();
        double first = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        (int kept, double number) = work.Read(stream);
        if (first > LongRun)
        {
            return new GpuTimes(kept, number, first, first, null, null, work.WorkspaceBytes);
        }

        (double streamed, double host) = Time(stream, seconds, set => work.Run(stream, set), work.Sets);
        CudaGraph[] graphs = [.. Enumerable.Range(0, work.Sets).Select(set => CudaGraph.Capture(stream, () => work.Run(stream, set)))];
        (double replayed, _) = Time(stream, seconds, set => graphs[set].Launch(stream), work.Sets);
        Array.ForEach(graphs, graph => graph.Dispose());
        return new GpuTimes(kept, number, first, streamed, replayed, host, work.WorkspaceBytes);
    }

    /// <summary>Device time of every kernel of a run, by events around each launch.</summary>
    public List<(string Kernel, int Launches, double Milliseconds)> Profile(int rounds)
    {
        using AcceleratorStream stream = gpu.Accelerator.CreateStream();
        using GpuWorkload work = create();
        work.Run(stream, 0);
        stream.Synchronize();
        using LaunchTimer timer = new();
        gpu.Timer = timer;
        for (int i = 0; i < rounds; i++)
        {
            work.Run(stream, 0);
        }

        gpu.Timer = null;
        return [.. timer.Read().Select(each => (each.Kernel, each.Launches / rounds, each.Milliseconds / rounds))];
    }

    // Median device milliseconds, and host microseconds for each call.
    private static (double Device, double Host) Time(AcceleratorStream stream, double seconds, Action<int> enqueue, int sets)
    {
        const int Together = 32;        // enqueued before the host waits, so that the device always has work
        for (int set = 0; set < sets; set++)
        {
            enqueue(set);
        }

        stream.Synchronize();
        CudaEvent[] marks = [.. Enumerable.Range(0, Together + 1).Select(_ => new CudaEvent())];
        List<double> device = [], host = [];
        long start = Stopwatch.GetTimestamp();
        int next = 0;
        do
        {
            int rounds = device.Count > 0 && device[^1] > 100.0 ? 1 : Together;
            marks[0].Record(stream);
            long begin = Stopwatch.GetTimestamp();
            for (int i = 0; i < rounds; i++, next++)
            {
                enqueue(next % sets);
                marks[i + 1].Record(stream);
            }

            host.Add(Stopwatch.GetElapsedTime(begin).TotalMicroseconds / rounds);
            marks[rounds].Synchronize();
            device.AddRange(Enumerable.Range(0, rounds).Select(i => (double)marks[i + 1].MillisecondsSince(marks[i])));
        }
        while (Stopwatch.GetElapsedTime(start).TotalSeconds < seconds);
        Array.ForEach(marks, mark => mark.Dispose());
        return (Median(device), Median(host));

        static double Median(List<double> values)
        {
            values.Sort();
            return values[values.Count / 2];
        }
    }
}
