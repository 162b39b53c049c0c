// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>
/// Exchange between the lanes of a warp on ILGPU's CPU accelerator, for the C# bodies of warp-wide instructions. Every lane writes
/// what it shows into its slot of an area that the warp shares, passes one warp barrier, and reads the other lanes' slots.
/// <para>Two areas take turns: a lane writes an area again only after the barrier of the exchange in between, which no lane passes
/// before it has read that area. The CPU accelerator keeps one thread a lane for its whole life, so the address stays per thread.
/// A kernel that dies between two barriers leaves the lanes out of turn: dispose the accelerator after an exception.</para>
/// Never reached on CUDA, because ILGPU does not import the body of an intrinsic.
/// </summary>
internal static unsafe class WarpExchange
{
    private const int WarpSize = 32;

    [ThreadStatic]
    private static MmaOperands[]? s_owned;

    [ThreadStatic]
    private static MmaOperands* s_areas;

    [ThreadStatic]
    private static int s_turn;

    /// <summary>Shows this lane's words; returns the 32 lanes' slots, valid until this lane's next call: behind its barrier others may write them again.</summary>
    public static MmaOperands* Publish(MmaOperands words)
    {
        if (s_areas == null)
        {
            Join();
        }

        MmaOperands* area = s_areas + (s_turn * WarpSize);
        s_turn ^= 1;
        area[Warp.LaneIdx] = words;
        WarpLanes.Barrier();
        return area;
    }

    // Lane 0 allocates for the warp and hands the address to the other lanes.
    private static void Join()
    {
        long address = 0;
        if (Warp.LaneIdx == 0)
        {
            s_owned = GC.AllocateArray<MmaOperands>(2 * WarpSize, pinned: true);
            address = (long)Unsafe.AsPointer(ref s_owned[0]);
        }

        s_areas = (MmaOperands*)Warp.Shuffle(address, 0);
        s_turn = 0;
    }
}
