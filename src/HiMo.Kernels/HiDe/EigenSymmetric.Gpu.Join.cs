// SPDX-License-Identifier: Apache-2.0
// An eigenvector of the tridiagonal matrix from its two solutions, by eight lanes: component 32 c + 4 l + t lies with lane l, in place t of block c.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
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
        best = XMath.Max(best, WarpLanes.Xor(best, 1));
        best = XMath.Max(best, WarpLanes.Xor(best, 2));
        best = XMath.Max(best, WarpLanes.Xor(best, 4));
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
}
