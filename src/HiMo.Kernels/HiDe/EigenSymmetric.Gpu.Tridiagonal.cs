// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

// Steps 3, 4 and 6 for large matrices, by factorisations with divisions. EigenSymmetric.Gpu.cs has faster ones for small matrices.
internal static partial class EigenSymmetricGpu
{
    private const double Perturbation = 2e-8;      // of the norm; float32's own error is 6e-8
    private const double SmallestPivot = 1e-290;

    // The tridiagonal matrix in float64, its eigenvalues pulled apart; returns a bound of its norm.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Perturb(ArrayView<float> d, ArrayView<float> e, ArrayView<double> diagonal, ArrayView<double> offSquares, int n)
    {
        double norm = 0.0;
        for (int i = 0; i < n; i++)
        {
            double radius = XMath.Abs((double)d[i]);
            radius += i > 0 ? XMath.Abs((double)e[i - 1]) : 0.0;
            radius += i + 1 < n ? XMath.Abs((double)e[i]) : 0.0;
            norm = XMath.Max(norm, radius);
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

    // Number of eigenvalues below x: negative pivots of the factorisation of T - x I.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int CountBelow(ArrayView<double> diagonal, ArrayView<double> offSquares, double x, int n)
    {
        int count = 0;
        double pivot = 1.0;
        double off = 0.0;
        for (int j = 0; j < n; j++)
        {
            pivot = diagonal[j] - x - (off / pivot);
            pivot = XMath.Abs(pivot) < SmallestPivot ? -SmallestPivot : pivot;
            count += pivot < 0.0 ? 1 : 0;
            off = offSquares[j];
        }

        return count;
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

    // m = min { m : sum_{i<=m} lambda_i / max(sum lambda, 1e-8) >= tau }, n if none reaches it
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SelectRank(ArrayView<float> lambda, EigenArguments arguments, int problem, int n)
    {
        double total = 0.0;
        for (int i = 0; i < n; i++)
        {
            total += lambda[i];
        }

        total = XMath.Max(total, ExplainedRankReference.MinTotal);
        int m = 0;
        double kept = 0.0;
        while (m < n && kept / total < arguments.Tau)
        {
            kept += lambda[m];
            m++;
        }

        float gap = float.PositiveInfinity;
        if (m < n)
        {
            gap = (lambda[m - 1] - lambda[m]) / lambda[0];
        }

        arguments.Kept[(1 + arguments.KeptGap) * problem] = m;
        arguments.Summary[2 * problem] = (float)(kept / total);
        arguments.Summary[(2 * problem) + 1] = gap;
    }
}
