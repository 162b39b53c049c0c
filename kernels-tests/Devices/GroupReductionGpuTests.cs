// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>Sums and ranges over a group by themselves.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class GroupReductionGpuTests
{
    private const int Rounds = 20;

    [TestCase(1)]
    [TestCase(4)]
    public void Sums_that_follow_each_other_share_their_scratch(int warps)
    {
        int threads = warps * Gpu.WarpSize;
        using Gpu gpu = TestGpu.Open(warps);
        using MemoryBuffer1D<float, Stride1D.Dense> sums = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, Rounds * threads).ToArray());
        gpu.Launch(gpu.Accelerator.DefaultStream, SumKernel, new Index3D(1, 1, 1), threads, new SumArguments { Sums = sums.View.BaseView });
        gpu.Accelerator.Synchronize();
        Assert.That(
            sums.GetAsArray1D(),
            Is.EqualTo(Enumerable.Range(0, Rounds).SelectMany(round => Enumerable.Repeat((float)Enumerable.Range(0, threads).Sum(thread => thread + round), threads))));
    }

    [Test]
    public void A_range_is_of_all_warps()
    {
        float[] values = [.. Enumerable.Range(0, WarpgroupMma.Threads).Select(thread => (float)((thread * 37 % 256) - 100))];
        using Gpu gpu = TestGpu.Open(warps: 8);
        using MemoryBuffer1D<float, Stride1D.Dense> data = gpu.Accelerator.Allocate1D(values);
        using MemoryBuffer1D<float, Stride1D.Dense> ends = gpu.Accelerator.Allocate1D(Enumerable.Repeat(float.NaN, 2 * values.Length).ToArray());
        gpu.Launch(gpu.Accelerator.DefaultStream, RangeKernel, new Index3D(1, 1, 1), values.Length, new RangeArguments { Values = data.View.BaseView, Ends = ends.View.BaseView });
        gpu.Accelerator.Synchronize();
        Assert.That(ends.GetAsArray1D().Chunk(2), Is.All.EqualTo(new[] { 155f, -100f }));
    }

    internal struct SumArguments
    {
        public ArrayView<float> Sums;
    }

    internal struct RangeArguments
    {
        public ArrayView<float> Values;
        public ArrayView<float> Ends;
    }

    internal static void SumKernel(SumArguments p)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupSum.ScratchLength);
        for (int round = 0; round < Rounds; round++)
        {
            p.Sums[(round * Group.DimX) + Group.IdxX] = GroupSum.All(Group.IdxX + round, scratch);
        }
    }

    internal static void RangeKernel(RangeArguments p)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(TileRange.SharedLength);
        TileRange range = new() { Largest = p.Values[Group.IdxX], Smallest = p.Values[Group.IdxX] };
        range.Share(shared);
        range.End(shared);
        p.Ends[2 * Group.IdxX] = range.Largest;
        p.Ends[(2 * Group.IdxX) + 1] = range.Smallest;
    }
}
