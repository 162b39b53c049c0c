// SPDX-License-Identifier: Apache-2.0
// Eigensystem of a centred Gram or covariance matrix, one problem a thread group, all of it in one launch.  K' = H K H,  K' = W diag(lambda) W^T
// Shapes     K: n x n a group, n from 1 to 176 (beyond, and beyond what shared memory has room for: EigenSymmetric.Gpu.Large.cs); lambda: n, descending, not negative; W: n x n, element (j, i) is component j of vector i.
// Steps      1 centre, scale by the trace   2 Householder to tridiagonal, in registers up to n = 128 (EigenSymmetric.Gpu.RegisterReduction.cs),
//            else in shared memory (EigenSymmetric.Gpu.Reduction.cs)   3 eigenvalues (EigenSymmetric.Gpu.Values.cs)   4 solutions of the
//            tridiagonal equations from both ends, a thread each (TridiagonalEigen.Gpu.cs)   5 their join, and back through the reflectors
//            (EigenSymmetric.Gpu.BackTransformation.cs)   6 rank m by prefix sum, beside step 4
// Mapping    any number of warps; the matrix lies in dynamic shared memory with a row pitch of 4 modulo 32: rows begin at 16 bytes, and a
//            column lies in 8 banks. ILGPU unrolls no loop, so what shall be under way together stands written out, in structures.
// Precision  1, 2, 5 in float32, 3 and 4 in float64: a tridiagonal matrix with gaps above 1e-8 of its norm then gives vectors that are
//            orthogonal to float32's error. W of a Gram matrix is centred, H W: for an eigenvalue above 0 that changes rounding only,
//            and the null vector 1 becomes 0.
// Failure    none: no iteration waits for convergence.
// Determinism  the order of every sum follows from n and the threads of a group.
// Limits     n up to 176 and to what shared memory holds (LargestWithin); at most 512 threads; in registers more than eight warps, n up to 128, and the shared memory of 128.
// Source     Golub and Van Loan, Matrix Computations, section 8.3.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Arguments of <see cref="EigenSymmetricGpu.Kernel{TMemory}"/>; one entry a group where nothing else is said.</summary>
internal struct EigenArguments
{
    /// <summary>K, n x n a group, not centred.</summary>
    public ArrayView<float> Matrix;

    /// <summary>Receives lambda, n a group.</summary>
    public ArrayView<float> Values;

    /// <summary>Receives W, n x n a group.</summary>
    public ArrayView<float> Vectors;

    /// <summary>Workspace, <see cref="EigenSymmetricGpu.ScratchLength"/> a group.</summary>
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

    private const int MostThreads = 512;               // of some 120 registers
    private const int SpareRows = 8;
    private const int SumsTogether = 4;

    /// <summary>Words of dynamic shared memory: the matrix and spare rows, d, e, beta, means and trace, two of p and of u.</summary>
    public static int SharedLength(int size) => ((size + SpareRows + 4) * Pitch(size)) + (4 * Span(Pitch(size)));

    /// <summary>Largest n that one thread group solves in some bytes of shared memory, of which one KiB is not its own, at most <see cref="MaxSize"/>; 0: none.</summary>
    public static int LargestWithin(int bytes)
    {
        int fixedBytes = (((2 * MaxSize) + SumsTogether) * sizeof(double)) + (sizeof(short) * PointsOfAThread * MostThreads) + (((8 * MaxSize) + 2) * sizeof(double)) + 1024;
        int size = MaxSize;
        while (size > 0 && fixedBytes + (sizeof(float) * SharedLength(size)) > bytes)
        {
            size--;
        }

        return size;
    }

    /// <summary>The same on a device. One of the emulation that has no shared memory for the rows of large problems has it for everything else.</summary>
    public static int LargestOn(Gpu gpu) => gpu.SharedBytes > 0 ? LargestWithin(gpu.SharedBytes + 1024) : MaxSize;

    /// <summary>Doubles of workspace for one problem.</summary>
    /// <param name="size">n.</param>
    /// <param name="largest">Largest n that one thread group solves.</param>
    public static long ScratchLength(int size, int largest) => size <= largest ? Solutions.Length(size) / 2 : LargeScratchLength(size);

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
            // Two kernels rather than one with a choice inside: the driver assembles a process's first kernels while it waits, and this one is the longest.
            bool fitsRegisters = arguments.Size <= Narrow && largest >= Narrow && threads > WarpsOfRows * Gpu.WarpSize;
            Action<EigenArguments> kernel = fitsRegisters ? Kernel<InRegisters> : Kernel<InSharedMemory>;
            gpu.Launch(stream, kernel, new Index3D(problems, 1, 1), threads, arguments, SharedLength(fitsRegisters ? Narrow : arguments.Size));
        }
        else
        {
            RunLarge(gpu, stream, problems, threads, arguments);
        }
    }

    /// <summary>Where the matrix lies while Householder's reflectors make it tridiagonal.</summary>
    internal interface IReductionMemory
    {
        /// <summary>Whether n is at most 128.</summary>
        static abstract bool IsNarrow { get; }

        /// <summary>d, e, and in the matrix's place reflectors I - beta u u^T.</summary>
        static abstract void Tridiagonalise(ArrayView<float> a, ArrayView<float> d, ArrayView<float> e, ArrayView<float> beta, ArrayView<float> work, int n, int pitch);
    }

    /// <summary>In the registers of more than eight warps; n up to 128.</summary>
    internal readonly struct InRegisters : IReductionMemory
    {
        public static bool IsNarrow => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Tridiagonalise(ArrayView<float> a, ArrayView<float> d, ArrayView<float> e, ArrayView<float> beta, ArrayView<float> work, int n, int pitch) =>
            TridiagonaliseInRegisters(a, d, e, beta, work, n, pitch);
    }

    /// <summary>In shared memory; any n and number of warps.</summary>
    internal readonly struct InSharedMemory : IReductionMemory
    {
        public static bool IsNarrow => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Tridiagonalise(ArrayView<float> a, ArrayView<float> d, ArrayView<float> e, ArrayView<float> beta, ArrayView<float> work, int n, int pitch) =>
            EigenSymmetricGpu.Tridiagonalise(a, d, e, beta, work.SubView(0, 2 * Span(pitch)), work.SubView(2 * Span(pitch), 2 * Span(pitch)), n, pitch, Span(pitch));
    }

    /// <summary>One group's problem.</summary>
    public static void Kernel<TMemory>(EigenArguments arguments)
        where TMemory : struct, IReductionMemory
    {
        int n = arguments.Size;
        bool isWide = !TMemory.IsNarrow && n > Narrow;
        int rows = TMemory.IsNarrow ? Narrow : n; // so that addresses are constants: the matrix leaves no registers for others
        int pitch = Pitch(rows);
        long start = (long)Grid.IdxX * n * n;
        ArrayView<float> shared = SharedMemory.GetDynamic<float>();
        ArrayView<float> a = shared.SubView(0, (rows + SpareRows) * pitch);
        ArrayView<float> vectors = shared.SubView((rows + SpareRows) * pitch, (4 * pitch) + (4 * Span(pitch)));
        ArrayView<float> d = vectors.SubView(0, pitch);
        ArrayView<float> e = vectors.SubView(pitch, pitch);
        ArrayView<float> beta = vectors.SubView(2 * pitch, pitch);
        ArrayView<float> means = vectors.SubView(3 * pitch, pitch);
        ArrayView<double> values = SharedMemory.Allocate<double>(MaxSize);
        ArrayView<short> counts = SharedMemory.Allocate<short>(PointsOfAThread * MostThreads);
        ArrayView<double> sums = SharedMemory.Allocate<double>(MaxSize + SumsTogether);
        TridiagonalGpu tridiagonal = default;
        tridiagonal.Rows = SharedMemory.Allocate<double>(2 * TridiagonalRow.Words * MaxSize);
        tridiagonal.MinorRows = SharedMemory.Allocate<MinorRow>(MaxSize + 1);
        tridiagonal.Size = n;

        float trace = LoadCentred(arguments.Matrix.SubView(start, (long)n * n), a, means, n, pitch, arguments.IsGram);
        if (Group.IdxX == 0)
        {
            means[pitch - 1] = trace; // behind the means, until the rank is chosen
        }

        TMemory.Tridiagonalise(a, d, e, beta, vectors.SubView(4 * pitch, 4 * Span(pitch)), n, pitch);
        GroupBarrier.Wait(); // d and e are there
        double norm = tridiagonal.Fill(d, e);
        GroupBarrier.Wait(); // T is there
        _ = Values(tridiagonal, norm, Group.IdxX / Gpu.WarpSize, Group.DimX / Gpu.WarpSize, 1, counts, values);
        GroupBarrier.Wait(); // all eigenvalues are there
        int length = Solutions.Length(n);
        Solutions solutions = Solutions.In(arguments.Scratch.Cast<float>().SubView((long)Grid.IdxX * length, length), n);
        Solve(tridiagonal, values, solutions, Group.IdxX, Group.DimX);
        if (Group.IdxX / Gpu.WarpSize == (Group.DimX / Gpu.WarpSize) - 1)
        {
            SelectRank(values, means[pitch - 1], sums, arguments, n); // by the warp that has least to solve
        }

        ArrayView<float> overlaps = means; // which are not needed any more, their trace apart
        if (!isWide)
        {
            Overlap(a, overlaps, n, pitch);
        }

        GroupBarrier.Wait(); // overlaps are there, and solutions change from a thread each to eight lanes each
        ArrayView<float> result = arguments.Vectors.SubView(start, (long)n * n);
        if (isWide)
        {
            BackTransform(a, beta, overlaps, solutions, result, n, pitch, arguments.IsGram, isWide: true);
        }
        else
        {
            BackTransform(a, beta, overlaps, solutions, result, n, pitch, arguments.IsGram, isWide: false);
        }
    }

    /// <summary>Floats from one row of the matrix in shared memory to the next: its columns, in whole blocks of 32, and four.</summary>
    /// <param name="size">n.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Pitch(int size) => (size > Narrow ? 3 * Narrow / 2 : Narrow) + 4;

    // Floats of a vector that has components for the spare rows too.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Span(int pitch) => pitch + 4;

    // lambda, and m = min { m : sum_{i<=m} lambda_i / max(sum lambda, 1e-8) >= tau }, n if none reaches it; by one warp.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SelectRank(ArrayView<double> values, float trace, ArrayView<double> sums, EigenArguments arguments, int n)
    {
        int problem = Grid.IdxX;
        int lane = Group.IdxX % Gpu.WarpSize;
        ArrayView<float> lambda = arguments.Values.SubView((long)problem * n, n);
        for (int i = lane; i < n + SumsTogether; i += Gpu.WarpSize)
        {
            // The smallest eigenvalue of a centred Gram matrix is 0; what rounding left of it would count as a component where tau is 1.
            float value = i < n - arguments.IsGram ? XMath.Max((float)(values[n - 1 - XMath.Min(i, n - 1)] * trace), 0.0f) : 0.0f;
            sums[i] = value;
            if (i < n)
            {
                lambda[i] = value;
            }
        }

        WarpLanes.Barrier(); // all values are there
        if (lane == 0)
        {
            double sum = 0.0;
            for (int i = 0; i < n; i += SumsTogether)
            {
                double value0 = sums[i];
                double value1 = sums[i + 1];
                double value2 = sums[i + 2];
                double value3 = sums[i + 3];
                sums[i] = sum + value0;
                sums[i + 1] = sum + value0 + value1;
                sums[i + 2] = sum + value0 + value1 + value2;
                sum = sum + value0 + value1 + value2 + value3;
                sums[i + 3] = sum;
            }
        }

        WarpLanes.Barrier(); // all sums are there
        double total = XMath.Max(sums[n - 1], ExplainedRankReference.MinTotal);
        int m = 0;
        for (int i = lane; i < n; i += Gpu.WarpSize)
        {
            double kept = i > 0 ? sums[i - 1] : 0.0;
            m += kept / total < arguments.Tau ? 1 : 0;
        }

        m = (int)GroupSum.Warp((float)m);
        if (lane == 0)
        {
            float gap = float.PositiveInfinity;
            if (m < n)
            {
                gap = (lambda[m - 1] - lambda[m]) / lambda[0];
            }

            arguments.Kept[(1 + arguments.KeptGap) * problem] = m;
            arguments.Summary[2 * problem] = (float)(sums[m - 1] / total);
            arguments.Summary[(2 * problem) + 1] = gap;
        }
    }
}
