// SPDX-License-Identifier: Apache-2.0
using ILGPU;

namespace HiMo.Kernels.Tests;

/// <summary>
/// One slow warp in each group of the emulation, until this is disposed: behind each barrier some of its lanes stand aside until no other lane gets on,
/// because a barrier holds it. Where one is missing, others read what a slow lane has not yet written, or overwrite what it has not yet read.
/// </summary>
internal sealed class SlowLanes : IDisposable
{
    private const int LanesASlowOne = 16; // one in so many stands aside
    private const int MostRounds = 50; // lanes that poll pass barriers without end

    [ThreadStatic]
    private static Random? s_chance;

    private static double s_slow;
    private static long s_passed; // lanes behind barriers, in all

    /// <param name="warp">Which warp, as a part of their number, below 1.</param>
    public SlowLanes(double warp)
    {
        s_slow = warp;
        Emulation.BehindBarriers = StandAside;
    }

    public void Dispose() => Emulation.BehindBarriers = null;

    // The first lane, which often writes for its warp, always; the others by chance. Lanes are threads: each draws numbers of its own.
    private static void StandAside()
    {
        _ = Interlocked.Increment(ref s_passed);
        if (Group.IdxX / Gpu.WarpSize != (int)(s_slow * (Group.DimX / Gpu.WarpSize)))
        {
            return;
        }

        s_chance ??= new Random(Environment.CurrentManagedThreadId);
        bool isAside = Group.IdxX % Gpu.WarpSize == 0 || s_chance.Next(LanesASlowOne) == 0;
        for (int round = 0; isAside && round < MostRounds; round++)
        {
            long passed = Interlocked.Read(ref s_passed);
            Thread.Sleep(1); // all others have their turns
            isAside = passed != Interlocked.Read(ref s_passed);
        }
    }
}
