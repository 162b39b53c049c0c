// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;
using System.Runtime.Intrinsics;

namespace HiMo.Kernels;

// A = sum_i values[i] w_i w_i^T of a symmetric matrix.
// Method       A = Q T Q^T by Householder reflections (EigenSymmetric.Cpu.Reduction.cs); T = Z diag Z^T by divide and conquer
//              (TridiagonalEigen); W = Q Z by blocks of reflections as matrix products (EigenSymmetric.Cpu.BackTransformation.cs).
//              Up to 32 rows Jacobi rotations in float64 (EigenSymmetric.Cpu.Small.cs).
// Shapes       matrix, vectors: n x n row-major; values: n.
// Precision    float32 reduction and products, float64 for T; |A w - value w| and W W^T - I a few n^(1/2) eps. The scale is taken out as a power of two.
// Determinism  Same bits for any thread count: sums are cut by shape, never by thread.
internal sealed unsafe partial class EigenSymmetric : IDisposable
{
    private const int SharedFrom = 128;                   // below, one thread is done before the others have the data
    private const int RowBlock = 4;                       // rows that one pass of the reduction treats together; divides every vector length

    private readonly int _n;
    private readonly int _stride;
    private readonly WorkerPool _callersPool;
    private readonly WorkerPool _pool;
    private readonly WorkerPool? _ownPool;
    private readonly TridiagonalEigen _tridiagonal;
    private readonly AlignedBuffer _reducedBuffer = new();
    private readonly AlignedBuffer _vectorBuffer = new();
    private readonly AlignedBuffer _blockBuffer = new();
    private readonly float[] _tau;
    private readonly int[] _order;
    private readonly double[] _keys;
    private int _exponent;

    /// <summary>Workspace for matrices of n x n.</summary>
    /// <param name="n">Rows and columns, at least 1.</param>
    /// <param name="pool">Shares the work.</param>
    public EigenSymmetric(int n, WorkerPool pool)
    {
        Guard.That(n > 0, n, "must be at least 1");
        ArgumentNullException.ThrowIfNull(pool);
        _n = n;
        _callersPool = pool;
        _ownPool = n < SharedFrom ? new WorkerPool(1) : null;
        _pool = _ownPool ?? pool;
        _stride = Stride(n);
        _tridiagonal = new TridiagonalEigen(n, _stride, _pool);
        _tau = new float[n];
        _order = new int[n];
        _keys = new double[n];
        if (n <= SmallSize)
        {
            _smallMatrix = new double[n * n];
            _smallVectors = new double[n * n];
        }
    }

    /// <summary>All eigenvalues and eigenvectors.</summary>
    /// <param name="matrix">n x n, symmetric, finite, row-major; the lower triangle is read.</param>
    /// <param name="values">Receives the n eigenvalues in descending order.</param>
    /// <param name="vectors">Receives n x n: row i is the unit eigenvector of values[i]. Must not overlap the matrix.</param>
    public void Decompose(float* matrix, float* values, float* vectors)
    {
        FindValues(matrix, values, default(NoWork), 0);
        MakeVectors(_n, vectors);
    }

    /// <summary>All eigenvalues, while other threads begin with work that has nothing to do with them: the reduction is one thread's.</summary>
    /// <param name="matrix">n x n, symmetric, finite, row-major; the lower triangle is read.</param>
    /// <param name="values">Receives the n eigenvalues in descending order.</param>
    /// <param name="beside">The other work; done when this returns.</param>
    /// <param name="tasks">Its number of tasks.</param>
    public void FindValues<TBeside>(float* matrix, float* values, TBeside beside, int tasks)
        where TBeside : struct, IParallelWork
    {
        ReductionWork<TBeside> work = new() { Owner = this, Matrix = matrix, Beside = beside };
        _callersPool.Run(ref work, 1 + tasks);
        if (_n > SmallSize)
        {
            _tridiagonal.FindValues();
        }

        SortDescending();
        for (int i = 0; i < _n; i++)
        {
            values[i] = (float)double.ScaleB(_tridiagonal.Diagonal[_order[i]], _exponent);
        }
    }

    /// <summary>Eigenvectors of the largest eigenvalues, once after <see cref="FindValues"/>.</summary>
    /// <param name="count">How many, 1 to n.</param>
    /// <param name="vectors">Receives count x n: row i is the unit eigenvector of values[i].</param>
    public void MakeVectors(int count, float* vectors)
    {
        if (_n <= SmallSize)
        {
            CopySmall(count, vectors);
            return;
        }

        int wanted = _n;
        for (int i = 0; i < count; i++)
        {
            wanted = Math.Min(wanted, _order[i]);
        }

        float* rows = _tridiagonal.MakeVectors(wanted);
        for (int i = 0; i < count; i++)
        {
            new ReadOnlySpan<float>(rows + ((nint)_order[i] * _stride), _n).CopyTo(new Span<float>(vectors + ((nint)i * _n), _n));
        }

        BackTransform(count, vectors);
    }

    public void Dispose()
    {
        _ownPool?.Dispose();
        _tridiagonal.Dispose();
        _reducedBuffer.Dispose();
        _vectorBuffer.Dispose();
        _blockBuffer.Dispose();
    }

    /// <summary>Whole cache lines, and never a multiple of 1 KiB, which would put all rows of a block into the same sets of the cache.</summary>
    private static int Stride(int n)
    {
        int stride = (n + 15) / 16 * 16;
        return stride % 256 == 0 ? stride + 16 : stride;
    }

    /// <summary>Copies the lower triangle, zeros above it, divided by the power of two of its largest magnitude; returns the exponent.</summary>
    private int CopyScaled(float* matrix)
    {
        float largest = 0.0f;
        for (int i = 0; i < _n; i++)
        {
            largest = MathF.Max(largest, MathF.Abs(TensorPrimitives.MaxMagnitude(new ReadOnlySpan<float>(matrix + ((nint)i * _n), i + 1))));
        }

        int exponent = largest == 0.0f ? 0 : MathF.ILogB(largest);
        int rows = (_n + RowBlock - 1) / RowBlock * RowBlock;
        float* reduced = _reducedBuffer.Floats((long)rows * _stride);
        new Span<float>(reduced, rows * _stride).Clear();

        // In two steps: the inverse of a denormal's power of two is not a float.
        float first = float.ScaleB(1.0f, -exponent / 2);
        float second = float.ScaleB(1.0f, -exponent - (-exponent / 2));
        for (int i = 0; i < _n; i++)
        {
            Span<float> row = new(reduced + ((nint)i * _stride), i + 1);
            TensorPrimitives.Multiply(new ReadOnlySpan<float>(matrix + ((nint)i * _n), i + 1), first, row);
            TensorPrimitives.Multiply(row, second, row);
        }

        return exponent;
    }

    private void SortDescending()
    {
        for (int i = 0; i < _n; i++)
        {
            _order[i] = i;
            _keys[i] = -_tridiagonal.Diagonal[i];
        }

        _keys.AsSpan().Sort(_order.AsSpan());
    }

    private void ReduceScaled(float* matrix)
    {
        _exponent = CopyScaled(matrix);
        if (_n <= SmallSize)
        {
            RotateSmall();
        }
        else if (Vector512.IsHardwareAccelerated)
        {
            Reduce<Lanes512>();
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Reduce<Lanes256>();
        }
        else
        {
            Reduce<Lanes128>();
        }
    }

    private struct ReductionWork<TBeside> : IParallelWork
        where TBeside : struct, IParallelWork
    {
        public EigenSymmetric Owner;
        public float* Matrix;
        public TBeside Beside;

        public readonly void Run(int task, int thread)
        {
            if (task == 0)
            {
                Owner.ReduceScaled(Matrix);
            }
            else
            {
                Beside.Run(task - 1, thread);
            }
        }
    }
}
