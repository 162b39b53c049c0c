// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

// One register tile: sums[r, :] = sum_p a[p * height + r] b[p * width + :], then C = alpha sums + beta C on the part that exists.
// The accumulators must be locals, each with its name: the JIT keeps neither arrays nor structs of several vectors in registers.
// 12 x 2 registers where the machine has 32, 6 x 2 where it has 16; the two register loads of B and the broadcast are the others.
internal static unsafe class GemmTile
{
    private const int MaxTileFloats = 12 * 2 * 16;

    /// <summary>Packed panels of T.TileRows rows and 2 T.Count columns; rows and columns say how much of the tile exists in C.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply<T>(
        int depth, float* a, float* b, float alpha, float beta, float* c, nint cRow, int rows, int columns)
        where T : struct, ILanes<T>
    {
        float* sums = stackalloc float[MaxTileFloats];
        if (T.TileRows == 12)
        {
            Sum12<T>(depth, a, b, sums);
        }
        else
        {
            Sum6<T>(depth, a, b, sums);
        }

        int width = 2 * T.Count;
        for (int i = 0; i < rows; i++)
        {
            Update<T>(sums + (i * width), alpha, beta, c + (i * cRow), columns);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Update<T>(float* sums, float alpha, float beta, float* c, int columns)
        where T : struct, ILanes<T>
    {
        T factor = T.Broadcast(alpha);
        T keep = T.Broadcast(beta);
        int j = 0;
        if (beta == 0.0f)
        {
            for (; j + T.Count <= columns; j += T.Count)
            {
                T.Store(T.Multiply(factor, T.Load(sums + j)), c + j);
            }

            for (; j < columns; j++)
            {
                c[j] = alpha * sums[j];
            }
        }
        else
        {
            for (; j + T.Count <= columns; j += T.Count)
            {
                T.Store(T.MultiplyAdd(factor, T.Load(sums + j), T.Multiply(keep, T.Load(c + j))), c + j);
            }

            for (; j < columns; j++)
            {
                c[j] = float.MultiplyAddEstimate(alpha, sums[j], beta * c[j]);    // as the vectors above, so that bits do not depend on the place
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<T>(T left, T right, float* target)
        where T : struct, ILanes<T>
    {
        T.Store(left, target);
        T.Store(right, target + T.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Sum12<T>(int depth, float* a, float* b, float* sums)
        where T : struct, ILanes<T>
    {
        int n = T.Count;
        T left0 = T.Zero, right0 = T.Zero;
        T left1 = T.Zero, right1 = T.Zero;
        T left2 = T.Zero, right2 = T.Zero;
        T left3 = T.Zero, right3 = T.Zero;
        T left4 = T.Zero, right4 = T.Zero;
        T left5 = T.Zero, right5 = T.Zero;
        T left6 = T.Zero, right6 = T.Zero;
        T left7 = T.Zero, right7 = T.Zero;
        T left8 = T.Zero, right8 = T.Zero;
        T left9 = T.Zero, right9 = T.Zero;
        T left10 = T.Zero, right10 = T.Zero;
        T left11 = T.Zero, right11 = T.Zero;
        for (int p = 0; p < depth; p++)
        {
            T left = T.Load(b);
            T right = T.Load(b + n);
            T factor;
            factor = T.Broadcast(a[0]);
            left0 = T.MultiplyAdd(factor, left, left0);
            right0 = T.MultiplyAdd(factor, right, right0);
            factor = T.Broadcast(a[1]);
            left1 = T.MultiplyAdd(factor, left, left1);
            right1 = T.MultiplyAdd(factor, right, right1);
            factor = T.Broadcast(a[2]);
            left2 = T.MultiplyAdd(factor, left, left2);
            right2 = T.MultiplyAdd(factor, right, right2);
            factor = T.Broadcast(a[3]);
            left3 = T.MultiplyAdd(factor, left, left3);
            right3 = T.MultiplyAdd(factor, right, right3);
            factor = T.Broadcast(a[4]);
            left4 = T.MultiplyAdd(factor, left, left4);
            right4 = T.MultiplyAdd(factor, right, right4);
            factor = T.Broadcast(a[5]);
            left5 = T.MultiplyAdd(factor, left, left5);
            right5 = T.MultiplyAdd(factor, right, right5);
            factor = T.Broadcast(a[6]);
            left6 = T.MultiplyAdd(factor, left, left6);
            right6 = T.MultiplyAdd(factor, right, right6);
            factor = T.Broadcast(a[7]);
            left7 = T.MultiplyAdd(factor, left, left7);
            right7 = T.MultiplyAdd(factor, right, right7);
            factor = T.Broadcast(a[8]);
            left8 = T.MultiplyAdd(factor, left, left8);
            right8 = T.MultiplyAdd(factor, right, right8);
            factor = T.Broadcast(a[9]);
            left9 = T.MultiplyAdd(factor, left, left9);
            right9 = T.MultiplyAdd(factor, right, right9);
            factor = T.Broadcast(a[10]);
            left10 = T.MultiplyAdd(factor, left, left10);
            right10 = T.MultiplyAdd(factor, right, right10);
            factor = T.Broadcast(a[11]);
            left11 = T.MultiplyAdd(factor, left, left11);
            right11 = T.MultiplyAdd(factor, right, right11);
            a += 12;
            b += 2 * n;
        }

        StoreRow(left0, right0, sums + (0 * n));
        StoreRow(left1, right1, sums + (2 * n));
        StoreRow(left2, right2, sums + (4 * n));
        StoreRow(left3, right3, sums + (6 * n));
        StoreRow(left4, right4, sums + (8 * n));
        StoreRow(left5, right5, sums + (10 * n));
        StoreRow(left6, right6, sums + (12 * n));
        StoreRow(left7, right7, sums + (14 * n));
        StoreRow(left8, right8, sums + (16 * n));
        StoreRow(left9, right9, sums + (18 * n));
        StoreRow(left10, right10, sums + (20 * n));
        StoreRow(left11, right11, sums + (22 * n));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Sum6<T>(int depth, float* a, float* b, float* sums)
        where T : struct, ILanes<T>
    {
        int n = T.Count;
        T left0 = T.Zero, right0 = T.Zero;
        T left1 = T.Zero, right1 = T.Zero;
        T left2 = T.Zero, right2 = T.Zero;
        T left3 = T.Zero, right3 = T.Zero;
        T left4 = T.Zero, right4 = T.Zero;
        T left5 = T.Zero, right5 = T.Zero;
        for (int p = 0; p < depth; p++)
        {
            T left = T.Load(b);
            T right = T.Load(b + n);
            T factor;
            factor = T.Broadcast(a[0]);
            left0 = T.MultiplyAdd(factor, left, left0);
            right0 = T.MultiplyAdd(factor, right, right0);
            factor = T.Broadcast(a[1]);
            left1 = T.MultiplyAdd(factor, left, left1);
            right1 = T.MultiplyAdd(factor, right, right1);
            factor = T.Broadcast(a[2]);
            left2 = T.MultiplyAdd(factor, left, left2);
            right2 = T.MultiplyAdd(factor, right, right2);
            factor = T.Broadcast(a[3]);
            left3 = T.MultiplyAdd(factor, left, left3);
            right3 = T.MultiplyAdd(factor, right, right3);
            factor = T.Broadcast(a[4]);
            left4 = T.MultiplyAdd(factor, left, left4);
            right4 = T.MultiplyAdd(factor, right, right4);
            factor = T.Broadcast(a[5]);
            left5 = T.MultiplyAdd(factor, left, left5);
            right5 = T.MultiplyAdd(factor, right, right5);
            a += 6;
            b += 2 * n;
        }

        StoreRow(left0, right0, sums + (0 * n));
        StoreRow(left1, right1, sums + (2 * n));
        StoreRow(left2, right2, sums + (4 * n));
        StoreRow(left3, right3, sums + (6 * n));
        StoreRow(left4, right4, sums + (8 * n));
        StoreRow(left5, right5, sums + (10 * n));
    }
}
