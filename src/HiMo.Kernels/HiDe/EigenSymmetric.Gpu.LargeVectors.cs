// SPDX-License-Identifier: Apache-2.0
// Behind the tridiagonalisation of a large matrix: eigenvalues, solutions of the tridiagonal equations, rank. All steps: EigenSymmetric.Gpu.Large.cs.
// Mapping    Grid.Y is the problem. Perturbation and rank: one group. Eigenvalues: half a warp each, four warps a group (EigenSymmetric.Gpu.Values.cs).
//            Solutions: two an eigenvalue, from either end, a thread each, a warp a group (TridiagonalEigen.Gpu.cs).
// Precision  eigenvalues, solutions and the running sum of the rank in float64; solutions are stored in float32 with an exponent for four rows.
// Determinism  an eigenvalue is found by its own lanes, a solution by one thread, the running sum by one thread in the order of the eigenvalues.
// Limits     n up to 3,840: the rank keeps n doubles in shared memory. Solutions are chains of n steps, and so is the running sum.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int PairsOfALargeValue = 8;          // so that up to n = 1,000 no scheduler of the chip has more than one warp
    private const int LargeValueThreads = 4 * Gpu.WarpSize; // a warp for each scheduler

    /// <summary>The tridiagonal matrix in float64, and a bound of its norm.</summary>
    public static void PerturbKernel(LargeEigenArguments p)
    {
        double norm = p.Tridiagonal().Fill(p.Vector(VectorD), p.Vector(VectorE));
        if (Group.IdxX == 0)
        {
            p.Vector(VectorTrace)[1] = (float)(norm * (1.0 + 1e-6)); // no smaller after rounding
        }
    }

    /// <summary>Eigenvalues, 16 lanes each.</summary>
    public static void ValuesKernel(LargeEigenArguments p)
    {
        int warps = Group.DimX / Gpu.WarpSize;
        int warp = (Grid.IdxX * warps) + (Group.IdxX / Gpu.WarpSize);
        ArrayView<short> counts = SharedMemory.Allocate<short>(PointsOfAThread * LargeValueThreads);
        _ = Values(p.Tridiagonal(), p.Vector(VectorTrace)[1], warp, Grid.DimX * warps, PairsOfALargeValue, counts, p.Eigenvalues());
    }

    /// <summary>One solution of the tridiagonal equations a thread.</summary>
    public static void VectorsKernel(LargeEigenArguments p) =>
        Solve(p.Tridiagonal(), p.Eigenvalues(), p.BothSolutions(), (Grid.IdxX * Group.DimX) + Group.IdxX, Grid.DimX * Group.DimX);

    /// <summary>lambda, and m = min { m : sum_{i up to m} lambda_i / max(sum lambda, 1e-8) >= tau }, n if none reaches it. One thread adds, all divide.</summary>
    public static void RankKernel(LargeEigenArguments p)
    {
        int n = p.Problem.Size;
        float trace = p.Vector(VectorTrace)[0];
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupSum.ScratchLength);
        ArrayView<double> sums = SharedMemory.GetDynamic<double>();
        ArrayView<float> lambda = p.Problem.Values.SubView((long)Grid.IdxY * n, n);
        for (int i = Group.IdxX; i < n; i += Group.DimX)
        {
            float value = i < n - p.Problem.IsGram ? XMath.Max((float)(p.Eigenvalues()[n - 1 - i] * trace), 0.0f) : 0.0f; // as in SelectRank
            lambda[i] = value;
            sums[i] = value;
        }

        GroupBarrier.Wait(); // all values are there
        if (Group.IdxX == 0)
        {
            double sum = 0.0;
            int i = 0;
            for (; i < n % 8; i++)
            {
                sum += sums[i];
                sums[i] = sum;
            }

            for (; i < n; i += 8)
            {
                sum = AddEight(sums.SubView(i, 8), sum);
            }
        }

        GroupBarrier.Wait(); // all sums are there
        double total = XMath.Max(sums[n - 1], ExplainedRankReference.MinTotal);
        float below = 0.0f;
        for (int i = Group.IdxX; i < n; i += Group.DimX)
        {
            double kept = i > 0 ? sums[i - 1] : 0.0;
            below += kept / total < p.Problem.Tau ? 1.0f : 0.0f;
        }

        int m = (int)GroupSum.All(below, scratch);
        if (Group.IdxX == 0)
        {
            p.Problem.Kept[(1 + p.Problem.KeptGap) * Grid.IdxY] = m;
            p.Problem.Summary[2 * Grid.IdxY] = (float)(sums[m - 1] / total);
            p.Problem.Summary[(2 * Grid.IdxY) + 1] = m < n ? (lambda[m - 1] - lambda[XMath.Min(m, n - 1)]) / lambda[0] : float.PositiveInfinity;
        }
    }

    // Eight running sums in the place of their terms; loads that follow one another, so that an addition waits for the one before it alone.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double AddEight(ArrayView<double> terms, double sum)
    {
        double term0 = terms[0];
        double term1 = terms[1];
        double term2 = terms[2];
        double term3 = terms[3];
        double term4 = terms[4];
        double term5 = terms[5];
        double term6 = terms[6];
        double term7 = terms[7];
        terms[0] = sum += term0;
        terms[1] = sum += term1;
        terms[2] = sum += term2;
        terms[3] = sum += term3;
        terms[4] = sum += term4;
        terms[5] = sum += term5;
        terms[6] = sum += term6;
        terms[7] = sum += term7;
        return sum;
    }
}
