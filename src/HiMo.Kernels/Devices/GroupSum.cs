// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Sums over a warp and over a group, in an order that depends on the number of threads only.</summary>
internal static class GroupSum
{
    /// <summary>Words of shared memory that <see cref="All"/> needs: one a warp, for groups of up to 1,024 threads.</summary>
    public const int ScratchLength = 32;

    /// <summary>The sum over a warp, in every lane; all lanes take part.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Warp(float value)
    {
        value += WarpLanes.Xor(value, 16);
        value += WarpLanes.Xor(value, 8);
        value += WarpLanes.Xor(value, 4);
        value += WarpLanes.Xor(value, 2);
        return value + WarpLanes.Xor(value, 1);
    }

    /// <summary>The sum over a warp in float64, in every lane; all lanes take part.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double Warp(double value)
    {
        value += WarpLanes.Xor(value, 16);
        value += WarpLanes.Xor(value, 8);
        value += WarpLanes.Xor(value, 4);
        value += WarpLanes.Xor(value, 2);
        return value + WarpLanes.Xor(value, 1);
    }

    /// <summary>The sum over a group, in every thread; all threads take part, and <paramref name="scratch"/> is free again at the return.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float All(float value, ArrayView<float> scratch)
    {
        value = Warp(value);
        if (Group.IdxX % Gpu.WarpSize == 0)
        {
            scratch[Group.IdxX / Gpu.WarpSize] = value;
        }

        GroupBarrier.Wait(); // every warp's sum is there
        float sum = 0.0f;
        for (int warp = 0; warp < Group.DimX / Gpu.WarpSize; warp++)
        {
            sum += scratch[warp];
        }

        GroupBarrier.Wait(); // nobody writes the scratch again before everybody has read it
        return sum;
    }
}
