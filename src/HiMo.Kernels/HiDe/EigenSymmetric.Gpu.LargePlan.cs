// SPDX-License-Identifier: Apache-2.0
// Over which groups a tridiagonalisation is spread. Each column ends with an exchange between all of them, so a few groups that reach each other's shared
// memory beat all groups of the chip, which meet in its second-level cache, if registers have room for their rows: docs/performance.md.
using System.Numerics;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    /// <summary>From one row's sums of the warps to the next one's; odd, so that lanes with a row each do not meet in a bank.</summary>
    private static int PartPitch(int warps) => ((warps + PartBlock - 1) / PartBlock * PartBlock) + 1;

    /// <summary>The launch of all columns.</summary>
    /// <param name="Threads">Of a group.</param>
    /// <param name="Groups">Of a problem.</param>
    /// <param name="Together">Problems of a launch.</param>
    /// <param name="SharedLength">Words of dynamic shared memory.</param>
    /// <param name="Kernel">What is launched.</param>
    /// <param name="Residency">How.</param>
    private sealed record ColumnsPlan(int Threads, int Groups, int Together, int SharedLength, Action<LargeEigenArguments> Kernel, Residency Residency)
    {
        public static ColumnsPlan For(Gpu gpu, int problems, int n, int threads) => OfCluster(gpu, problems, n, threads) ?? OfChip(gpu, problems, n, threads);

        /// <summary>Enqueues all columns of all problems.</summary>
        public void Run(Gpu gpu, AcceleratorStream stream, int problems, LargeEigenArguments arguments)
        {
            for (int first = 0; first < problems; first += Together)
            {
                arguments.First = first;
                gpu.Launch(stream, Kernel, new Index3D(Groups, Math.Min(Together, problems - first), 1), Threads, arguments, SharedLength, Residency);
            }
        }

        private static ColumnsPlan? OfCluster(Gpu gpu, int problems, int n, int threads)
        {
            int group = threads < SlotColumns ? 0 : SlotColumns << BitOperations.Log2((uint)(Math.Min(threads, MostClusterThreads) / SlotColumns));
            for (int ranks = gpu.MostOfCluster; ranks > 1; ranks /= 2)
            {
                bool isAligned = n <= SlotColumns || ClusterRows(ranks, group) == ClusterColumns; // slots of columns and of rows are finished together
                bool hasRoom = n < ClusterRows(ranks, group) || n == ClusterColumns; // with one row to spare for what lies before the first one, if anything does
                if (isAligned && hasRoom && gpu.FitsCluster<LargeEigenArguments>(ClusterColumnsKernel, ranks, group, 0))
                {
                    int together = gpu.IsEmulated && !gpu.OnlyRecords ? gpu.Description.Multiprocessors / ranks : problems; // the emulation does not start a row at a time
                    return new(group, ranks, together, 0, ClusterColumnsKernel, Residency.Cluster);
                }
            }

            return null;
        }

        private static ColumnsPlan OfChip(Gpu gpu, int problems, int n, int threads)
        {
            int group = Math.Min(threads, Math.Max(ColumnThreads, CeilDiv(n, PeekBlock * Gpu.WarpSize) * Gpu.WarpSize));
            int chip = gpu.Description.Multiprocessors;
            ColumnsPlan plan;
            int together = Math.Min(problems, chip);
            do
            {
                int groups = Math.Min(n, chip / together);
                int room = CeilDiv(n, groups) + RowBlock - 1;
                int vectors = (3 * n) + (room * PartPitch(group / Gpu.WarpSize));
                int all = vectors + (room * SharedRows.Stride(n));
                plan = Fits(all) ? new(group, groups, together, all, ColumnsKernel<SharedRows>, Residency.Grid) : new(group, groups, together, vectors, ColumnsKernel<GlobalRows>, Residency.Grid);
                together = chip / (groups + 1); // in turns, where a problem needs more groups for its vectors alone
            }
            while (!Fits(plan.SharedLength) && together > 0);
            return plan;

            bool Fits(int words) => (long)sizeof(float) * (words + (2 * GroupSum.ScratchLength)) <= gpu.SharedBytes;
        }
    }
}
