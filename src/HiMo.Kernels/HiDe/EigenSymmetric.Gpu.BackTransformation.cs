// SPDX-License-Identifier: Apache-2.0
// Step 5: an eigenvector of the tridiagonal matrix from its two solutions, and back through the reflectors,
// w = (I - beta_0 v_0 v_0^T) ... (I - beta_{n-3} v_{n-3} v_{n-3}^T) z. Eight lanes have two
// vectors together, so that each word of a reflector is loaded once for both: component 32 c + 4 l + t lies with lane l, in place t of block c.
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
    private static void BackTransform(ArrayView<float> a, ArrayView<float> beta, Solutions solutions, ArrayView<float> vectors, int n, int pitch, int isGram, bool isWide)
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
                pair = ReflectRange(pair, a, beta, start, 5, n, pitch, isWide);
                pair = ReflectRange(pair, a, beta, start, 4, n, pitch, isWide);
            }

            pair = ReflectRange(pair, a, beta, start, 3, n, pitch, isWide);
            pair = ReflectRange(pair, a, beta, start, 2, n, pitch, isWide);
            pair = ReflectRange(pair, a, beta, start, 1, n, pitch, isWide);
            pair = ReflectRange(pair, a, beta, start, 0, n, pitch, isWide);
            Put(vectors, pair.Z, i, start, n, isGram, isWide);
            Put(vectors, pair.Y, i + 1, start, n, isGram, isWide);
        }
    }

    // The reflectors that begin in block `first`, which is a constant once this is inlined; last one first.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Pair ReflectRange(Pair pair, ArrayView<float> a, ArrayView<float> beta, int start, int first, int n, int pitch, bool isWide)
    {
        ArrayView<Float4> rows = a.Cast<Float4>();
        int end = XMath.Max((32 * first) - 1, 0);
        for (int k = XMath.Min((32 * first) + 30, n - 3); k >= end; k--)
        {
            ArrayView<Float4> row = rows.SubView(((k * pitch) + start) / 4, isWide ? 41 : 25); // constant offsets from here
            float factor = -beta[k];
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

            float z = Total(Products(pair.Z, v, first, isWide));
            float y = Total(Products(pair.Y, v, first, isWide));
            float zAside = ILGPU.Warp.ShuffleXor(z, 4); // both sums side by side, not one behind the other
            float yAside = ILGPU.Warp.ShuffleXor(y, 4);
            z += zAside;
            y += yAside;
            zAside = ILGPU.Warp.ShuffleXor(z, 2);
            yAside = ILGPU.Warp.ShuffleXor(y, 2);
            z += zAside;
            y += yAside;
            zAside = ILGPU.Warp.ShuffleXor(z, 1);
            yAside = ILGPU.Warp.ShuffleXor(y, 1);
            pair.Z = Plus(pair.Z, factor * (z + zAside), v, first, isWide);
            pair.Y = Plus(pair.Y, factor * (y + yAside), v, first, isWide);
        }

        return pair;
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

    // The unit vector: the solution from above up to the row where both together are largest, the one from below behind it. Both lie in registers
    // meanwhile: so all their loads are under way together, and once.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Share Join(Solutions s, int i, int start, bool isWide)
    {
        int n = s.Size;
        BothRows b0 = BothFromMemory(s, i, start);
        BothRows b1 = BothFromMemory(s, i, start + 32);
        BothRows b2 = BothFromMemory(s, i, start + 64);
        BothRows b3 = BothFromMemory(s, i, start + 96);
        BothRows b4 = default;
        BothRows b5 = default;
        if (isWide)
        {
            b4 = BothFromMemory(s, i, start + 128);
            b5 = BothFromMemory(s, i, start + 160);
        }

        int best = XMath.Max(XMath.Max(LargestKey(b0, start, n), LargestKey(b1, start + 32, n)), XMath.Max(LargestKey(b2, start + 64, n), LargestKey(b3, start + 96, n)));
        best = isWide ? XMath.Max(best, XMath.Max(LargestKey(b4, start + 128, n), LargestKey(b5, start + 160, n))) : best;
        best = XMath.Max(best, ILGPU.Warp.ShuffleXor(best, 1));
        best = XMath.Max(best, ILGPU.Warp.ShuffleXor(best, 2));
        best = XMath.Max(best, ILGPU.Warp.ShuffleXor(best, 4));
        Joint joint = JointAt(s, i, 0xff - (best & 0xff));
        Share z = default;
        z.C0 = Joined(b0, joint, start, n);
        z.C1 = Joined(b1, joint, start + 32, n);
        z.C2 = Joined(b2, joint, start + 64, n);
        z.C3 = Joined(b3, joint, start + 96, n);
        if (isWide)
        {
            z.C4 = Joined(b4, joint, start + 128, n);
            z.C5 = Joined(b5, joint, start + 160, n);
        }

        float scale = 1.0f / XMath.Sqrt(OverLanes(Products(z, z, 0, isWide)));
        return Plus(default, scale, z, 0, isWide);
    }

    /// <summary>Where the two solutions of a vector meet: the row, 1 / component there, and the exponents there.</summary>
    private struct Joint
    {
        public int Twist;
        public float Above;
        public float Below;
        public int AboveExponent;
        public int BelowExponent;
    }

    /// <summary>Four rows of both solutions, and their exponents.</summary>
    private struct BothRows
    {
        public Float4 Above;
        public Float4 Below;
        public float AboveExponent;
        public float BelowExponent;
    }

    // Rows past the last block of four are those of this block.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static BothRows BothFromMemory(Solutions s, int i, int row)
    {
        int n = s.Size;
        int inside = XMath.Min(row / TridiagonalGpu.Block, (n - 1) / TridiagonalGpu.Block);
        int place = (inside * TridiagonalGpu.Block * n) + i;
        int block = (inside * n) + i + s.Exponents;
        BothRows rows = default;
        rows.Above.X = s.Memory[place];
        rows.Above.Y = s.Memory[place + n];
        rows.Above.Z = s.Memory[place + (2 * n)];
        rows.Above.W = s.Memory[place + (3 * n)];
        rows.Below.X = s.Memory[place + s.Below];
        rows.Below.Y = s.Memory[place + s.Below + n];
        rows.Below.Z = s.Memory[place + s.Below + (2 * n)];
        rows.Below.W = s.Memory[place + s.Below + (3 * n)];
        rows.AboveExponent = s.Memory[block];
        rows.BelowExponent = s.Memory[block + s.Below];
        return rows;
    }

    // Where row `twist` makes both solutions meet.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Joint JointAt(Solutions s, int i, int twist)
    {
        int place = (twist * s.Size) + i;
        int block = (twist / TridiagonalGpu.Block * s.Size) + i + s.Exponents;
        Joint joint = default;
        joint.Twist = twist;
        joint.Above = 1.0f / s.Memory[place];
        joint.Below = 1.0f / s.Memory[place + s.Below];
        joint.AboveExponent = (int)s.Memory[block];
        joint.BelowExponent = (int)s.Memory[block + s.Below];
        return joint;
    }

    // The largest key of four rows: logarithm of the product of both solutions, to 2^-9, with the earlier row winning a tie in the lowest byte.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int LargestKey(BothRows rows, int row, int n)
    {
        int exponent = (int)rows.AboveExponent + (int)rows.BelowExponent;
        return XMath.Max(
            XMath.Max(Key(rows.Above.X, rows.Below.X, exponent, row, n), Key(rows.Above.Y, rows.Below.Y, exponent, row + 1, n)),
            XMath.Max(Key(rows.Above.Z, rows.Below.Z, exponent, row + 2, n), Key(rows.Above.W, rows.Below.W, exponent, row + 3, n)));
    }

    // Four components, as a multiple of the one at the joint; zeros past the end.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Joined(BothRows rows, Joint joint, int row, int n)
    {
        float above = joint.Above * Power((int)rows.AboveExponent - joint.AboveExponent);
        float below = joint.Below * Power((int)rows.BelowExponent - joint.BelowExponent);
        int twist = joint.Twist - row;
        int end = n - row;
        Float4 z = default;
        z.X = end > 0 ? (twist >= 0 ? rows.Above.X * above : rows.Below.X * below) : 0.0f;
        z.Y = end > 1 ? (twist >= 1 ? rows.Above.Y * above : rows.Below.Y * below) : 0.0f;
        z.Z = end > 2 ? (twist >= 2 ? rows.Above.Z * above : rows.Below.Z * below) : 0.0f;
        z.W = end > 3 ? (twist >= 3 ? rows.Above.W * above : rows.Below.W * below) : 0.0f;
        return z;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Key(float above, float below, int exponent, int row, int n)
    {
        int logarithm = Logarithm(above) + Logarithm(below) + (exponent << 9);
        return row < n ? (logarithm << 8) | (0xff - row) : int.MinValue;
    }

    // A float32's bits are its logarithm, to 0.09.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Logarithm(float value) => (int)(Interop.FloatAsInt(XMath.Abs(value)) >> 14);

    // 2^e; 0 where float32 ends.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Power(int exponent) => Interop.IntAsFloat((uint)XMath.Clamp(exponent + 127, 0, 254) << 23);

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

    // The sum of all components over a vector's lanes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float OverLanes(Float4 x)
    {
        float sum = Total(x);
        sum += ILGPU.Warp.ShuffleXor(sum, 4);
        sum += ILGPU.Warp.ShuffleXor(sum, 2);
        return sum + ILGPU.Warp.ShuffleXor(sum, 1);
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
