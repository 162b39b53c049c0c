// SPDX-License-Identifier: Apache-2.0
// Device time of the training step on a CUDA GPU: by events, median of many, inputs rotated past the second-level cache.
using System.Diagnostics;
using HiMo.Kernels;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Trainer;

/// <summary>One measured case.</summary>
/// <param name="Kept">m.</param>
/// <param name="Loss">Of the first inputs.</param>
/// <param name="FirstMilliseconds">Wall time of the first step of the process, kernels compiled or read from the cache.</param>
/// <param name="StreamMilliseconds">Median device time of a step, launch by launch.</param>
/// <param name="GraphMilliseconds">Median device time of a replayed graph.</param>
/// <param name="HostMicroseconds">Wall time that the host takes to enqueue a step, launch by launch.</param>
/// <param name="WorkspaceBytes">Device memory beside inputs and gradients.</param>
internal sealed record GpuTimes(
    int Kept, double Loss, double FirstMilliseconds, double StreamMilliseconds, double GraphMilliseconds, double HostMicroseconds, long WorkspaceBytes);

/// <summary>The benchmark of one shape.</summary>
/// <param name="gpu">A CUDA device.</param>
/// <param name="shape">N x d.</param>
/// <param name="settings">Precision and groups.</param>
internal sealed class GpuBenchmark(Gpu gpu, MatrixShape shape, GpuStepSettings settings)
{
    private const long PastCache = 256L << 20;          // bytes of inputs and gradients, several times the largest cache
    private const int MostSets = 64;
    private const float LogitScale = 4.6052f;

    /// <summary>Times steps for about this long.</summary>
    public GpuTimes Run(double seconds)
    {
        int length = checked((int)shape.Length * settings.Groups);
        int sets = (int)Math.Clamp(PastCache / (4L * sizeof(float) * length), 1, MostSets);
        using AcceleratorStream stream = gpu.Accelerator.CreateStream();
        using TrainingStepGpu step = new(gpu, shape, new MoLoOptions(), settings);
        long bytes = TrainingStepGpu.WorkspaceBytes(shape, new MoLoOptions(), settings);
        List<MemoryBuffer1D<float, Stride1D.Dense>> memory = [];
        StepBuffers<float>[] inputs = [.. Enumerable.Range(0, sets).Select(set => Inputs(set, length, memory))];
        try
        {
            gpu.Accelerator.Synchronize();
            long start = Stopwatch.GetTimestamp();
            step.Run(stream, inputs[0]);
            stream.Synchronize();
            double first = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            float[] summary = new float[StepSummary.Length];
            inputs[0].Summary.SubView(0, StepSummary.Length).CopyToCPU(stream, summary);
            int[] kept = new int[2];
            step.Kept.SubView(0, 2).CopyToCPU(stream, kept);
            stream.Synchronize();
            (double streamed, double host) = Time(stream, seconds, set => step.Run(stream, inputs[set]), sets);
            CudaGraph[] graphs = [.. inputs.Select(each => CudaGraph.Capture(stream, () => step.Run(stream, each)))];
            (double replayed, _) = Time(stream, seconds, set => graphs[set].Launch(stream), sets);
            Array.ForEach(graphs, graph => graph.Dispose());
            return new GpuTimes(Math.Max(kept[0], kept[1]), summary[0], first, streamed, replayed, host, bytes);
        }
        finally
        {
            memory.ForEach(buffer => buffer.Dispose());
        }
    }

    /// <summary>Device time of every kernel of a step, by events around each launch.</summary>
    public List<(string Kernel, int Launches, double Milliseconds)> Profile(int rounds)
    {
        int length = checked((int)shape.Length * settings.Groups);
        using AcceleratorStream stream = gpu.Accelerator.CreateStream();
        using TrainingStepGpu step = new(gpu, shape, new MoLoOptions(), settings);
        List<MemoryBuffer1D<float, Stride1D.Dense>> memory = [];
        StepBuffers<float> inputs = Inputs(0, length, memory);
        step.Run(stream, inputs);
        stream.Synchronize();
        using LaunchTimer timer = new();
        gpu.Timer = timer;
        for (int i = 0; i < rounds; i++)
        {
            step.Run(stream, inputs);
        }

        gpu.Timer = null;
        List<(string, int, double)> times = [.. timer.Read().Select(each => (each.Kernel, each.Launches / rounds, each.Milliseconds / rounds))];
        memory.ForEach(buffer => buffer.Dispose());
        return times;
    }

    private StepBuffers<float> Inputs(int seed, int length, List<MemoryBuffer1D<float, Stride1D.Dense>> memory)
    {
        (float[] images, float[] texts) = Features(length, shape, seed);
        MemoryBuffer1D<float, Stride1D.Dense> Keep(MemoryBuffer1D<float, Stride1D.Dense> buffer)
        {
            memory.Add(buffer);
            return buffer;
        }

        return new StepBuffers<float>
        {
            Images = Keep(gpu.Accelerator.Allocate1D(images)).View.BaseView, Texts = Keep(gpu.Accelerator.Allocate1D(texts)).View.BaseView,
            LogitScale = Keep(gpu.Accelerator.Allocate1D(new[] { LogitScale })).View.BaseView, GradImages = Keep(gpu.Allocate<float>(length)).View.BaseView,
            GradTexts = Keep(gpu.Allocate<float>(length)).View.BaseView, Summary = Keep(gpu.Allocate<float>(settings.Groups * StepSummary.Length)).View.BaseView,
        };
    }

    // The features of PowerLawFeatures, without torch, which a machine with a GPU need not have.
    private static (float[] Images, float[] Texts) Features(int length, MatrixShape shape, int seed)
    {
        float[] images = new float[length], texts = new float[length];
        int d = shape.Columns;
        float[] size = PowerLawFeatures.Decay(shape.Rows, d);
        Parallel.For(0, length / d, row =>
        {
            Random random = new(unchecked((seed * 7919) + (row * 31) + 1));
            for (int j = 0; j < d; j++)
            {
                long index = ((long)row * d) + j;
                texts[index] = size[j] * Normal(random);
                images[index] = texts[index] + (PowerLawFeatures.Noise * size[j] * Normal(random));
            }
        });
        return (images, texts);
    }

    private static float Normal(Random random) =>
        (float)(Math.Sqrt(-2.0 * Math.Log(1.0 - random.NextDouble())) * Math.Cos(2.0 * Math.PI * random.NextDouble()));

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
