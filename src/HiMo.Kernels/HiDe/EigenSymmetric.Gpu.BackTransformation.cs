// SPDX-License-Identifier: Apache-2.0
// Step 5: an eigenvector of the tridiagonal matrix from its two solutions (EigenSymmetric.Gpu.Join.cs), and back through the reflectors,
// w = (I - beta_0 v_0 v_0^T) ... (I - beta_{n-3} v_{n-3} v_{n-3}^T) z. Eight lanes have two
// vectors together, so that each word of a reflector is loaded once for both: component 32 c + 4 l + t lies with lane l, in place t of block c. Up to
// n = 128 two reflectors are applied together.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int LanesOfAPair = 8;
    private const int VectorsOfAWarp = 2 * Gpu.WarpSize / LanesOfAPair;

    /// <summary>What a lane has of a vector: of up to 192 components if eight lanes have one, of 768 if a warp has.</summary>
    private struct Share
    {
        public Float4 C0;
        public Float4 C1;
        public Float4 C2;
        public Float4 C3;
        public Float4 C4;
        public Float4 C5;
    }

    /// <summary>Two vectors.</summary>
    private struct Pair
    {
        public Share Z;
        public Share Y;
    }

    /// <summary>The two solutions for every eigenvalue in global memory, the one from above first; column i belongs to value i.</summary>
    internal struct Solutions
    {
        public ArrayView<float> Memory;
        public int Size;

        /// <summary>Where the exponents begin, behind the rows of a solution; there are whole blocks of rows.</summary>
        public int Exponents;

        /// <summary>Where the other solution begins.</summary>
        public int Below;

        /// <summary>Floats that one problem needs.</summary>
        public static int Length(int size) => 2 * size * (TridiagonalGpu.Block + 1) * ((size + TridiagonalGpu.Block - 1) / TridiagonalGpu.Block);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Solutions In(ArrayView<float> memory, int size)
        {
            Solutions solutions = default;
            solutions.Memory = memory;
            solutions.Size = size;
            solutions.Below = Length(size) / 2;
            solutions.Exponents = solutions.Below / (TridiagonalGpu.Block + 1) * TridiagonalGpu.Block;
            return solutions;
        }
    }

    // Both solutions for every value, one a task of which a thread has its first and each step-th; warps have one direction.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Solve(TridiagonalGpu t, ArrayView<double> values, Solutions solutions, int first, int step)
    {
        int n = t.Size;
        int width = (n + Gpu.WarpSize - 1) / Gpu.WarpSize * Gpu.WarpSize;
        for (int task = first; task < 2 * width; task += step)
        {
            int i = task % width;
            if (i < n)
            {
                bool isAbove = task < width;
                int start = (isAbove ? 0 : solutions.Below) + i;
                int exponents = start + solutions.Exponents;
                t.Solve(
                    values[i], isAbove ? 1 : -1, solutions.Memory.SubView(start, solutions.Exponents - i), solutions.Memory.SubView(exponents, (solutions.Exponents / TridiagonalGpu.Block) - i), n);
            }
        }
    }

    // All vectors of the whole matrix, of a Gram matrix then centred: two for each eight tasks, and all of a warp take part. `isWide`, whether n > 128, is a
    // constant once this is inlined.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void BackTransform(
        ArrayView<float> a, ArrayView<float> beta, ArrayView<float> overlaps, Solutions solutions, ArrayView<float> vectors, int n, int pitch, int isGram, bool isWide)
    {
        int tasks = (n + VectorsOfAWarp - 1) / VectorsOfAWarp * Gpu.WarpSize;
        for (int task = Group.IdxX; task < tasks; task += Group.DimX)
        {
            int i = task / LanesOfAPair * 2;
            int start = task % LanesOfAPair * 4;
            Pair pair = default;
            pair.Z = Join(solutions, XMath.Min(i, n - 1), start, isWide);
            pair.Y = Join(solutions, XMath.Min(i + 1, n - 1), start, isWide);
            if (isWide)
            {
                pair = ReflectRange(pair, a, beta, overlaps, start, 5, n, pitch, isWide);
                pair = ReflectRange(pair, a, beta, overlaps, start, 4, n, pitch, isWide);
            }

            pair = ReflectRange(pair, a, beta, overlaps, start, 3, n, pitch, isWide);
            pair = ReflectRange(pair, a, beta, overlaps, start, 2, n, pitch, isWide);
            pair = ReflectRange(pair, a, beta, overlaps, start, 1, n, pitch, isWide);
            pair = ReflectRange(pair, a, beta, overlaps, start, 0, n, pitch, isWide);
            Put(vectors, pair.Z, i, start, n, isGram, isWide);
            Put(vectors, pair.Y, i + 1, start, n, isGram, isWide);
        }
    }

    // overlaps[k] = v_k . v_{k-1} for even k, n up to 128; by the warps that have nothing to solve, if there are some.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Overlap(ArrayView<float> a, ArrayView<float> overlaps, int n, int pitch)
    {
        int warps = Group.DimX / Gpu.WarpSize;
        int solving = 2 * ((n + Gpu.WarpSize - 1) / Gpu.WarpSize);
        int others = warps > solving ? warps - solving : warps;
        int lane = Group.IdxX % Gpu.WarpSize;
        int own = warps - (Group.IdxX / Gpu.WarpSize); // the last warp is the first one
        for (int k = own <= others ? 2 * own : n; k < n - 1; k += 2 * others)
        {
            float sum = 0.0f;
            for (int j = ((k + 1) / Gpu.WarpSize * Gpu.WarpSize) + lane; j < n; j += Gpu.WarpSize) // what lies before is no part of a reflector
            {
                sum += a[(k * pitch) + j] * a[((k - 1) * pitch) + j];
            }

            sum = GroupSum.Warp(sum);
            if (lane == 0)
            {
                overlaps[k] = sum;
            }
        }
    }

    // The reflectors that begin in block `first`, which is a constant once this is inlined; last ones first, two together if registers hold both.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Pair ReflectRange(Pair pair, ArrayView<float> a, ArrayView<float> beta, ArrayView<float> overlaps, int start, int first, int n, int pitch, bool isWide)
    {
        for (int k = XMath.Min((32 * first) + 30, (n - 2) & ~1); k >= 32 * first; k -= 2)
        {
            int before = XMath.Max(k - 1, 0);
            float factor = -beta[k];
            float factorBefore = k > 0 ? -beta[before] : 0.0f;
            if (isWide)
            {
                pair = Reflect(pair, Reflector(a, (k * pitch) + start, first, isWide), factor, first, isWide);
                pair = Reflect(pair, Reflector(a, (before * pitch) + start, first, isWide), factorBefore, first, isWide);
            }
            else
            {
                Share v = Reflector(a, (k * pitch) + start, first, isWide);
                Share u = Reflector(a, (before * pitch) + start, first, isWide);
                pair = ReflectTwice(pair, v, u, factor, factorBefore, overlaps[k], first, isWide);
            }
        }

        return pair;
    }

    // z + t v with t = factor v . z, for both vectors.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Pair Reflect(Pair pair, Share v, float factor, int first, bool isWide)
    {
        Float4 sums = default;
        sums.Z = Total(Products(pair.Z, v, first, isWide));
        sums.W = Total(Products(pair.Y, v, first, isWide));
        sums = OverLanes(sums, 2);
        pair.Z = Plus(pair.Z, factor * sums.Z, v, first, isWide);
        pair.Y = Plus(pair.Y, factor * sums.W, v, first, isWide);
        return pair;
    }

    // The same with v and then with u: their sums over lanes are side by side, as u . (z + t v) = u . z + t u . v.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Pair ReflectTwice(Pair pair, Share v, Share u, float factor, float factorBefore, float overlap, int first, bool isWide)
    {
        Float4 sums = default;
        sums.X = Total(Products(pair.Z, v, first, isWide));
        sums.Y = Total(Products(pair.Y, v, first, isWide));
        sums.Z = Total(Products(pair.Z, u, first, isWide));
        sums.W = Total(Products(pair.Y, u, first, isWide));
        sums = OverLanes(sums, 0);
        float z = factor * sums.X;
        float y = factor * sums.Y;
        pair.Z = Plus(pair.Z, z, v, first, isWide);
        pair.Y = Plus(pair.Y, y, v, first, isWide);
        pair.Z = Plus(pair.Z, factorBefore * (sums.Z + (z * overlap)), u, first, isWide);
        pair.Y = Plus(pair.Y, factorBefore * (sums.W + (y * overlap)), u, first, isWide);
        return pair;
    }

    // What a lane has of a reflector, from block `first` on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Share Reflector(ArrayView<float> a, int place, int first, bool isWide)
    {
        ArrayView<Float4> row = a.SubView(place, isWide ? 164 : 100).Cast<Float4>(); // constant offsets from here
        Share v = default;
        v.C0 = first <= 0 ? row[0] : default;
        v.C1 = first <= 1 ? row[8] : default;
        v.C2 = first <= 2 ? row[16] : default;
        v.C3 = first <= 3 ? row[24] : default;
        if (isWide)
        {
            v.C4 = first <= 4 ? row[32] : default;
            v.C5 = row[40];
        }

        return v;
    }

    // x * y, summed over the blocks from `first` on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Products(Share x, Share y, int first, bool isWide)
    {
        Float4 sum = default;
        sum = first <= 0 ? Add(sum, x.C0, y.C0) : sum;
        sum = first <= 1 ? Add(sum, x.C1, y.C1) : sum;
        sum = first <= 2 ? Add(sum, x.C2, y.C2) : sum;
        sum = first <= 3 ? Add(sum, x.C3, y.C3) : sum;
        return isWide ? Add(first <= 4 ? Add(sum, x.C4, y.C4) : sum, x.C5, y.C5) : sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Share Plus(Share x, float factor, Share y, int first, bool isWide)
    {
        x.C0 = first <= 0 ? Add(x.C0, factor, y.C0) : x.C0;
        x.C1 = first <= 1 ? Add(x.C1, factor, y.C1) : x.C1;
        x.C2 = first <= 2 ? Add(x.C2, factor, y.C2) : x.C2;
        x.C3 = first <= 3 ? Add(x.C3, factor, y.C3) : x.C3;
        if (isWide)
        {
            x.C4 = first <= 4 ? Add(x.C4, factor, y.C4) : x.C4;
            x.C5 = Add(x.C5, factor, y.C5);
        }

        return x;
    }

    // x + y z, component by component.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Add(Float4 x, Float4 y, Float4 z)
    {
        x.X += y.X * z.X;
        x.Y += y.Y * z.Y;
        x.Z += y.Z * z.Z;
        x.W += y.W * z.W;
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Add(Float4 x, float factor, Float4 z)
    {
        x.X += factor * z.X;
        x.Y += factor * z.Y;
        x.Z += factor * z.Z;
        x.W += factor * z.W;
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Sum(Share z) => Add(Add(Add(Add(Add(z.C0, 1.0f, z.C1), 1.0f, z.C2), 1.0f, z.C3), 1.0f, z.C4), 1.0f, z.C5);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Total(Float4 x) => x.X + x.Y + (x.Z + x.W);

    // The sums over a vector's lanes of four numbers, or of those from `first` on: side by side, not one behind the other.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 OverLanes(Float4 x, int first)
    {
        x = PlusOther(x, x, 4, first);
        x = PlusOther(x, x, 2, first);
        return PlusOther(x, x, 1, first);
    }

    // The sum of all components over a vector's lanes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float OverLanes(Float4 x)
    {
        float sum = Total(x);
        sum += WarpLanes.Xor(sum, 4);
        sum += WarpLanes.Xor(sum, 2);
        return sum + WarpLanes.Xor(sum, 1);
    }

    // Vectors are kept in the order of descending eigenvalues.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(ArrayView<float> vectors, Share z, int i, int start, int n, int isGram, bool isWide)
    {
        float mean = isGram * OverLanes(Sum(z)) / n;
        if (i < n)
        {
            int first = (start * n) + n - 1 - i;
            Put(vectors, z.C0, mean, first, start, n);
            Put(vectors, z.C1, mean, first + (32 * n), start + 32, n);
            Put(vectors, z.C2, mean, first + (64 * n), start + 64, n);
            Put(vectors, z.C3, mean, first + (96 * n), start + 96, n);
            if (isWide)
            {
                Put(vectors, z.C4, mean, first + (128 * n), start + 128, n);
                Put(vectors, z.C5, mean, first + (160 * n), start + 160, n);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(ArrayView<float> vectors, Float4 z, float mean, int first, int row, int n)
    {
        PutOne(vectors, z.X - mean, first, row, n);
        PutOne(vectors, z.Y - mean, first + n, row + 1, n);
        PutOne(vectors, z.Z - mean, first + (2 * n), row + 2, n);
        PutOne(vectors, z.W - mean, first + (3 * n), row + 3, n);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PutOne(ArrayView<float> vectors, float value, int place, int row, int n)
    {
        if (row < n)
        {
            vectors[place] = value;
        }
    }
}
