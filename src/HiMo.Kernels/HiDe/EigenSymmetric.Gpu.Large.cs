// SPDX-License-Identifier: Apache-2.0
// Eigensystem of a symmetric matrix that is too large for one group: the same steps as in EigenSymmetric.Gpu.cs, each spread over the chip.
// Shapes     as there; n up to LargeMaxSize. Grid.Y is the problem.
// Launches   n + 7: means; centre and scale; n columns of the tridiagonalisation; perturb; eigenvalues; vectors; back-transformation; rank.
//            A column needs one launch, not two, because every group computes reflector and correction of the column before again (O(n) work
//            from vectors that the launch before left) and then treats its own rows: update, and product with the new reflector, in one pass.
//            The next column travels in a vector of its own, since its matrix row may be overwritten while others still want it.
// Mapping    columns, eigenvalues and back-transformation: a warp a row, value or vector; vectors of the tridiagonal matrix: a thread each.
// Work       4/3 n^3 operations and as many bytes again from the second-level cache for the columns; 2 n^3 for the back-transformation.
// Precision  as there: float32 for the matrix, float64 for the tridiagonal problem.
// Failure    none: no iteration waits for convergence. Deterministic, whatever the number of groups.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Arguments of the kernels for large matrices.</summary>
internal struct LargeEigenArguments
{
    public EigenArguments Problem;

    /// <summary>A, 2 n^2 doubles of room a problem; later the factors of the vectors.</summary>
    public ArrayView<double> Factors;

    /// <summary>The same memory as floats: A is at its begin.</summary>
    public ArrayView<float> Matrix;

    /// <summary>Reflectors, row k is v_k; n x n a problem.</summary>
    public ArrayView<float> Reflectors;

    /// <summary>d, e, beta, means, two columns, two products, trace and norm: n floats each.</summary>
    public ArrayView<float> Vectors;

    /// <summary>Diagonal, squares beside it, eigenvalues: n doubles each.</summary>
    public ArrayView<double> Tridiagonal;

    /// <summary>Column of the tridiagonalisation.</summary>
    public int Column;

    /// <summary>One of the vectors of n floats.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<float> Vector(int index) =>
        Vectors.SubView((((long)Grid.IdxY * EigenSymmetricGpu.LargeVectors) + index) * Problem.Size, Problem.Size);

    /// <summary>One of the vectors of n doubles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<double> Double(int index) => Tridiagonal.SubView((((long)Grid.IdxY * 3) + index) * Problem.Size, Problem.Size);

    /// <summary>The problem's part of something of n x n elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly ArrayView<float> Square(ArrayView<float> all, int stride)
    {
        long square = (long)Problem.Size * Problem.Size;
        return all.SubView(Grid.IdxY * stride * square, square);
    }
}

// The launches for large matrices, and the tridiagonalisation; what follows it is in EigenSymmetric.Gpu.LargeVectors.cs.
internal static partial class EigenSymmetricGpu
{
    /// <summary>Largest n of all: three vectors in a group's static share of shared memory.</summary>
    public const int LargeMaxSize = 3840;

    /// <summary>Vectors of n floats a problem.</summary>
    public const int LargeVectors = 9;

    private const int LargeThreads = 256;
    private const int MostShared = 12000;              // words, of the 48 KB that need no permission
    private const int VectorD = 0;
    private const int VectorE = 1;
    private const int VectorBeta = 2;
    private const int VectorMean = 3;
    private const int VectorColumn = 4;                // and 5
    private const int VectorProduct = 6;               // and 7
    private const int VectorTrace = 8;

    private static long LargeScratchLength(int size) => (5L * size * size / 2) + 1 + (((LargeVectors / 2) + 1 + 3L) * size);

    private static void RunLarge(Gpu gpu, AcceleratorStream stream, int problems, int threads, EigenArguments problem)
    {
        int n = problem.Size;
        int most = Math.Min(threads, LargeThreads);
        int warps = most / Gpu.WarpSize;
        long square = (long)n * n;
        ArrayView<double> factors = problem.Scratch.SubView(0, 2 * square * problems);
        ArrayView<double> tridiagonal = problem.Scratch.SubView(2 * square * problems, 3L * n * problems);
        long used = factors.Length + tridiagonal.Length;
        ArrayView<float> floats = problem.Scratch.SubView(used, problem.Scratch.Length - used).Cast<float>();
        LargeEigenArguments arguments = new()
        {
            Problem = problem, Factors = factors, Matrix = factors.Cast<float>(), Tridiagonal = tridiagonal,
            Reflectors = floats.SubView(0, square * problems), Vectors = floats.SubView(square * problems, (long)LargeVectors * n * problems),
        };
        int chip = 2 * gpu.Accelerator.NumMultiprocessors;
        gpu.Launch(stream, MeanKernel, new Index3D((n + most - 1) / most, problems, 1), most, arguments);
        gpu.Launch(stream, CentreKernel, new Index3D(Math.Min(CeilDiv(n, warps), chip), problems, 1), most, arguments);
        for (int column = 0; column < n; column++)
        {
            arguments.Column = column;
            int groups = Math.Clamp(CeilDiv(n - 1 - column, warps), 1, chip);
            gpu.Launch(stream, ColumnKernel, new Index3D(groups, problems, 1), most, arguments, 3 * n);
        }

        gpu.Launch(stream, PerturbKernel, new Index3D(1, problems, 1), most, arguments);
        gpu.Launch(stream, ValuesKernel, new Index3D(CeilDiv(n, warps), problems, 1), most, arguments);
        gpu.Launch(stream, VectorsKernel, new Index3D(CeilDiv(n, Gpu.WarpSize), problems, 1), Gpu.WarpSize, arguments);
        int together = Math.Clamp(MostShared / n, 1, warps);
        gpu.Launch(stream, BackKernel, new Index3D(CeilDiv(n, together), problems, 1), together * Gpu.WarpSize, arguments, together * n);
        gpu.Launch(stream, RankKernel, new Index3D(1, problems, 1), most, arguments);

        static int CeilDiv(int count, int size) => (count + size - 1) / size;
    }

    /// <summary>Means of the columns of a Gram matrix, a thread each.</summary>
    public static void MeanKernel(LargeEigenArguments p)
    {
        int n = p.Problem.Size;
        int column = (Grid.IdxX * Group.DimX) + Group.IdxX;
        if (column >= n)
        {
            return;
        }

        ArrayView<float> matrix = p.Square(p.Problem.Matrix, 1);
        double sum = 0.0;
        for (int row = 0; row < n; row++)
        {
            sum += matrix[((long)row * n) + column];
        }

        p.Vector(VectorMean)[column] = p.Problem.IsGram != 0 ? (float)(sum / n) : 0.0f;
    }

    /// <summary>A = H K H / trace, or K / trace, exactly symmetric.</summary>
    public static void CentreKernel(LargeEigenArguments p)
    {
        int n = p.Problem.Size;
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupSum.ScratchLength);
        ArrayView<float> source = p.Square(p.Problem.Matrix, 1);
        ArrayView<float> a = p.Square(p.Matrix, 4);
        ArrayView<float> mean = p.Vector(VectorMean);
        ArrayView<float> column = p.Vector(VectorColumn);
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
                    column[i] = value;
                }
            }
        }
    }

    /// <summary>
    /// Column k: the update by the reflector before, A -= v w^T + w v^T, the reflector u of the updated column, and p = beta A u of the rows that
    /// the group owns.
    /// </summary>
    public static void ColumnKernel(LargeEigenArguments p)
    {
        int n = p.Problem.Size;
        int k = p.Column;
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupSum.ScratchLength);
        ArrayView<float> shared = SharedMemory.GetDynamic<float>();
        ArrayView<float> v = shared.SubView(0, n);
        ArrayView<float> w = shared.SubView(n, n);
        ArrayView<float> u = shared.SubView(2 * n, n);
        LoadUpdate(p, v, w, scratch, k, n);

        // The column after the update.
        ArrayView<float> column = p.Vector(VectorColumn + (k % 2));
        float part = 0.0f;
        for (int j = k + Group.IdxX; j < n; j += Group.DimX)
        {
            float value = column[j] - (v[j] * w[k]) - (w[j] * v[k]);
            u[j] = value;
            part += j >= k + 2 ? value * value : 0.0f;
        }

        float tail = GroupSum.All(part, scratch); // its barriers publish u
        float corner = u[k];
        float first = k + 1 < n ? u[k + 1] : 0.0f;
        float norm = XMath.Sqrt((first * first) + tail);
        bool isNeeded = tail > 0.0f;
        float alpha = isNeeded ? (first > 0.0f ? -norm : norm) : first;
        float factor = isNeeded ? 1.0f / (norm * (norm + XMath.Abs(first))) : 0.0f;
        Group.Barrier(); // everybody has read the first element
        if (Group.IdxX == 0 && k + 1 < n)
        {
            u[k + 1] = first - alpha;
        }

        Group.Barrier();
        if (Grid.IdxX == 0)
        {
            ArrayView<float> reflector = p.Square(p.Reflectors, 1).SubView((long)k * n, n);
            for (int j = k + 1 + Group.IdxX; j < n; j += Group.DimX)
            {
                reflector[j] = u[j];
            }

            if (Group.IdxX == 0)
            {
                p.Vector(VectorD)[k] = corner;
                p.Vector(VectorE)[k] = alpha;
                p.Vector(VectorBeta)[k] = factor;
            }
        }

        UpdateRows(p, v, w, u, factor, k, n);
    }

    // v and w = p - (beta / 2) (p . v) v of the column before; zero at the first.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadUpdate(LargeEigenArguments p, ArrayView<float> v, ArrayView<float> w, ArrayView<float> scratch, int k, int n)
    {
        float dot = 0.0f;
        float beta = 0.0f;
        if (k > 0)
        {
            ArrayView<float> reflector = p.Square(p.Reflectors, 1).SubView((long)(k - 1) * n, n);
            ArrayView<float> product = p.Vector(VectorProduct + ((k - 1) % 2));
            beta = p.Vector(VectorBeta)[k - 1];
            for (int j = k + Group.IdxX; j < n; j += Group.DimX)
            {
                v[j] = reflector[j];
                w[j] = product[j];
                dot += reflector[j] * product[j];
            }
        }
        else
        {
            for (int j = Group.IdxX; j < n; j += Group.DimX)
            {
                v[j] = 0.0f;
                w[j] = 0.0f;
            }
        }

        float half = 0.5f * beta * GroupSum.All(dot, scratch);
        for (int j = k + Group.IdxX; j < n; j += Group.DimX)
        {
            w[j] -= half * v[j];
        }

        Group.Barrier();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void UpdateRows(LargeEigenArguments p, ArrayView<float> v, ArrayView<float> w, ArrayView<float> u, float factor, int k, int n)
    {
        ArrayView<float> a = p.Square(p.Matrix, 4);
        ArrayView<float> next = p.Vector(VectorColumn + ((k + 1) % 2));
        ArrayView<float> product = p.Vector(VectorProduct + (k % 2));
        int warps = Group.DimX / Gpu.WarpSize;
        int lane = Group.IdxX % Gpu.WarpSize;
        for (int i = k + 1 + (Grid.IdxX * warps) + (Group.IdxX / Gpu.WarpSize); i < n; i += Grid.DimX * warps)
        {
            float sum = 0.0f;
            for (int j = k + 1 + lane; j < n; j += Gpu.WarpSize)
            {
                long index = ((long)i * n) + j;
                float value = a[index] - ((v[i] * w[j]) + (w[i] * v[j]));
                a[index] = value;
                sum += value * u[j];
                if (j == k + 1)
                {
                    next[i] = value;
                }
            }

            sum = GroupSum.Warp(sum);
            if (lane == 0)
            {
                product[i] = factor * sum;
            }
        }
    }
}
