// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

// Steps 3 and 4 for large matrices, the latter by factorisations with divisions. EigenSymmetric.Gpu.cs has faster ones for small matrices.
internal static partial class EigenSymmetricGpu
{
    private const double Perturbation = 2e-8;      // of the norm; float32's own error is 6e-8
    private const double SmallestPivot = 1e-290;
    private const double LeastSquare = 1e-40;      // of a coupling, where the trace is 1

    // The tridiagonal matrix in float64, its eigenvalues pulled apart; returns a bound of its norm.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Perturb(ArrayView<float> d, ArrayView<float> e, ArrayView<double> diagonal, ArrayView<double> offSquares, int n)
    {
        double norm = 0.0;
        for (int i = Group.IdxX % Gpu.WarpSize; i < n; i += Gpu.WarpSize)
        {
            double radius = XMath.Abs((double)d[i]);
            radius += i > 0 ? XMath.Abs((double)e[i - 1]) : 0.0;
            radius += i + 1 < n ? XMath.Abs((double)e[i]) : 0.0;
            norm = XMath.Max(norm, radius);
        }

        for (int distance = Gpu.WarpSize / 2; distance > 0; distance /= 2)
        {
            norm = XMath.Max(norm, ILGPU.Warp.ShuffleXor(norm, distance));
        }

        for (int i = Group.IdxX; i < n; i += Group.DimX)
        {
            uint hash = (uint)(i + 1) * 2654435769u; // Knuth's multiplicative hash: equally spread, no two alike
            diagonal[i] = d[i] + (Perturbation * norm * ((hash * (1.0 / 4294967296.0)) - 0.5));
            offSquares[i] = i + 1 < n ? (double)e[i] * e[i] : 0.0;
        }

        Group.Barrier();
        return (norm * (1.0 + Perturbation)) + 1e-300;
    }

    // Number of eigenvalues below x: changes of sign among the leading minors of T - x I, p_{j+1} = (d_j - x) p_j - e_{j-1}^2 p_{j-1}, without a
    // division. Rescaled every four rows, in which they stay in float64's range because no coupling counts for less than LeastSquare.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CountBelow(ArrayView<double> diagonal, ArrayView<double> offSquares, double x, int n)
    {
        int count = 0;
        double before = 0.0;
        double minor = 1.0;
        double off = 0.0;
        int j = 0;
        for (; j < n % 4; j++)
        {
            double next = ((diagonal[j] - x) * minor) - (off * before);
            count += ChangesSign(minor, next);
            before = minor;
            minor = next;
            off = XMath.Max(offSquares[j], LeastSquare);
        }

        for (; j < n; j += 4)
        {
            double off0 = XMath.Max(offSquares[j], LeastSquare);
            double off1 = XMath.Max(offSquares[j + 1], LeastSquare);
            double off2 = XMath.Max(offSquares[j + 2], LeastSquare);
            double scale = Scale(minor, before);
            minor *= scale;
            double next0 = ((diagonal[j] - x) * minor) - (off * scale * before);
            double next1 = ((diagonal[j + 1] - x) * next0) - (off0 * minor);
            double next2 = ((diagonal[j + 2] - x) * next1) - (off1 * next0);
            double next3 = ((diagonal[j + 3] - x) * next2) - (off2 * next1);
            count += ChangesSign(minor, next0) + ChangesSign(next0, next1) + ChangesSign(next1, next2) + ChangesSign(next2, next3);
            before = next2;
            minor = next3;
            off = XMath.Max(offSquares[j + 3], LeastSquare);
        }

        return count;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ChangesSign(double a, double b) => (int)((Interop.FloatAsInt(a) ^ Interop.FloatAsInt(b)) >> 63);

    // The power of two that brings the larger one between 1 and 2.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Scale(double a, double b)
    {
        ulong exponentA = (Interop.FloatAsInt(a) >> 52) & 0x7ff;
        ulong exponentB = (Interop.FloatAsInt(b) >> 52) & 0x7ff;
        return Interop.IntAsFloat((2046UL - XMath.Min(XMath.Max(exponentA, exponentB), 2045UL)) << 52);
    }

    // The eigenvector of T for one eigenvalue: eliminate from both ends, start where the two meet best, and go outwards.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TwistedVector(
        ArrayView<double> diagonal, ArrayView<float> e, ArrayView<double> offSquares, double value, ArrayView<float> vectors, ArrayView<double> work, int i, int n)
    {
        ArrayView<double> down = work.SubView(0, (long)n * n);
        ArrayView<double> up = work.SubView((long)n * n, (long)n * n);
        double pivot = 1.0;
        double off = 0.0;
        for (int j = 0; j < n; j++)
        {
            pivot = diagonal[j] - value - (off / pivot);
            pivot = XMath.Abs(pivot) < SmallestPivot ? SmallestPivot : pivot;
            down[((long)j * n) + i] = pivot;
            off = offSquares[j];
        }

        int twist = n - 1;
        double smallest = XMath.Abs(pivot);
        pivot = diagonal[n - 1] - value;
        pivot = XMath.Abs(pivot) < SmallestPivot ? SmallestPivot : pivot;
        up[((long)(n - 1) * n) + i] = pivot;
        for (int j = n - 2; j >= 0; j--)
        {
            double shifted = diagonal[j] - value;
            pivot = shifted - (offSquares[j] / pivot);
            pivot = XMath.Abs(pivot) < SmallestPivot ? SmallestPivot : pivot;
            up[((long)j * n) + i] = pivot;
            double gamma = XMath.Abs(down[((long)j * n) + i] + pivot - shifted);
            twist = gamma < smallest ? j : twist;
            smallest = XMath.Min(gamma, smallest);
        }

        // Written in place of the factors, so that the norm is known before the vector is rounded.
        double squares = 1.0;
        double z = 1.0;
        for (int j = twist - 1; j >= 0; j--)
        {
            z = -e[j] * z / down[((long)j * n) + i];
            down[((long)j * n) + i] = z;
            squares += z * z;
        }

        z = 1.0;
        down[((long)twist * n) + i] = 1.0;
        for (int j = twist + 1; j < n; j++)
        {
            z = -e[j - 1] * z / up[((long)j * n) + i];
            down[((long)j * n) + i] = z;
            squares += z * z;
        }

        double scale = 1.0 / XMath.Sqrt(squares);
        for (int j = 0; j < n; j++)
        {
            vectors[((long)j * n) + n - 1 - i] = (float)(down[((long)j * n) + i] * scale);
        }
    }
}
