// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Largest and smallest number that a group of <see cref="WarpgroupMma.Threads"/> has, with one barrier between its two halves.</summary>
internal struct TileRange
{
    /// <summary>Words of shared memory.</summary>
    public const int SharedLength = 2 * Warps;

    private const int Warps = WarpgroupMma.Threads / Gpu.WarpSize;

    public float Largest;
    public float Smallest;

    /// <summary>Brings the thread's own range to the others; <see cref="End"/> must follow.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Share(ArrayView<float> shared)
    {
        float largest = Largest;
        float smallest = Smallest;
        for (int mask = Gpu.WarpSize / 2; mask > 0; mask /= 2)
        {
            largest = XMath.Max(largest, WarpLanes.Xor(largest, mask));
            smallest = XMath.Min(smallest, WarpLanes.Xor(smallest, mask));
        }

        if (Group.IdxX % Gpu.WarpSize == 0)
        {
            shared[Group.IdxX / Gpu.WarpSize] = largest;
            shared[Warps + (Group.IdxX / Gpu.WarpSize)] = smallest;
        }
    }

    /// <summary>The whole group's range, in every thread, behind a barrier.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void End(ArrayView<float> shared)
    {
        GroupBarrier.Wait(); // every warp's range is there
        Largest = shared[0];
        Smallest = shared[Warps];
        for (int warp = 1; warp < Warps; warp++)
        {
            Largest = XMath.Max(Largest, shared[warp]);
            Smallest = XMath.Min(Smallest, shared[Warps + warp]);
        }
    }
}
