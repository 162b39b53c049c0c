// SPDX-License-Identifier: Apache-2.0
// Eigensystem of a centred Gram or covariance matrix, one problem a thread group, all of it in one launch.  K' = H K H,  K' = W diag(lambda) W^T
// Shapes     K: n x n a group, n from 1 to 176 (beyond: EigenSymmetric.Gpu.Large.cs); lambda: n, descending, not negative; W: n x n, element (j, i) is component j of vector i.
// Steps      1 centre, scale by the trace   2 Householder to tridiagonal, in shared memory   3 eigenvalues by multisection of Sturm
//            counts, 8 lanes a value   4 vectors of the tridiagonal matrix by twisted factorisation, a thread a vector
//            5 back through the reflectors, a warp a vector   6 rank m by prefix sum
// Mapping    any number of warps; the matrix lies in dynamic shared memory with a row pitch of 8 modulo 32, so that 4 rows x 8 columns
//            lie in 32 banks.
// Precision  1, 2, 5 in float32, 3 and 4 in float64: a tridiagonal matrix with gaps above 1e-8 of its norm then gives vectors that are
//            orthogonal to float32's error. Its diagonal is perturbed by less than float32's error, differently in each place, so that
//            no two eigenvalues coincide, not even those of a matrix that falls apart into blocks (Dhillon and Parlett's device).
//            W of a Gram matrix is centred, H W: for an eigenvalue above 0 that changes rounding only, and the null vector 1 becomes 0.
// Failure    none: no iteration waits for convergence. Deterministic.
// Source     Golub and Van Loan, Matrix Computations, sections 8.3 and 8.4; Dhillon and Parlett, twisted factorisations (1997).
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Arguments of <see cref="EigenSymmetricGpu.Kernel"/>; one entry a group where nothing else is said.</summary>
internal struct EigenArguments
{
    /// <summary>K, n x n a group, not centred.</summary>
    public ArrayView<float> Matrix;

    /// <summary>Receives lambda, n a group.</summary>
    public ArrayView<float> Values;

    /// <summary>Receives W, n x n a group.</summary>
    public ArrayView<float> Vectors;

    /// <summary>Workspace, 2 n^2 a group.</summary>
    public ArrayView<double> Scratch;

    /// <summary>Receives m, <see cref="KeptGap"/> elements between one and the next.</summary>
    public ArrayView<int> Kept;
    public int KeptGap;

    /// <summary>Receives the explained variance at m and the relative gap at the cut, 2 a group.</summary>
    public ArrayView<float> Summary;

    /// <summary>n.</summary>
    public int Size;

    /// <summary>Share of the variance to reach.</summary>
    public double Tau;

    /// <summary>1: K is a Gram matrix of rows that are not centred, and H K H is decomposed; 0: K is.</summary>
    public int IsGram;
}

/// <summary>The eigensystem on the GPU.</summary>
internal static partial class EigenSymmetricGpu
{
    /// <summary>Largest n that one thread group solves.</summary>
    public const int MaxSize = 176;

    /// <summary>Words of dynamic shared memory: the matrix, d, e, beta, p, and the scratch of sums.</summary>
    public static int SharedLength(int size) => (size * Pitch(size)) + (4 * size) + GroupSum.ScratchLength;

    /// <summary>Doubles of workspace for one problem.</summary>
    /// <param name="size">n.</param>
    /// <param name="largest">Largest n that one thread group solves.</param>
    public static long ScratchLength(int size, int largest) => size <= largest ? 2L * size * size : LargeScratchLength(size);

    /// <summary>Enqueues the decomposition of some problems of one size.</summary>
    /// <param name="gpu">The device.</param>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="problems">How many.</param>
    /// <param name="threads">Threads of a group.</param>
    /// <param name="largest">Largest n that one thread group solves, up to <see cref="MaxSize"/>.</param>
    /// <param name="arguments">The problems, and <see cref="ScratchLength"/> of workspace for each.</param>
    public static void Run(Gpu gpu, AcceleratorStream stream, int problems, int threads, int largest, EigenArguments arguments)
    {
        if (arguments.Size <= largest)
        {
            gpu.Launch(stream, Kernel, new Index3D(problems, 1, 1), threads, arguments, SharedLength(arguments.Size));
        }
        else
        {
            RunLarge(gpu, stream, problems, threads, arguments);
        }
    }

    /// <summary>One group's problem.</summary>
    public static void Kernel(EigenArguments arguments)
    {
        int n = arguments.Size;
        int pitch = Pitch(n);
        ArrayView<float> shared = SharedMemory.GetDynamic<float>();
        ArrayView<double> diagonal = SharedMemory.Allocate<double>(MaxSize);
        ArrayView<double> offSquares = SharedMemory.Allocate<double>(MaxSize);
        ArrayView<double> values = SharedMemory.Allocate<double>(MaxSize);
        ArrayView<float> a = shared.SubView(0, n * pitch);
        ArrayView<float> d = shared.SubView(n * pitch, n);
        ArrayView<float> e = shared.SubView((n * pitch) + n, n);
        ArrayView<float> beta = shared.SubView((n * pitch) + (2 * n), n);
        ArrayView<float> p = shared.SubView((n * pitch) + (3 * n), n);
        ArrayView<float> scratch = shared.SubView((n * pitch) + (4 * n), GroupSum.ScratchLength);
        long matrixStart = (long)Grid.IdxX * n * n;

        float trace = LoadCentred(arguments.Matrix.SubView(matrixStart, (long)n * n), a, d, p, n, pitch, arguments.IsGram);
        for (int k = 0; k < n - 2; k++)
        {
            Reflect(a, d, e, beta, p, scratch, k, n, pitch);
        }

        if (Group.IdxX == 0)
        {
            d[n - 1] = a[(n - 1) * (pitch + 1)];
            if (n > 1)
            {
                d[n - 2] = a[(n - 2) * (pitch + 1)];
                e[n - 2] = a[((n - 2) * pitch) + n - 1];
            }
        }

        Group.Barrier();
        double norm = Perturb(d, e, diagonal, offSquares, n);
        Multisect(diagonal, offSquares, values, norm, n);
        Group.Barrier();
        ArrayView<float> vectors = arguments.Vectors.SubView(matrixStart, (long)n * n);
        ArrayView<double> work = arguments.Scratch.SubView(2 * matrixStart, 2L * n * n);
        for (int i = Group.IdxX; i < n; i += Group.DimX)
        {
            TwistedVector(diagonal, e, offSquares, values[i], vectors, work, i, n);
        }

        Group.Barrier(); // vectors change from a thread each to a warp each
        for (int i = Group.IdxX / Gpu.WarpSize; i < n; i += Group.DimX / Gpu.WarpSize)
        {
            BackTransform(a, beta, vectors, i, n, pitch, arguments.IsGram);
        }

        ArrayView<float> lambda = arguments.Values.SubView((long)Grid.IdxX * n, n);
        for (int i = Group.IdxX; i < n; i += Group.DimX)
        {
            lambda[i] = XMath.Max((float)(values[n - 1 - i] * trace), 0.0f);
        }

        Group.Barrier();
        if (Group.IdxX == 0)
        {
            SelectRank(lambda, arguments, Grid.IdxX, n);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Pitch(int size) => ((size + 31) / 32 * 32) + 8;

    // a = H K H / trace, or K / trace. K is read along columns, which its symmetry allows, and made exactly symmetric. Returns the trace.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float LoadCentred(ArrayView<float> k, ArrayView<float> a, ArrayView<float> diagonal, ArrayView<float> mean, int n, int pitch, int isGram)
    {
        for (int i = Group.IdxX; i < n; i += Group.DimX)
        {
            float sum = 0.0f;
            for (int j = 0; j < n; j++)
            {
                sum += k[(j * n) + i];
            }

            mean[i] = isGram * sum / n;
            diagonal[i] = k[i * (n + 1)];
        }

        Group.Barrier();
        float total = 0.0f;
        for (int i = 0; i < n; i++)
        {
            total += mean[i];
        }

        total /= n;
        float trace = 0.0f;
        for (int i = 0; i < n; i++)
        {
            trace += XMath.Max(diagonal[i] - (2.0f * mean[i]) + total, 0.0f);
        }

        float scale = trace > 0.0f ? 1.0f / trace : 0.0f;
        int lane = Group.IdxX % Gpu.WarpSize;
        for (int i = Group.IdxX / Gpu.WarpSize; i < n; i += Group.DimX / Gpu.WarpSize)
        {
            for (int j = lane; j < n; j += Gpu.WarpSize)
            {
                float symmetric = 0.5f * (k[(i * n) + j] + k[(j * n) + i]);
                a[(i * pitch) + j] = (symmetric - mean[i] - mean[j] + total) * scale;
            }
        }

        Group.Barrier();
        return trace;
    }

    // One Householder step: column k below the diagonal becomes (alpha, 0, ..., 0). The reflector I - beta v v^T stays in row k.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Reflect(
        ArrayView<float> a, ArrayView<float> d, ArrayView<float> e, ArrayView<float> beta, ArrayView<float> p, ArrayView<float> scratch, int k, int n, int pitch)
    {
        ArrayView<float> v = a.SubView(k * pitch, n);
        float part = 0.0f;
        for (int j = k + 2 + Group.IdxX; j < n; j += Group.DimX)
        {
            part += v[j] * v[j];
        }

        float tail = GroupSum.All(part, scratch);
        float first = v[k + 1];
        float norm = XMath.Sqrt((first * first) + tail);
        bool isNeeded = tail > 0.0f;
        float alpha = isNeeded ? (first > 0.0f ? -norm : norm) : first;
        float factor = isNeeded ? 1.0f / (norm * (norm + XMath.Abs(first))) : 0.0f;
        Group.Barrier(); // everybody has read the first element
        if (Group.IdxX == 0)
        {
            d[k] = v[k];
            e[k] = alpha;
            beta[k] = factor;
            v[k + 1] = first - alpha;
        }

        Group.Barrier();

        // p = beta A v, four lanes a row
        int quarter = Group.IdxX % 4;
        float dot = 0.0f;
        for (int start = k + 1; start < n; start += Group.DimX / 4)
        {
            int i = start + (Group.IdxX / 4);
            float sum = 0.0f;
            if (i < n)
            {
                for (int j = k + 1 + quarter; j < n; j += 4)
                {
                    sum += a[(j * pitch) + i] * v[j];
                }
            }

            sum += ILGPU.Warp.ShuffleXor(sum, 1);
            sum += ILGPU.Warp.ShuffleXor(sum, 2);
            if (i < n && quarter == 0)
            {
                p[i] = factor * sum;
                dot += factor * sum * v[i];
            }
        }

        float half = 0.5f * factor * GroupSum.All(dot, scratch);

        // A -= v w^T + w v^T with w = p - half v
        int lane = Group.IdxX % Gpu.WarpSize;
        for (int i = k + 1 + (Group.IdxX / Gpu.WarpSize); i < n; i += Group.DimX / Gpu.WarpSize)
        {
            float vi = v[i];
            float wi = p[i] - (half * vi);
            for (int j = k + 1 + lane; j < n; j += Gpu.WarpSize)
            {
                float vj = v[j];
                a[(i * pitch) + j] -= (vi * (p[j] - (half * vj))) + (wi * vj);
            }
        }

        Group.Barrier();
    }

    /// <summary>One vector of up to 192 components over a warp: component lane + 32 c in field c.</summary>
    private struct Spread
    {
        public float C0;
        public float C1;
        public float C2;
        public float C3;
        public float C4;
        public float C5;
    }

    // w = (I - beta_0 v_0 v_0^T) ... (I - beta_{n-3} v_{n-3} v_{n-3}^T) z, of a Gram matrix then centred.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void BackTransform(ArrayView<float> a, ArrayView<float> beta, ArrayView<float> vectors, int i, int n, int pitch, int isGram)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        Spread z = Load(vectors.SubView(i, ((long)n * n) - i), lane, 0, n, n);
        for (int k = n - 3; k >= 0; k--)
        {
            Spread v = Load(a.SubView(k * pitch, n), lane, k + 1, n, 1);
            float dot = (z.C0 * v.C0) + (z.C1 * v.C1) + (z.C2 * v.C2) + (z.C3 * v.C3) + (z.C4 * v.C4) + (z.C5 * v.C5);
            float factor = beta[k] * GroupSum.Warp(dot);
            z.C0 -= factor * v.C0;
            z.C1 -= factor * v.C1;
            z.C2 -= factor * v.C2;
            z.C3 -= factor * v.C3;
            z.C4 -= factor * v.C4;
            z.C5 -= factor * v.C5;
        }

        float mean = isGram * GroupSum.Warp(z.C0 + z.C1 + z.C2 + z.C3 + z.C4 + z.C5) / n;
        Store(vectors, z.C0 - mean, lane, i, n);
        Store(vectors, z.C1 - mean, lane + 32, i, n);
        Store(vectors, z.C2 - mean, lane + 64, i, n);
        Store(vectors, z.C3 - mean, lane + 96, i, n);
        Store(vectors, z.C4 - mean, lane + 128, i, n);
        Store(vectors, z.C5 - mean, lane + 160, i, n);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Spread Load(ArrayView<float> source, int lane, int first, int n, int stride)
    {
        Spread spread = default;
        spread.C0 = Element(source, lane, first, n, stride);
        spread.C1 = Element(source, lane + 32, first, n, stride);
        spread.C2 = Element(source, lane + 64, first, n, stride);
        spread.C3 = Element(source, lane + 96, first, n, stride);
        spread.C4 = Element(source, lane + 128, first, n, stride);
        spread.C5 = Element(source, lane + 160, first, n, stride);
        return spread;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Element(ArrayView<float> source, int j, int first, int n, int stride)
    {
        float value = 0.0f;
        if (j >= first && j < n)
        {
            value = source[(long)j * stride];
        }

        return value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ArrayView<float> vectors, float value, int j, int i, int n)
    {
        if (j < n)
        {
            vectors[((long)j * n) + i] = value;
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
