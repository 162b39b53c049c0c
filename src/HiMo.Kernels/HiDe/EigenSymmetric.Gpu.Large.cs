// SPDX-License-Identifier: Apache-2.0
// Eigensystem of a symmetric matrix that is too large for one group: the same steps as in EigenSymmetric.Gpu.cs, each spread over the chip.
// Shapes     as there; n up to LargeMaxSize. Grid.Y is the problem.
// Launches   8: means; centre and scale; all columns of the tridiagonalisation (EigenSymmetric.Gpu.LargePlan.cs), in as many turns as there are times
//            more problems than multiprocessors; perturb; eigenvalues; vectors; back-transformation; rank.
// Mapping    eigenvalues: half a warp each; solutions of the tridiagonal equations: a thread each; back-transformation: a warp two.
// Work       4/3 n^3 operations for the columns; 2 n^3 for the back-transformation.
// Precision  as there: float32 for the matrix, float64 for the tridiagonal problem.
// Failure    none: no iteration waits for convergence.
// Determinism  the order of every sum follows from n and the threads of a group.
// Limits     n up to 3,840; not on OpenCL.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Arguments of the kernels for large matrices.</summary>
internal struct LargeEigenArguments
{
    public EigenArguments Problem;

    /// <summary>A, at the begin of <see cref="EigenSymmetricGpu.MatrixRoom"/> a problem.</summary>
    public ArrayView<float> Matrix;

    /// <summary>Reflectors, row k is v_k; n rows of <see cref="EigenSymmetricGpu.ReflectorPitch"/> a problem.</summary>
    public ArrayView<float> Reflectors;

    /// <summary>d, e, beta, means, trace and norm: n floats each.</summary>
    public ArrayView<float> Vectors;

    /// <summary>What the groups of the tridiagonalisation hand to each other: see <see cref="Inbox"/>.</summary>
    public ArrayView<long> Records;

    /// <summary>The tridiagonal matrix, 2 n rows a problem.</summary>
    public ArrayView<double> Rows;

    /// <summary>The same for counts, n + 1 a problem.</summary>
    public ArrayView<MinorRow> MinorRows;

    /// <summary>Its eigenvalues, ascending, n a problem.</summary>
    public ArrayView<double> Values;

    /// <summary>Its solutions from both ends, in place of A.</summary>
    public ArrayView<float> Solutions;

    /// <summary>Problem of the grid's first row.</summary>
    public int First;

    /// <summary>The problem of a group.</summary>
    public readonly int Index => First + Grid.IdxY;

    /// <summary>One of the vectors of n floats.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<float> Vector(int index) =>
        Vectors.SubView((((long)Index * EigenSymmetricGpu.LargeVectors) + index) * Problem.Size, Problem.Size);

    /// <summary>The problem's tridiagonal matrix.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly TridiagonalGpu Tridiagonal()
    {
        TridiagonalGpu tridiagonal = default;
        tridiagonal.Rows = Rows.SubView((long)EigenSymmetricGpu.TridiagonalWords * Index * Problem.Size, (long)EigenSymmetricGpu.TridiagonalWords * Problem.Size);
        tridiagonal.MinorRows = MinorRows.SubView(Index * (Problem.Size + 1L), Problem.Size + 1L);
        tridiagonal.Size = Problem.Size;
        return tridiagonal;
    }

    /// <summary>The problem's eigenvalues, of trace 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<double> Eigenvalues() => Values.SubView((long)Index * Problem.Size, Problem.Size);

    /// <summary>The problem's solutions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly EigenSymmetricGpu.Solutions BothSolutions()
    {
        int length = EigenSymmetricGpu.Solutions.Length(Problem.Size);
        return EigenSymmetricGpu.Solutions.In(Solutions.SubView(Index * EigenSymmetricGpu.MatrixRoom(Problem.Size), length), Problem.Size);
    }

    /// <summary>The problem's A and the room behind it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<float> CentredMatrix()
    {
        long room = EigenSymmetricGpu.MatrixRoom(Problem.Size);
        return Matrix.SubView(Index * room, room);
    }

    /// <summary>The records of a column, each a row's product with the column before and its element of the column itself; one of the copies.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<long> Inbox(int column, int copy) =>
        Records.SubView(((((Index * 2L) + (column % 2)) * EigenSymmetricGpu.InboxCopies) + copy) * Problem.Size, Problem.Size);

    /// <summary>v_k and what lies behind it, all the problem's further reflectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<float> Reflector(int k)
    {
        long pitch = EigenSymmetricGpu.ReflectorPitch(Problem.Size);
        return Reflectors.SubView(((Index * (long)Problem.Size) + k) * pitch, (Problem.Size - k) * pitch);
    }

    /// <summary>The problem's part of something of n x n elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<float> Square(ArrayView<float> all)
    {
        long square = (long)Problem.Size * Problem.Size;
        return all.SubView(Index * square, square);
    }
}

// The launches for large matrices, and the tridiagonalisation; what follows it is in EigenSymmetric.Gpu.LargeVectors.cs.
internal static partial class EigenSymmetricGpu
{
    /// <summary>Largest n of all.</summary>
    public const int LargeMaxSize = 3840;

    /// <summary>Vectors of n floats a problem.</summary>
    public const int LargeVectors = 5;

    /// <summary>Copies of what a problem's groups exchange through global memory.</summary>
    public const int InboxCopies = 2;

    /// <summary>Words a row that a problem's groups exchange, for two columns in turn.</summary>
    public const int LargeRecords = 2 * InboxCopies;

    private const int LargeThreads = 256;
    /// <summary>Doubles of two rows for solutions.</summary>
    public const int TridiagonalWords = 2 * TridiagonalRow.Words;

    private const int MinorWords = 2;                  // doubles of a row for counts
    private const int VectorD = 0;
    private const int VectorE = 1;
    private const int VectorBeta = 2;
    private const int VectorMean = 3;
    private const int VectorTrace = 4;

    /// <summary>
    /// Floats for A, and later for the solutions. A group whose rows lie in A goes up to three of them, 3 n^2 elements at most, past its last one.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long MatrixRoom(int size) => XMath.Max((long)RowBlock * size * size, Solutions.Length(size));

    private static long LargeScratchLength(int size) =>
        (((((long)ReflectorPitch(size) + LargeVectors + 1) / 2) + TridiagonalWords + MinorWords + 1 + LargeRecords) * size) + MinorWords + (MatrixRoom(size) / 2);

    private static void RunLarge(Gpu gpu, AcceleratorStream stream, int problems, int threads, EigenArguments problem)
    {
        int n = problem.Size;
        int most = Math.Min(threads, LargeThreads);
        int warps = most / Gpu.WarpSize;
        ColumnsPlan columns = ColumnsPlan.For(gpu, problems, n, threads);
        long used = 0;
        LargeEigenArguments arguments = new() // what is read in words of 16 bytes comes first
        {
            Problem = problem,
            Reflectors = Take((long)ReflectorPitch(n) / 2 * n).Cast<float>(),
            MinorRows = Take(MinorWords * (n + 1L)).Cast<MinorRow>(),
            Rows = Take((long)TridiagonalWords * n),
            Matrix = Take(MatrixRoom(n) / 2).Cast<float>(),
            Values = Take(n),
            Records = Take((long)LargeRecords * n).Cast<long>(),
        };
        ArrayView<float> floats = problem.Scratch.SubView(used, problem.Scratch.Length - used).Cast<float>();
        arguments.Solutions = arguments.Matrix;
        arguments.Vectors = floats.SubView(0, (long)LargeVectors * n * problems);
        int chip = 2 * gpu.Description.Multiprocessors;
        gpu.Launch(stream, MeanKernel, new Index3D((n + most - 1) / most, problems, 1), most, arguments);
        gpu.Launch(stream, CentreKernel, new Index3D(Math.Min(CeilDiv(n, warps), chip), problems, 1), most, arguments);
        columns.Run(gpu, stream, problems, arguments);
        gpu.Launch(stream, PerturbKernel, new Index3D(1, problems, 1), most, arguments);
        int valueThreads = Math.Min(most, LargeValueThreads);
        gpu.Launch(stream, ValuesKernel, new Index3D(CeilDiv(n * PairsOfALargeValue, valueThreads / 2), problems, 1), valueThreads, arguments);
        gpu.Launch(stream, VectorsKernel, new Index3D(2 * CeilDiv(n, Gpu.WarpSize), problems, 1), Gpu.WarpSize, arguments);
        RunBack(gpu, stream, problems, warps, arguments);
        gpu.Launch(stream, RankKernel, new Index3D(1, problems, 1), most, arguments, 2 * n);

        ArrayView<double> Take(long length)
        {
            used += length * problems;
            return problem.Scratch.SubView(used - (length * problems), length * problems);
        }
    }

    private static int CeilDiv(int count, int size) => (count + size - 1) / size;

    /// <summary>Means of the columns of a Gram matrix, a thread each; zeros for a covariance, whose rows are centred.</summary>
    public static void MeanKernel(LargeEigenArguments p)
    {
        int n = p.Problem.Size;
        int column = (Grid.IdxX * Group.DimX) + Group.IdxX;
        if (column >= n)
        {
            return;
        }

        ArrayView<float> matrix = p.Square(p.Problem.Matrix);
        int rows = p.Problem.IsGram != 0 ? n : 0;
        double sum = 0.0;
        int row = 0;
        for (; row < rows % 8; row++)
        {
            sum += matrix[((long)row * n) + column];
        }

        for (; row < rows; row += 8)
        {
            long place = ((long)row * n) + column;
            float value0 = matrix[place]; // eight loads under way together
            float value1 = matrix[place + n];
            float value2 = matrix[place + (2 * n)];
            float value3 = matrix[place + (3 * n)];
            float value4 = matrix[place + (4 * n)];
            float value5 = matrix[place + (5 * n)];
            float value6 = matrix[place + (6 * n)];
            float value7 = matrix[place + (7 * n)];
            sum += (double)value0 + value1 + ((double)value2 + value3) + ((double)value4 + value5 + ((double)value6 + value7));
        }

        p.Vector(VectorMean)[column] = (float)(sum / n);
    }

    /// <summary>A = H K H / trace, or K / trace, exactly symmetric; zeros for the reflectors.</summary>
    public static void CentreKernel(LargeEigenArguments p)
    {
        int n = p.Problem.Size;
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupSum.ScratchLength);
        ArrayView<float> source = p.Square(p.Problem.Matrix);
        ArrayView<float> a = p.CentredMatrix();
        ArrayView<float> mean = p.Vector(VectorMean);
        ArrayView<float> reflectors = p.Reflector(0);
        float part = 0.0f;
        for (int i = Group.IdxX; i < n; i += Group.DimX)
        {
            part += mean[i];
        }

        float total = GroupSum.All(part, scratch) / n;
        part = 0.0f;
        for (int i = Group.IdxX; i < n; i += Group.DimX)
        {
            part += XMath.Max(source[(long)i * (n + 1)] - (2.0f * mean[i]) + total, 0.0f);
        }

        float trace = GroupSum.All(part, scratch);
        float scale = trace > 0.0f ? 1.0f / trace : 0.0f;
        if (Grid.IdxX == 0 && Group.IdxX == 0)
        {
            p.Vector(VectorTrace)[0] = trace;
        }

        int warps = Group.DimX / Gpu.WarpSize;
        int lane = Group.IdxX % Gpu.WarpSize;
        for (int i = (Grid.IdxX * warps) + (Group.IdxX / Gpu.WarpSize); i < n; i += Grid.DimX * warps)
        {
            for (int j = lane; j < n; j += Gpu.WarpSize)
            {
                float symmetric = 0.5f * (source[((long)i * n) + j] + source[((long)j * n) + i]);
                float value = (symmetric - mean[i] - mean[j] + total) * scale;
                a[((long)i * n) + j] = value;
                if (j == 0)
                {
                    for (int copy = 0; copy < InboxCopies; copy++)
                    {
                        p.Inbox(0, copy)[i] = Record(0.0f, value, 0);
                        p.Inbox(1, copy)[i] = Record(0.0f, 0.0f, 3); // not that of column 1: its tag is the other one
                    }
                }
            }

            for (int j = lane; j < ReflectorPitch(n); j += Gpu.WarpSize)
            {
                reflectors[((long)i * ReflectorPitch(n)) + j] = 0.0f;
            }
        }
    }
}
