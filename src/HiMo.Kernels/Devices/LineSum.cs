// SPDX-License-Identifier: Apache-2.0
// A sum along a row or column by one warp: a lane adds every 32nd term, four of them loaded together, then the lanes meet in five exchanges.
// Precision  float64.
// Determinism  the order follows from the number of terms.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>What <see cref="LineSum"/> adds.</summary>
internal interface ILineTerm
{
    /// <summary>The term at a place; no branch around a load, so that several wait together.</summary>
    double At(int place);
}

/// <summary>Sums along lines.</summary>
internal static class LineSum
{
    /// <summary>The sum of the terms from 0 on, in every lane; all lanes take part.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double Of<TTerm>(TTerm term, int count)
        where TTerm : struct, ILineTerm
    {
        double sum = 0.0;
        for (int place = Group.IdxX % Gpu.WarpSize; place < count; place += 4 * Gpu.WarpSize)
        {
            double term0 = Inside(term, place, count);
            double term1 = Inside(term, place + Gpu.WarpSize, count);
            double term2 = Inside(term, place + (2 * Gpu.WarpSize), count);
            double term3 = Inside(term, place + (3 * Gpu.WarpSize), count);
            sum += term0 + term1 + (term2 + term3);
        }

        return GroupSum.Warp(sum);
    }

    // 0 behind the end, where the last term is loaded again.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Inside<TTerm>(TTerm term, int place, int count)
        where TTerm : struct, ILineTerm
    {
        double value = term.At(XMath.Min(place, count - 1));
        return place < count ? value : 0.0;
    }
}
