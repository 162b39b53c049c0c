// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Numerics.Tensors;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>The machine's memory bandwidth: a = b + s c over arrays far larger than its caches, counted without the reads that writing a costs.</summary>
internal static class MemoryRate
{
    private const int Floats = 1 << 24;                // 64 MiB each
    private const int Chunk = 1 << 16;
    private const int Runs = 6;

    /// <summary>GB/s of the given number of threads at once, the best of several runs.</summary>
    /// <param name="threads">1 or more.</param>
    public static double Measure(int threads)
    {
        using WorkerPool pool = new(threads);
        Triad work = new() { A = new float[Floats], B = new float[Floats], C = new float[Floats] };
        double best = double.PositiveInfinity;
        for (int run = 0; run <= Runs; run++)
        {
            long start = Stopwatch.GetTimestamp();
            pool.Run(ref work, Floats / Chunk);
            best = run == 0 ? best : Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);     // the first run maps the pages
        }

        return 3.0 * sizeof(float) * Floats / best / 1e9;
    }

    private struct Triad : IParallelWork
    {
        public float[] A;
        public float[] B;
        public float[] C;

        public readonly void Run(int task, int thread)
        {
            int start = task * Chunk;
            TensorPrimitives.MultiplyAdd(C.AsSpan(start, Chunk), 1.5f, B.AsSpan(start, Chunk), A.AsSpan(start, Chunk));
        }
    }
}
