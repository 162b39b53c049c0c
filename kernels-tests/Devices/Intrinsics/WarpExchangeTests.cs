// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>What lanes of the emulation show to each other.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class WarpExchangeTests
{
    private const int Rounds = 50;

    [Test]
    public void Every_lane_sees_what_all_lanes_of_its_warp_have_shown()
    {
        const int Warps = 2;
        TestGpu.NeedsEmulation();
        using Gpu gpu = Gpu.OpenEmulated(Warps);
        for (int launch = 0; launch < 2; launch++) // lanes keep their areas
        {
            using MemoryBuffer1D<int, Stride1D.Dense> wrong = gpu.Accelerator.Allocate1D(Enumerable.Repeat(-1, Warps * Gpu.WarpSize).ToArray());
            gpu.Launch(gpu.Accelerator.DefaultStream, Kernel, new Index3D(1, 1, 1), Warps * Gpu.WarpSize, new Arguments { Wrong = wrong.View.BaseView });
            gpu.Accelerator.Synchronize();
            Assert.That(wrong.GetAsArray1D(), Is.All.Zero, "words that were not those of their lane and call");
        }
    }

    internal struct Arguments
    {
        public ArrayView<int> Wrong;
    }

    internal static unsafe void Kernel(Arguments p)
    {
        int wrong = 0;
        for (int round = 0; round < Rounds; round++)
        {
            MmaOperands* now = WarpExchange.Publish(Shown(round, Group.IdxX));
            for (int lane = 0; lane < Gpu.WarpSize; lane++)
            {
                int thread = (Group.IdxX / Gpu.WarpSize * Gpu.WarpSize) + lane;
                wrong += now[lane].Equals(Shown(round, thread)) ? 0 : 1;
            }
        }

        p.Wrong[Group.IdxX] = wrong;
    }

    private static MmaOperands Shown(int round, int thread)
    {
        uint first = (uint)((1000 * round) + (6 * thread));
        return new() { X = first, Y = first + 1, Z = first + 2, W = first + 3, B0 = first + 4, B1 = first + 5 };
    }
}
