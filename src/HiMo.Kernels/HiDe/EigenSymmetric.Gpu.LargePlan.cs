// SPDX-License-Identifier: Apache-2.0
// Over which groups a tridiagonalisation is spread. Each column ends with an exchange between all of them, so a few groups that reach each other's shared
// memory beat all groups of the chip, which meet in its second-level cache, although each has more rows to update: docs/performance.md.
using System.Numerics;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    /// <summary>Words of shared memory to the next even one: records take two.</summary>
    private static int Even(int words) => (words + 1) / 2 * 2;

    /// <summary>From one row's sums of the warps to the next one's; odd, so that lanes with a row each do not meet in a bank.</summary>
    private static int PartPitch(int warps) => ((warps + PartBlock - 1) / PartBlock * PartBlock) + 1;

    /// <summary>Groups and shared memory of <see cref="ColumnsKernel{TRows,TInboxes}"/>.</summary>
    /// <param name="Threads">Of a group.</param>
    /// <param name="Groups">Of a problem.</param>
    /// <param name="Together">Problems of a launch.</param>
    /// <param name="Copies">Inboxes of a column in global memory.</param>
    /// <param name="RankBits">As the arguments have it.</param>
    /// <param name="RankPitch">As the arguments have it.</param>
    /// <param name="SharedLength">Words of dynamic shared memory.</param>
    /// <param name="Kernel">What is launched.</param>
    /// <param name="Residency">How.</param>
    private sealed record ColumnsPlan(
        int Threads, int Groups, int Together, int Copies, int RankBits, int RankPitch, int SharedLength, Action<LargeEigenArguments> Kernel, Residency Residency)
    {
        public static ColumnsPlan For(Gpu gpu, int problems, int n, int threads)
        {
            int group = Math.Min(threads, Math.Max(ColumnThreads, CeilDiv(n, PeekBlock * Gpu.WarpSize) * Gpu.WarpSize));
            for (int ranks = gpu.MostOfCluster; ranks > 1; ranks /= 2)
            {
                if (OfCluster(gpu, problems, n, group, ranks) is { } cluster && gpu.FitsCluster(cluster.Kernel, ranks, group, cluster.SharedLength))
                {
                    return cluster;
                }
            }

            int chip = gpu.Description.Multiprocessors;
            int together = Math.Min(problems, chip);
            int groups = Math.Min(n, chip / together);
            int vectors = SharedVectors(n, groups, group);
            int all = vectors + (Room(n, groups) * SharedRows.Stride(n));
            bool isShared = Fits(gpu, all);
            return new(
                group, groups, together, InboxCopies, 0, n, isShared ? all : vectors,
                isShared ? ColumnsKernel<SharedRows, GlobalInboxes> : ColumnsKernel<GlobalRows, GlobalInboxes>, Residency.Grid);
        }

        /// <summary>Enqueues all columns of all problems.</summary>
        public void Run(Gpu gpu, AcceleratorStream stream, int problems, LargeEigenArguments arguments)
        {
            for (int first = 0; first < problems; first += Together)
            {
                arguments.First = first;
                gpu.Launch(stream, Kernel, new Index3D(Groups, Math.Min(Together, problems - first), 1), Threads, arguments, SharedLength, Residency);
            }
        }

        private static ColumnsPlan? OfCluster(Gpu gpu, int problems, int n, int group, int ranks)
        {
            int together = gpu.IsEmulated && !gpu.OnlyRecords ? gpu.Description.Multiprocessors / ranks : problems; // the emulation does not start a row at a time
            int pitch = CeilDiv(n, ranks) | 1;      // odd: neighbouring rows lie in different banks
            LargeEigenArguments lengths = new() { RankBits = BitOperations.Log2((uint)ranks), RankPitch = pitch };
            int all = SharedVectors(n, ranks, group) + ClusterInboxes.SharedWords(lengths) + (Room(n, ranks) * SharedRows.Stride(n));
            return n >= ranks && lengths.InboxLength <= InboxCopies * n && Fits(gpu, all)
                ? new(group, ranks, together, 1, lengths.RankBits, pitch, all, ColumnsKernel<SharedRows, ClusterInboxes>, Residency.Cluster)
                : null;
        }

        private static bool Fits(Gpu gpu, int sharedLength) => (long)sizeof(float) * (sharedLength + (2 * GroupSum.ScratchLength)) <= gpu.SharedBytes;

        private static int Room(int n, int groups) => CeilDiv(n, groups) + RowBlock - 1;

        private static int SharedVectors(int n, int groups, int group) => Even((3 * n) + (Room(n, groups) * PartPitch(group / Gpu.WarpSize)));
    }
}
