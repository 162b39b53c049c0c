// SPDX-License-Identifier: Apache-2.0
using ILGPU;

namespace HiMo.Kernels.Tests;

/// <summary>
/// One slow warp in each group of the emulation, until this is disposed: behind each barrier some of its lanes stand aside until no other lane gets on,
/// because a barrier holds it. Where one is missing, others read what a slow lane has not yet written, or overwrite what it has not yet read.
/// </summary>
internal sealed class SlowLanes : IDisposable
{
    private const int LanesASlowOne = 16;
    private const int TurnsOfOthers = 4;
    private const int MostRounds = 64; // lanes that poll pass barriers without end

    [ThreadStatic]
    private static Random? s_chance;

    private static double s_slow;
    private static long s_passed; // lanes behind barriers, in all

    /// <param name="warp">Which warp, as a part of their number, below 1.</param>
    public SlowLanes(double warp)
    {
        s_slow = warp;
        Emulation.BehindBarriers = StandAsideByChance;
    }

    public void Dispose() => Emulation.BehindBarriers = null;

    // Lanes are threads: each draws numbers of its own. The first one, which often writes for its warp, stands aside every other time.
    private static void StandAsideByChance()
    {
        _ = Interlocked.Increment(ref s_passed);
        if (Group.IdxX / Gpu.WarpSize != (int)(s_slow * (Group.DimX / Gpu.WarpSize)))
        {
            return;
        }

        s_chance ??= new Random(Environment.CurrentManagedThreadId);
        bool isAside = s_chance.Next(Group.IdxX % Gpu.WarpSize == 0 ? 2 : LanesASlowOne) == 0;
        for (int round = 0; isAside && round < MostRounds; round++)
        {
            long passed = Interlocked.Read(ref s_passed);
            for (int turn = 0; turn < TurnsOfOthers; turn++)
            {
                _ = Thread.Yield(); // far shorter than the shortest sleep
            }

            isAside = passed != Interlocked.Read(ref s_passed);
        }
    }
}
