// SPDX-License-Identifier: Apache-2.0
// A step's numbers from the statistics of its rows and columns.
//            L_branch = 1/2 [mean_i (lse_i - S_ii) + mean_j (lse_j - S_jj)] + eps (mean_i S_ii - mean_ij S_ij), and the same for dL/d ln s
//            with sum_j R_ij S_ij in the place of lse_i.
// Mapping    one group; every thread adds up its lines, eight at a time, then the warps their threads' sums.
// Precision  float64 sums.
// Determinism  in an order that depends on N and the number of threads only.
// Limits     a group of whole warps and at most 512 threads, which shared memory has room for; N below 2^30. One multiprocessor reads all lines, O(N).
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Arguments of <see cref="StepSummaryGpu.Kernel"/>.</summary>
internal struct StepSummaryArguments
{
    public BranchStatistics Branches;

    /// <summary>Receives <see cref="StepSummary.Length"/> numbers.</summary>
    public ArrayView<float> Numbers;

    /// <summary>Explained variance and relative gap; empty: nothing is reconstructed.</summary>
    public ArrayView<float> Rank;

    /// <summary>Weight of the global branch, which is group 0; 0: there is none.</summary>
    public double GlobalWeight;

    /// <summary>Weight of the component branch, which is the last group; 0: there is none.</summary>
    public double Lambda;

    /// <summary>1: adds to the first four numbers and leaves the rest.</summary>
    public int IsAdded;
}

/// <summary>The kernel that adds up the losses of factors.</summary>
internal static class StepSummaryGpu
{
    private const int MostThreads = 512;
    private const int MostWarps = MostThreads / Gpu.WarpSize;

    /// <summary>Enqueues the sums.</summary>
    public static void Run(Gpu gpu, AcceleratorStream stream, StepSummaryArguments p) =>
        gpu.Launch(stream, Kernel, new Index3D(1, 1, 1), Math.Min(MostThreads, gpu.Accelerator.MaxNumThreadsPerGroup), p);

    /// <summary>One group.</summary>
    public static void Kernel(StepSummaryArguments p)
    {
        ArrayView<double> losses = SharedMemory.Allocate<double>(MostWarps);
        ArrayView<double> gradients = SharedMemory.Allocate<double>(MostWarps);
        ArrayView<double> smoothed = SharedMemory.Allocate<double>(MostWarps);
        double total = 0.0;
        double gradScale = 0.0;
        for (int slot = 0; slot < 2; slot++)
        {
            double weight = slot == 0 ? p.GlobalWeight : p.Lambda;
            int branch = slot == 1 && p.GlobalWeight != 0.0 ? 1 : 0;
            double loss = 0.0;
            if (weight != 0.0)
            {
                Add(p.Branches, branch, losses, gradients, smoothed);
                GroupBarrier.Wait(); // every warp's sums are there
                double directions = p.Branches.HasColumns != 0 ? 1.0 : 0.5; // each has half of the weight
                double smoothing = directions * p.Branches.LabelSmoothing * Sum(smoothed) / p.Branches.Rows;
                loss = (0.5 * Sum(losses) / p.Branches.Rows) + smoothing;
                gradScale += weight * ((0.5 * Sum(gradients) / p.Branches.Rows) + smoothing);
                GroupBarrier.Wait(); // the next branch overwrites the sums
            }

            total += weight * loss;
            if (Group.IdxX == 0)
            {
                Put(p, 1 + slot, loss);
            }
        }

        if (Group.IdxX == 0)
        {
            Put(p, 0, total);
            Put(p, 3, gradScale);
        }

        if (Group.IdxX == 0 && p.IsAdded == 0)
        {
            p.Numbers[4] = p.Rank.Length > 0 ? p.Rank[0] : 0.0f;
            p.Numbers[5] = p.Rank.Length > 0 ? p.Rank[1] : float.PositiveInfinity;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(StepSummaryArguments p, int index, double value) =>
        p.Numbers[index] = p.IsAdded != 0 ? p.Numbers[index] + (float)value : (float)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(BranchStatistics branches, int branch, ArrayView<double> losses, ArrayView<double> gradients, ArrayView<double> smoothed)
    {
        long start = (long)branch * branches.Lines;
        double loss = 0.0;
        double gradient = 0.0;
        double smoothing = 0.0;
        int lines = branches.HasColumns != 0 ? branches.Lines : branches.Rows;
        for (int line = Group.IdxX; line < lines; line += 8 * Group.DimX)
        {
            loss += Eight(branches.Loss, start, line, lines);
            gradient += Eight(branches.GradScale, start, line, lines);
        }

        for (int line = Group.IdxX; line < branches.Rows; line += 8 * Group.DimX)
        {
            smoothing += Eight(branches.Target, (long)branch * branches.Rows, line, branches.Rows) - (Eight(branches.Total, start, line, branches.Rows) / branches.Columns);
        }

        loss = GroupSum.Warp(loss);
        gradient = GroupSum.Warp(gradient);
        smoothing = GroupSum.Warp(smoothing);
        if (Group.IdxX % Gpu.WarpSize == 0)
        {
            losses[Group.IdxX / Gpu.WarpSize] = loss;
            gradients[Group.IdxX / Gpu.WarpSize] = gradient;
            smoothed[Group.IdxX / Gpu.WarpSize] = smoothing;
        }
    }

    // The sum of a thread's next eight elements, loaded together; those behind the end count as 0.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Eight(ArrayView<float> values, long start, int first, int count)
    {
        int step = Group.DimX;
        return Four(values, start, first, step, count) + Four(values, start, first + (4 * step), step, count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Four(ArrayView<float> values, long start, int first, int step, int count)
    {
        double value0 = values[start + Math.Min(first, count - 1)];
        double value1 = values[start + Math.Min(first + step, count - 1)];
        double value2 = values[start + Math.Min(first + (2 * step), count - 1)];
        double value3 = values[start + Math.Min(first + (3 * step), count - 1)];
        double sum = (first < count ? value0 : 0.0) + (first + step < count ? value1 : 0.0);
        return sum + ((first + (2 * step) < count ? value2 : 0.0) + (first + (3 * step) < count ? value3 : 0.0));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Sum(ArrayView<double> values)
    {
        double sum = 0.0;
        for (int i = 0; i < Group.DimX / Gpu.WarpSize; i++)
        {
            sum += values[i];
        }

        return sum;
    }
}
