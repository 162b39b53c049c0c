// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Who has which row and component of a matrix in a cluster, at sizes for which the emulation of the columns themselves takes too long.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class EigenSymmetricClusterGpuTests
{
    private const int Words = 3;        // row, place and whether it is the group's own
    private const int Turns = 3;

    [TestCase(16, 256, 768)]
    [TestCase(16, 256, 513)]
    [TestCase(8, 128, 64)]
    [TestCase(2, 64, 24)]
    [TestCase(1, 64, 1)]
    public void A_thread_finds_its_other_components_from_the_last_one(int ranks, int threads, int n)
    {
        using Gpu gpu = TestGpu.Open(warps: threads / Gpu.WarpSize);
        using MemoryBuffer1D<int, Stride1D.Dense> places = gpu.Allocate<int>(ranks * threads * Turns * Words);
        gpu.Launch(gpu.Accelerator.DefaultStream, PlacesKernel, new Index3D(ranks, 1, 1), threads, new PlaceArguments { Size = n, Places = places.View.BaseView });
        gpu.Accelerator.Synchronize();
        int[][][] components = [.. places.GetAsArray1D().Chunk(Words).Chunk(ranks * threads)];

        int first = EigenSymmetricGpu.ClusterColumns - n;
        int[][] seen = [.. components.SelectMany(turn => turn).Where(component => component[0] >= first)];
        Assert.That(seen.GroupBy(component => component[0]).Select(row => row.Count()).ToArray(), Has.Length.EqualTo(Math.Min(n, Turns * threads)).And.All.EqualTo(ranks), "every group has every component once");
        Assert.That(seen.GroupBy(component => component[0]).Select(row => row.DistinctBy(component => component[1]).Count()), Is.All.EqualTo(1), "whose record all groups find in one place");
        Assert.That(seen.Select(component => component[1]).Distinct().Count(), Is.EqualTo(Math.Min(n, Turns * threads)), "another one for each row");
        Assert.That(seen.GroupBy(component => component[0]).Select(row => row.Count(component => component[2] >= 0)), Is.All.EqualTo(1), "and one group has the row");
    }

    internal struct PlaceArguments
    {
        public int Size;
        public ArrayView<int> Places;
    }

    // Component `turn` of each thread; the third word is -1, or where the row lies in its group, which must be that of its record.
    internal static void PlacesKernel(PlaceArguments p)
    {
        EigenSymmetricGpu.ClusterPlan plan = EigenSymmetricGpu.ClusterPlan.OfThread(p.Size);
        for (int turn = 0; turn < Turns; turn++)
        {
            EigenSymmetricGpu.ClusterComponent component = plan.Component(turn);
            int at = Words * ((((turn * Grid.DimX) + Grid.IdxX) * Group.DimX) + Group.IdxX);
            bool isRight = component.Place == plan.Place(component.Row) && (!plan.IsOwn(component.Row) || component.Own == plan.Own(component.Row));
            p.Places[at] = component.Row;
            p.Places[at + 1] = isRight || component.Row < plan.Start ? component.Place : -1 - component.Row;
            p.Places[at + 2] = plan.IsOwn(component.Row) ? component.Own : -1;
        }
    }
}
