// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>
/// What the lanes of a whole warp do together. Compilers see ILGPU's <see cref="Warp"/>, whose CPU accelerator waits four times at a shuffle, this once,
/// see <see cref="GroupBarrier"/>.
/// </summary>
internal static unsafe class WarpLanes
{
    /// <summary>Waits until every lane of the warp has come here, __syncwarp.</summary>
    public static void Barrier()
    {
        Warp.Barrier();
        Emulation.BehindBarriers?.Invoke();
    }

    /// <summary>The <paramref name="value"/> of the lane whose index differs from this lane's in the bits of <paramref name="mask"/>, __shfl_xor_sync; all lanes take part.</summary>
    public static float Xor(float value, int mask) => Other(value, mask);

    /// <inheritdoc cref="Xor(float, int)"/>
    public static double Xor(double value, int mask) => Other(value, mask);

    /// <inheritdoc cref="Xor(float, int)"/>
    public static int Xor(int value, int mask) => Other(value, mask);

    /// <inheritdoc cref="Xor(float, int)"/>
    public static long Xor(long value, int mask) => Other(value, mask);

    private static T Other<T>(T value, int mask)
        where T : unmanaged
    {
        MmaOperands words = default;
        Unsafe.As<MmaOperands, T>(ref words) = value;
        return *(T*)(WarpExchange.Publish(words) + (Warp.LaneIdx ^ mask));
    }
}
