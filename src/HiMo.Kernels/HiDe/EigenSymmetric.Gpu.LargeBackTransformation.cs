// SPDX-License-Identifier: Apache-2.0
// Back-transformation of the vectors of a large matrix, w = (I - beta_0 v_0 v_0^T) ... (I - beta_{n-3} v_{n-3} v_{n-3}^T) z.
// Mapping    two vectors together, by one warp up to n = 768 and one warp more for each 768 behind: of W warps, warp w has components
//            128 (W c + w) + 4 l + t with lane l, in place t of block c. So each word of a reflector is loaded once for two vectors, and all vectors stay in
//            registers. The next reflector is on its way while the sums over the lanes of the current one are formed.
// Reflectors rows of whole blocks, zeros up to the diagonal and behind component n - 1: no element needs a condition. Blocks above the diagonal are left out.
// Precision  float32.
// Determinism  sums of a lane's components, of lanes by five exchanges, of warps in order: the order follows from n.
// Limits     n up to 3,840, five warps' components; a pair's warps have their group for themselves where there are several, and else up to four pairs share one.
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

    /// <summary>Two vectors of the tridiagonal matrix, from its solutions, go back through the reflectors, and of a Gram matrix are then centred.</summary>
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
        ArrayView<float> vectors = p.Square(p.Problem.Vectors);
        Pair pair = default;
        Solutions solutions = p.BothSolutions();
        pair.Z = LargeJoin(solutions, i, start, warps);
        pair.Y = LargeJoin(solutions, XMath.Min(i + 1, n - 1), start, warps);
        PairSum squares = OverWarps(
            OverLanes(Total(Products(pair.Z, pair.Z, 0, isWide: true)), Total(Products(pair.Y, pair.Y, 0, isWide: true))), scratch, n % 2, warps); // n - 3 follows
        pair.Z = Plus(default, 1.0f / XMath.Sqrt(squares.Z), pair.Z, 0, isWide: true);
        pair.Y = Plus(default, 1.0f / XMath.Sqrt(squares.Y), pair.Y, 0, isWide: true);
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
        ArrayView<Float4> reflectors = p.Reflector(0).AsAligned(16).Cast<Float4>(); // or they are loaded word by word
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
        float z = WarpLanes.Xor(sum.Z, distance);
        float y = WarpLanes.Xor(sum.Y, distance);
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

            GroupBarrier.Wait(); // every warp's sums are there
            sum = default;
            for (int warp = 0; warp < warps; warp++)
            {
                sum.Z += scratch[first + (2 * warp)];
                sum.Y += scratch[first + (2 * warp) + 1];
            }
        }

        return sum;
    }

    // A lane's share of the solution from above up to the row where both together are largest, and of the one from below behind it. Every warp looks
    // at all rows for that one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Share LargeJoin(Solutions s, int i, int start, int warps)
    {
        int n = s.Size;
        long best = long.MinValue;
        for (int row = 4 * (Group.IdxX % Gpu.WarpSize); row < n; row += 4 * Gpu.WarpSize)
        {
            best = XMath.Max(best, XMath.Max(
                XMath.Max(LargeKey(s, i, row), LargeKey(s, i, row + 1)),
                XMath.Max(LargeKey(s, i, row + 2), LargeKey(s, i, row + 3))));
        }

        for (int distance = Gpu.WarpSize / 2; distance > 0; distance /= 2)
        {
            best = XMath.Max(best, WarpLanes.Xor(best, distance));
        }

        Joint joint = JointAt(s, i, 0xfff - (int)(best & 0xfff));
        int step = warps * 4 * Gpu.WarpSize;
        Share z = default;
        z.C0 = Take(s, joint, i, start);
        z.C1 = Take(s, joint, i, start + step);
        z.C2 = Take(s, joint, i, start + (2 * step));
        z.C3 = Take(s, joint, i, start + (3 * step));
        z.C4 = Take(s, joint, i, start + (4 * step));
        z.C5 = Take(s, joint, i, start + (5 * step));
        return z;
    }

    // Four components, as a multiple of the one at the joint; zeros past the end.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Take(Solutions s, Joint joint, int i, int row)
    {
        Float4 z = default;
        int n = s.Size;
        if (row < n)
        {
            int place = (row * n) + i;
            int block = (row / TridiagonalGpu.Block * n) + i + s.Exponents;
            int twist = joint.Twist;
            float z0 = s.Memory[place + (row <= twist ? 0 : s.Below)];
            float z1 = s.Memory[place + n + (row + 1 <= twist ? 0 : s.Below)];
            float z2 = s.Memory[place + (2 * n) + (row + 2 <= twist ? 0 : s.Below)];
            float z3 = s.Memory[place + (3 * n) + (row + 3 <= twist ? 0 : s.Below)];
            float above = joint.Above * Power((int)s.Memory[block] - joint.AboveExponent);
            float below = joint.Below * Power((int)s.Memory[block + s.Below] - joint.BelowExponent);
            z.X = z0 * (row <= twist ? above : below);
            z.Y = row + 1 < n ? z1 * (row + 1 <= twist ? above : below) : 0.0f;
            z.Z = row + 2 < n ? z2 * (row + 2 <= twist ? above : below) : 0.0f;
            z.W = row + 3 < n ? z3 * (row + 3 <= twist ? above : below) : 0.0f;
        }

        return z;
    }

    // As in the small form, with twelve bits for the row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long LargeKey(Solutions s, int i, int row)
    {
        int n = s.Size;
        int place = (row * n) + i; // rows are there up to a whole block
        int block = (row / TridiagonalGpu.Block * n) + i + s.Exponents;
        int exponent = (int)s.Memory[block] + (int)s.Memory[block + s.Below];
        int logarithm = Logarithm(s.Memory[place]) + Logarithm(s.Memory[place + s.Below]) + (exponent << 9);
        return row < n ? ((long)logarithm << 12) | (long)(0xfff - row) : long.MinValue;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PutComponents(ArrayView<float> vectors, Share z, float mean, int i, int start, int warps, int n)
    {
        int step = warps * 4 * Gpu.WarpSize;
        if (i < n)
        {
            int place = (start * n) + n - 1 - i; // in the order of descending eigenvalues
            Put(vectors, z.C0, mean, place, start, n);
            Put(vectors, z.C1, mean, place + (step * n), start + step, n);
            Put(vectors, z.C2, mean, place + (2 * step * n), start + (2 * step), n);
            Put(vectors, z.C3, mean, place + (3 * step * n), start + (3 * step), n);
            Put(vectors, z.C4, mean, place + (4 * step * n), start + (4 * step), n);
            Put(vectors, z.C5, mean, place + (5 * step * n), start + (5 * step), n);
        }
    }
}
