// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>What groups of a launch hand to each other through device memory and a cluster's, and warps of a group at barriers in different places.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class GroupExchangeGpuTests
{
    private const int Rounds = 20, Ranks = 2, Roles = 3;

    [Test]
    public void Groups_of_a_cluster_write_into_each_others_memory()
    {
        const int Clusters = 2;
        using Gpu gpu = IntrinsicRun.Open(warps: 1, groups: Clusters * Ranks);
        if (gpu.MostOfCluster < Ranks)
        {
            Assert.Ignore("Needs clusters.");
        }

        long[] seen = Run(gpu, ClusterKernel, new Index3D(Ranks, Clusters, 1), Gpu.WarpSize, words: 1, seen: Clusters * Ranks * Rounds * Ranks, Residency.Cluster);
        Assert.That(seen, Is.EqualTo(
            from cluster in Enumerable.Range(0, Clusters)
            from to in Enumerable.Range(0, Ranks)
            from round in Enumerable.Range(0, Rounds)
            from @from in Enumerable.Range(0, Ranks)
            select Letter(cluster, round, @from, to)));
    }

    [Test]
    public void Groups_of_a_launch_answer_each_other_in_device_memory()
    {
        using Gpu gpu = IntrinsicRun.Open(warps: 1, groups: Ranks);
        long[] seen = Run(gpu, DeviceKernel, new Index3D(Ranks, 1, 1), Gpu.WarpSize, words: Ranks, seen: Ranks * Rounds, Residency.Grid);
        Assert.That(seen, Is.EqualTo(from to in Enumerable.Range(0, Ranks) from round in Enumerable.Range(0, Rounds) select Letter(0, round, 1 - to, to)), "both halves of a word");
    }

    [Test]
    public void Warps_of_different_roles_meet_at_barriers_in_different_places()
    {
        using Gpu gpu = IntrinsicRun.Open(warps: Roles + 1); // ILGPU's emulation wants a power of two
        long[] seen = Run(gpu, RoleKernel, new Index3D(1, 1, 1), Roles * Gpu.WarpSize, words: 1, seen: Rounds * Roles * Gpu.WarpSize, Residency.None);
        Assert.That(seen, Is.EqualTo(from round in Enumerable.Range(0, Rounds) from _ in Enumerable.Range(0, Roles * Gpu.WarpSize) select Total(round)));
    }

    internal struct Arguments
    {
        public ArrayView<long> Words;
        public ArrayView<long> Seen;
    }

    // A word for every round and sender: nothing is overwritten.
    internal static void ClusterKernel(Arguments p)
    {
        ArrayView<long> inbox = SharedMemory.Allocate<long>(Rounds * Ranks);
        for (int i = Group.IdxX; i < Rounds * Ranks; i += Group.DimX)
        {
            inbox[i] = 0;
        }

        ClusterMemory.Begin(ref p.Words[0], ref inbox[0]);
        for (int round = 0; round < Rounds; round++)
        {
            int place = (round * Ranks) + Grid.IdxX;
            if (Group.IdxX < Ranks)
            {
                ClusterMemory.Store(ref p.Words[0], ref inbox[place], Group.IdxX, Letter(Grid.IdxY, round, Grid.IdxX, Group.IdxX));
                long word = 0;
                while (word == 0)
                {
                    RelaxedMemory.Pause();
                    word = ClusterMemory.Load(ref inbox[(round * Ranks) + Group.IdxX]);
                }

                p.Seen[(((((Grid.IdxY * Ranks) + Grid.IdxX) * Rounds) + round) * Ranks) + Group.IdxX] = word;
            }
        }

        ClusterMemory.End(ref p.Words[0]);
    }

    // The first group sends, the second one answers.
    internal static void DeviceKernel(Arguments p)
    {
        if (Group.IdxX == 0)
        {
            int other = 1 - Grid.IdxX;
            for (int round = 0; round < Rounds; round++)
            {
                if (Grid.IdxX == 0)
                {
                    RelaxedMemory.Store(ref p.Words[0], Letter(0, round, 0, 1));
                }

                long word = RelaxedMemory.Load(ref p.Words[other]);
                while ((word & 0xffff) <= round)
                {
                    RelaxedMemory.Pause();
                    word = RelaxedMemory.Load(ref p.Words[other]);
                }

                p.Seen[(Grid.IdxX * Rounds) + round] = word;
                if (Grid.IdxX == 1)
                {
                    RelaxedMemory.Store(ref p.Words[1], Letter(0, round, 1, 0));
                }
            }
        }
    }

    // One barrier a round; words take turns.
    internal static void RoleKernel(Arguments p)
    {
        ArrayView<long> words = SharedMemory.Allocate<long>(2 * Roles);
        int role = Group.IdxX / Gpu.WarpSize;
        bool isFirst = Group.IdxX % Gpu.WarpSize == 0;
        if (role == 0)
        {
            for (int round = 0; round < Rounds; round++)
            {
                Write(words, round, role, isFirst);
                RoleBarrier.Wait();
                Read(p, words, round);
            }
        }
        else if (role == 1)
        {
            int round = 0;
            do
            {
                Write(words, round, role, isFirst);
                RoleBarrier.Wait();
                Read(p, words, round);
                round++;
            }
            while (round < Rounds);
        }
        else
        {
            for (int round = 0; round < Rounds; round += 2)
            {
                Write(words, round, role, isFirst);
                RoleBarrier.Wait();
                Read(p, words, round);
                Write(words, round + 1, role, isFirst);
                RoleBarrier.Wait();
                Read(p, words, round + 1);
            }
        }
    }

    private static void Write(ArrayView<long> words, int round, int role, bool isFirst)
    {
        if (isFirst)
        {
            words[((round & 1) * Roles) + role] = ((long)round << (8 * role)) + role;
        }
    }

    private static void Read(Arguments p, ArrayView<long> words, int round)
    {
        int first = (round & 1) * Roles;
        p.Seen[(round * Group.DimX) + Group.IdxX] = words[first] + words[first + 1] + words[first + 2];
    }

    private static long Total(int round) => Enumerable.Range(0, Roles).Sum(role => ((long)round << (8 * role)) + role);

    // The round, counted from 1, in the lower half; the same and who sends to whom in the upper one.
    private static long Letter(int cluster, int round, int from, int to) => ((long)((((((cluster * Ranks) + from) * Ranks) + to) << 16) + round + 1) << 32) + round + 1;

    private static long[] Run(Gpu gpu, Action<Arguments> kernel, Index3D groups, int threads, int words, int seen, Residency residency)
    {
        using MemoryBuffer1D<long, Stride1D.Dense> memory = gpu.Accelerator.Allocate1D(new long[words]);
        using MemoryBuffer1D<long, Stride1D.Dense> results = gpu.Accelerator.Allocate1D(Enumerable.Repeat(-1L, seen).ToArray());
        gpu.Launch(gpu.Accelerator.DefaultStream, kernel, groups, threads, new Arguments { Words = memory.View.BaseView, Seen = results.View.BaseView }, residency: residency);
        gpu.Accelerator.Synchronize();
        return results.GetAsArray1D();
    }
}
