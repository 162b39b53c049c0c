// SPDX-License-Identifier: Apache-2.0
// Back-transformation of the vectors of a large matrix, w = (I - beta_0 v_0 v_0^T) ... (I - beta_{n-3} v_{n-3} v_{n-3}^T) z.
// Mapping    two vectors together, by one warp up to n = 768 and one warp more for each 768 behind: of W warps, warp w has components
//            128 (W c + w) + 4 l + t with lane l, in place t of block c. So each word of a reflector is loaded once for two vectors, and all vectors stay in
//            registers. The next reflector is on its way while the sums over the lanes of the current one are formed.
// Reflectors rows of whole blocks, zeros up to the diagonal and behind component n - 1: no element needs a condition. Blocks above the diagonal are left out.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int WarpShare = 6 * 4 * Gpu.WarpSize; // components of a vector that one warp has
    private const int MostWarpsOfAPair = LargeMaxSize / WarpShare;
    private const int MostPairsOfAGroup = 4;

    /// <summary>Elements from one reflector to the next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int ReflectorPitch(int size) => CeilDiv(size, WarpShare) * WarpShare;

    // Groups of so many pairs that each multiprocessor has one group: reflectors then come once to it, and not once for each pair.
    private static void RunBack(Gpu gpu, AcceleratorStream stream, int problems, int most, LargeEigenArguments arguments)
    {
        int n = arguments.Problem.Size;
        int pairs = CeilDiv(n, 2);
        int warps = CeilDiv(n, WarpShare);
        int together = warps > 1 ? 1 : Math.Clamp(CeilDiv(pairs * problems, gpu.Description.Multiprocessors), 1, Math.Min(most, MostPairsOfAGroup));
        gpu.Launch(stream, BackKernel, new Index3D(CeilDiv(pairs, together), problems, 1), together * warps * Gpu.WarpSize, arguments);
    }

    /// <summary>Two vectors go back through the reflectors, and of a Gram matrix are then centred.</summary>
    public static void BackKernel(LargeEigenArguments p)
    {
        int n = p.Problem.Size;
        int warps = CeilDiv(n, WarpShare);
        int warp = Group.IdxX / Gpu.WarpSize;
        int i = 2 * ((Grid.IdxX * (Group.DimX / (warps * Gpu.WarpSize))) + (warp / warps));
        ArrayView<float> scratch = SharedMemory.Allocate<float>(4 * MostWarpsOfAPair);
        if (i >= n)
        {
            return; // a whole warp leaves; where a pair has several, none does
        }

        int start = (warp % warps * 4 * Gpu.WarpSize) + (4 * (Group.IdxX % Gpu.WarpSize));
        ArrayView<float> vectors = p.Square(p.Problem.Vectors, 1);
        Pair pair = default;
        pair.Z = ComponentsOf(vectors, i, start, warps, n);
        pair.Y = ComponentsOf(vectors, XMath.Min(i + 1, n - 1), start, warps, n);
        pair = LargeReflectRange(pair, p, scratch, start, 5, warps, n);
        pair = LargeReflectRange(pair, p, scratch, start, 4, warps, n);
        pair = LargeReflectRange(pair, p, scratch, start, 3, warps, n);
        pair = LargeReflectRange(pair, p, scratch, start, 2, warps, n);
        pair = LargeReflectRange(pair, p, scratch, start, 1, warps, n);
        pair = LargeReflectRange(pair, p, scratch, start, 0, warps, n);
        float factor = p.Problem.IsGram / (float)n;
        PairSum mean = OverWarps(OverLanes(Total(Sum(pair.Z)), Total(Sum(pair.Y))), scratch, 1, warps); // the last reflector was number 0
        PutComponents(vectors, pair.Z, factor * mean.Z, i, start, warps, n);
        PutComponents(vectors, pair.Y, factor * mean.Y, i + 1, start, warps, n);
    }

    /// <summary>A sum for each of two vectors.</summary>
    private struct PairSum
    {
        public float Z;
        public float Y;
    }

    // The reflectors that begin in block `first`, which is a constant once this is inlined; last one first.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Pair LargeReflectRange(Pair pair, LargeEigenArguments p, ArrayView<float> scratch, int start, int first, int warps, int n)
    {
        ArrayView<Float4> reflectors = p.Reflector(0).Cast<Float4>();
        ArrayView<float> beta = p.Vector(VectorBeta);
        int step = warps * Gpu.WarpSize;               // from block to block, in words of four
        int pitch = warps * (WarpShare / 4);
        int end = XMath.Max((4 * step * first) - 1, 0);
        int k = XMath.Min((4 * step * (first + 1)) - 2, n - 3);
        if (k < end)
        {
            return pair;
        }

        Share v = LoadBlocks(reflectors, (k * pitch) + (start / 4), step, first);
        float factor = -beta[k];
        for (; k >= end; k--)
        {
            int next = XMath.Max(k - 1, end);
            Share nextV = LoadBlocks(reflectors, (next * pitch) + (start / 4), step, first);
            float nextFactor = -beta[next];
            PairSum dot = OverWarps(
                OverLanes(Total(Products(pair.Z, v, first, isWide: true)), Total(Products(pair.Y, v, first, isWide: true))), scratch, k % 2, warps);
            pair.Z = Plus(pair.Z, factor * dot.Z, v, first, isWide: true);
            pair.Y = Plus(pair.Y, factor * dot.Y, v, first, isWide: true);
            v = nextV;
            factor = nextFactor;
        }

        return pair;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Share LoadBlocks(ArrayView<Float4> reflectors, int place, int step, int first)
    {
        Share v = default;
        v.C0 = first <= 0 ? reflectors[place] : default;
        v.C1 = first <= 1 ? reflectors[place + step] : default;
        v.C2 = first <= 2 ? reflectors[place + (2 * step)] : default;
        v.C3 = first <= 3 ? reflectors[place + (3 * step)] : default;
        v.C4 = first <= 4 ? reflectors[place + (4 * step)] : default;
        v.C5 = reflectors[place + (5 * step)];
        return v;
    }

    // Both sums side by side, not one behind the other.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PairSum OverLanes(float z, float y)
    {
        PairSum sum = default;
        sum.Z = z;
        sum.Y = y;
        sum = PlusAside(sum, 16);
        sum = PlusAside(sum, 8);
        sum = PlusAside(sum, 4);
        sum = PlusAside(sum, 2);
        return PlusAside(sum, 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PairSum PlusAside(PairSum sum, int distance)
    {
        float z = ILGPU.Warp.ShuffleXor(sum.Z, distance);
        float y = ILGPU.Warp.ShuffleXor(sum.Y, distance);
        sum.Z += z;
        sum.Y += y;
        return sum;
    }

    // Over the warps of a pair, which then have the group for themselves; two places for sums take turns, so that one barrier is enough.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PairSum OverWarps(PairSum sum, ArrayView<float> scratch, int turn, int warps)
    {
        if (warps > 1)
        {
            int first = turn * 2 * MostWarpsOfAPair;
            if (Group.IdxX % Gpu.WarpSize == 0)
            {
                scratch[first + (2 * (Group.IdxX / Gpu.WarpSize))] = sum.Z;
                scratch[first + (2 * (Group.IdxX / Gpu.WarpSize)) + 1] = sum.Y;
            }

            Group.Barrier();
            sum = default;
            for (int warp = 0; warp < warps; warp++)
            {
                sum.Z += scratch[first + (2 * warp)];
                sum.Y += scratch[first + (2 * warp) + 1];
            }
        }

        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Share ComponentsOf(ArrayView<float> vectors, int i, int start, int warps, int n)
    {
        int step = warps * 4 * Gpu.WarpSize;
        Share z = default;
        z.C0 = FourOf(vectors, i, start, n);
        z.C1 = FourOf(vectors, i, start + step, n);
        z.C2 = FourOf(vectors, i, start + (2 * step), n);
        z.C3 = FourOf(vectors, i, start + (3 * step), n);
        z.C4 = FourOf(vectors, i, start + (4 * step), n);
        z.C5 = FourOf(vectors, i, start + (5 * step), n);
        return z;
    }

    // Four components; zeros past the end.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 FourOf(ArrayView<float> vectors, int i, int row, int n)
    {
        Float4 z = default;
        int place = (row * n) + i;
        z.X = row < n ? vectors[place] : 0.0f;
        z.Y = row + 1 < n ? vectors[place + n] : 0.0f;
        z.Z = row + 2 < n ? vectors[place + (2 * n)] : 0.0f;
        z.W = row + 3 < n ? vectors[place + (3 * n)] : 0.0f;
        return z;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PutComponents(ArrayView<float> vectors, Share z, float mean, int i, int start, int warps, int n)
    {
        int step = warps * 4 * Gpu.WarpSize;
        if (i < n)
        {
            int place = (start * n) + i;
            Put(vectors, z.C0, mean, place, start, n);
            Put(vectors, z.C1, mean, place + (step * n), start + step, n);
            Put(vectors, z.C2, mean, place + (2 * step * n), start + (2 * step), n);
            Put(vectors, z.C3, mean, place + (3 * step * n), start + (3 * step), n);
            Put(vectors, z.C4, mean, place + (4 * step * n), start + (4 * step), n);
            Put(vectors, z.C5, mean, place + (5 * step * n), start + (5 * step), n);
        }
    }
}
