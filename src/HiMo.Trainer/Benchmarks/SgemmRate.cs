// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>What libtorch's BLAS reaches: a float32 product of 1024 x 1024 matrices.</summary>
internal static class SgemmRate
{
    private const int Size = 1024;

    /// <summary>GFLOP/s with libtorch's current number of threads, the best of several runs.</summary>
    public static double Measure()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor a = rand(Size, Size), b = rand(Size, Size);
        double best = double.PositiveInfinity;
        for (int run = 0; run < 8; run++)
        {
            long start = Stopwatch.GetTimestamp();
            using Tensor product = a.matmul(b);
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return 2.0 * Size * Size * Size / best / 1e9;
    }
}
