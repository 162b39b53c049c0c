// SPDX-License-Identifier: Apache-2.0
// Eigensystems (EigenSymmetric.Gpu.*.cs): chains of steps that wait for each other. Links are counted in the source, operation by operation along the longest
// path of a step; what many threads share is moved at the shared memory's rate.
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Prices of eigensystems.</summary>
internal static class GpuEigenCost
{
    private const string Chain = "chain of dependent steps";

    // Of one step of each chain.
    private const int SumLinks = 6;                     // over a warp: the thread's own part, 5 shuffles
    private const int CountLinks = 2;                   // a row of a count of eigenvalues: a multiply-add, and an eighth of the rescaling
    private const double CountInstructions = 21.0;      // of a warp for a row of its four counts, 9 of them in float64, which take two cycles each
    private const int SolveLinks = 3;                   // a row of a solution: two products, a sum
    private const int ReflectLinks = 6;                 // of one group: a word, products, 3 shuffles, the update

    // A column within one group: barrier, words, two sums, root and division, a pass over the rows, sums of eight rows, the product's place.
    private const int ColumnLinks = 2 + 1 + (2 * SumLinks) + 4 + 3 + 5 + 1;

    // A column over the chip: two sums through shared memory (barrier, words), the column, root and division, on average one and a half passes over four rows
    // with the sums of their products, barrier, and the record.
    private const int SharedSumLinks = SumLinks + 1 + 2 + 2;
    private const int ChipColumnLinks = 1 + (2 * SharedSumLinks) + 4 + 5 + 16 + 2 + 4;
    private const int ChipReflectLinks = 3 + SumLinks + 1;

    private const int ValueRounds = 6;                  // of the slowest warp behind the first counts: Gram matrices of Gaussian rows take 5 to 7, multiple eigenvalues up to 18

    /// <summary>One thread group a problem, one of them on a multiprocessor: n up to 176.</summary>
    public static KernelCost OneGroup(LaunchEntry launch, int n)
    {
        int problems = launch.Groups.X, threads = launch.Threads;
        double counts = n / 2.0 * (CountRow(threads) + (ValueRounds * CountRow(2.0 * n)));              // two threads an eigenvalue
        double passes = Math.Ceiling(4.0 * n / threads);                                                // eight threads have two vectors
        double links = (n * ColumnLinks) + (n * SolveLinks) + (passes * n * ReflectLinks);
        double loads = 12.0;                                                                           // K in two turns, the solutions' joint
        double seconds = Links(links) + counts + Matrix(n) + Loads(loads);
        double waves = Math.Ceiling(problems / (double)GpuModel.Multiprocessors);
        return KernelCost.Of(launch, problems * 9.0 * n * n * n, problems * 8.0 * n * n, 0.0, (waves * seconds, Chain));
    }

    // A row of the counts of some threads: what a chain waits for its row before, or the four schedulers for instructions of all warps.
    private static double CountRow(double threads) => Math.Max(Links(CountLinks), CountInstructions * Math.Ceiling(threads / GpuModel.Lanes) / GpuModel.Clock);

    // The rows below each column, read and written; of their columns those that are not finished, in quarters of a warp with four a lane.
    private static double Matrix(int n)
    {
        int width = EigenSymmetricGpu.Pitch(n) - 4;
        double words = Enumerable.Range(0, n).Sum(k => (n - k - 1.0) * (width - Math.Min(k / Gpu.WarpSize * Gpu.WarpSize, 4 * Gpu.WarpSize)));
        return words * 2.0 * sizeof(float) / GpuModel.SharedBytes / GpuModel.Clock;
    }

    /// <summary>One launch of an eigensystem over the chip.</summary>
    public static KernelCost Chip(LaunchEntry launch, int n)
    {
        const int TogetherInMean = 8;
        double problems = launch.Groups.Y, square = (double)n * n;
        double warps = launch.Threads / (double)Gpu.WarpSize;
        (double flops, double bytes, double seconds) = launch.Kernel.Name switch
        {
            "MeanKernel" => (square, 4.0 * square, Loads(n / TogetherInMean)),
            "CentreKernel" => (4.0 * square, 12.0 * square, Loads((2 * n / launch.Threads) + (n / Gpu.WarpSize * Math.Ceiling(n / (launch.Groups.X * warps))))),
            "ClusterColumnsKernel" => (4.0 / 3.0 * square * n, 12.0 * square, Waves(launch) * n * GpuModel.ClusterColumn),
            "ColumnsKernel" => (4.0 / 3.0 * square * n, 8.0 * square * launch.Groups.X, Columns(n, launch.Groups.X, GpuModel.Exchange)),
            "PerturbKernel" => (0.0, 72.0 * n, Loads(n / Gpu.WarpSize)),
            "ValuesKernel" => (0.0, 72.0 * n, Links((1.0 + ValueRounds) * n / 2.0 * CountLinks)),
            "VectorsKernel" => (0.0, 10.0 * square, Links(n * (double)SolveLinks)),
            "BackKernel" => (2.0 * square * n, 14.0 * square, n * Math.Max(GpuModel.LoadLatency, Links(ChipReflectLinks))),     // the next reflector is on its way
            "RankKernel" => (0.0, 12.0 * n, Links(n) + Loads(n / launch.Threads)),                      // one thread adds
            _ => throw new InvalidOperationException($"{launch.Name} has no price"),
        };
        return KernelCost.Of(launch, problems * flops, problems * bytes, 0.0, (seconds, Chain), (problems * bytes / GpuModel.CacheBandwidth, "cache"));
    }

    // Clusters that do not fit side by side wait for others to end.
    private static double Waves(LaunchEntry launch) => Math.Ceiling(launch.Groups.Y / Math.Floor(GpuModel.Multiprocessors / (double)launch.Groups.X));

    // An exchange a column, and the rows' work in shared memory: a third of n^3 elements, read and written, and three vectors for four rows of them.
    private static double Columns(int n, double groups, double exchange)
    {
        double words = (2.0 + (3.0 / 4.0)) * n * n * n / (3.0 * groups);
        return (n * (exchange + Links(ChipColumnLinks))) + (words * sizeof(float) / GpuModel.SharedBytes / GpuModel.Clock);
    }

    private static double Links(double count) => count * GpuModel.Link;

    private static double Loads(double count) => count * GpuModel.LoadLatency;
}
