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

    [Test]
    public void A_line_of_any_length_is_added_up_in_every_lane([Values(1, 31, 33, 127, 128, 129, 300)] int length)
    {
        float[] values = [.. Enumerable.Range(1, length).Select(place => (float)(place * place))];
        using Gpu gpu = TestGpu.Open(warps: 1);
        using MemoryBuffer1D<float, Stride1D.Dense> line = gpu.Accelerator.Allocate1D(values);
        using MemoryBuffer1D<double, Stride1D.Dense> sums = gpu.Accelerator.Allocate1D(Enumerable.Repeat(double.NaN, Gpu.WarpSize).ToArray());
        gpu.Launch(gpu.Accelerator.DefaultStream, LineKernel, new Index3D(1, 1, 1), Gpu.WarpSize, new LineArguments { Line = line.View.BaseView, Sums = sums.View.BaseView });
        gpu.Accelerator.Synchronize();
        Assert.That(sums.GetAsArray1D(), Is.All.EqualTo(values.Sum(value => (double)value)));
    }

    internal struct LineArguments
    {
        public ArrayView<float> Line;
        public ArrayView<double> Sums;
    }

    internal struct OwnTerm : ILineTerm
    {
        public ArrayView<float> Line;

        public readonly double At(int place) => Line[place];
    }

    internal static void LineKernel(LineArguments p) => p.Sums[Group.IdxX] = LineSum.Of(new OwnTerm { Line = p.Line }, (int)p.Line.Length);

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
