// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

// T = Z^T diag Z of a symmetric tridiagonal matrix by divide and conquer (Cuppen 1981; Gu and Eisenstat 1995).
// The matrix is halved until the leaves have at most MaxLeaf rows; those are solved by implicit QL (Wilkinson and Reinsch, tql2);
// then TridiagonalMerge joins neighbours level by level. A cut subtracts the coupling from both neighbours' diagonal entries:
// T = T1 + T2 + |rho| z z^T.
// Precision    Eigenvalues and the ends of every vector, which are all that a merge needs, in float64; the vectors in float32 by Gemm.
// Mapping      Merges of one level are independent: they go to the threads where there are enough, else each merge shares itself out.
internal sealed unsafe class TridiagonalEigen : IDisposable
{
    private const int MaxLeaf = 32;
    private const int MaxSweeps = 60;

    private readonly int _n;
    private readonly int _stride;
    private readonly WorkerPool _pool;
    private readonly TridiagonalMerge[][] _levels;        // the widest first: [0] joins the two halves
    private readonly AlignedBuffer _rows = new();
    private readonly AlignedBuffer _otherRows = new();
    private readonly AlignedBuffer _gathered = new();
    private readonly AlignedBuffer _weights = new();
    private float* _current;                              // vectors of the blocks that the top level joins
    private float* _other;

    /// <summary>Workspace for n x n.</summary>
    /// <param name="n">Rows, at least 1.</param>
    /// <param name="stride">Distance between the rows of the result.</param>
    /// <param name="pool">Shares the work.</param>
    public TridiagonalEigen(int n, int stride, WorkerPool pool)
    {
        _n = n;
        _stride = stride;
        _pool = pool;
        Diagonal = new double[n];
        OffDiagonal = new double[n];
        First = new double[n];
        Last = new double[n];
        int depth = 0;
        while ((n + (1 << depth) - 1) >> depth > MaxLeaf)
        {
            depth++;
        }

        _levels = new TridiagonalMerge[depth][];
        for (int level = 0; level < depth; level++)
        {
            _levels[level] = new TridiagonalMerge[1 << level];
            for (int i = 0; i < 1 << level; i++)
            {
                _levels[level][i] = new TridiagonalMerge(this, pool, Cut(level, i), Cut(level + 1, (2 * i) + 1), Cut(level, i + 1));
            }
        }
    }

    /// <summary>The matrix's diagonal before, the eigenvalues, in no order, after <see cref="FindValues"/>.</summary>
    public double[] Diagonal { get; }

    /// <summary>Entry i couples rows i and i + 1; destroyed.</summary>
    public double[] OffDiagonal { get; }

    /// <summary>First component of each eigenvector of the current blocks.</summary>
    public double[] First { get; }

    /// <summary>Last component of each eigenvector of the current blocks.</summary>
    public double[] Last { get; }

    /// <summary>Eigenvalues into <see cref="Diagonal"/>, in no order.</summary>
    public void FindValues()
    {
        long size = (long)_n * _stride;
        _current = _rows.Floats(size);
        float* other = _levels.Length == 0 ? _current : _otherRows.Floats(size);
        new Span<float>(_current, checked((int)size)).Clear();       // vectors of a block are zero in the columns of its neighbours
        new Span<float>(other, checked((int)size)).Clear();
        foreach (TridiagonalMerge[] level in _levels)
        {
            foreach (TridiagonalMerge merge in level)
            {
                merge.CutOff();
            }
        }

        LeafWork leaves = new(this, _current);
        _pool.Run(ref leaves, 1 << _levels.Length);
        for (int level = _levels.Length - 1; level > 0; level--)
        {
            LevelWork work = new(_levels[level], _current, other, _gathered.Floats(size), _weights.Floats(size), _stride);
            if (work.Count >= _pool.Threads)
            {
                _pool.Run(ref work, work.Count);
            }
            else
            {
                for (int i = 0; i < work.Count; i++)
                {
                    work.Run(i, 0);
                }
            }

            float* joined = other;
            other = _current;
            _current = joined;
        }

        _other = other;
        if (_levels.Length > 0)
        {
            _levels[0][0].FindValues(_current, _stride);
        }
    }

    /// <summary>Eigenvectors as rows, in the order of <see cref="Diagonal"/>, once after <see cref="FindValues"/>; valid until the next call of that.</summary>
    /// <param name="wanted">The first row that is wanted; those before it hold anything.</param>
    public float* MakeVectors(int wanted)
    {
        if (_levels.Length == 0)
        {
            return _current;
        }

        long size = (long)_n * _stride;
        _levels[0][0].MakeVectors(wanted, _current, _other, _gathered.Floats(size), _weights.Floats(size), _stride);
        return _other;
    }

    public void Dispose()
    {
        _rows.Dispose();
        _otherRows.Dispose();
        _gathered.Dispose();
        _weights.Dispose();
    }

    private int Cut(int level, int part) => (int)((long)_n * part >> level);

    /// <summary>Implicit QL on rows [start, end) of the matrix; the eigenvectors go to the same rows and columns.</summary>
    [SkipLocalsInit]
    private void Leaf(int start, int end, float* rows)
    {
        int n = end - start;
        double* z = stackalloc double[n * n];
        new Span<double>(z, n * n).Clear();
        for (int i = 0; i < n; i++)
        {
            z[(i * n) + i] = 1.0;
        }

        Span<double> d = Diagonal.AsSpan(start, n);
        Span<double> e = OffDiagonal.AsSpan(start, n);
        e[n - 1] = 0.0;
        double norm = 0.0;
        for (int i = 0; i < n; i++)
        {
            norm = Math.Max(norm, Math.Abs(d[i]) + Math.Abs(e[i]));
        }

        for (int i = 0; i < n; i++)
        {
            ReduceRow(d, e, z, i, 1e-16 * norm);
        }

        for (int i = 0; i < n; i++)
        {
            First[start + i] = z[i * n];
            Last[start + i] = z[(i * n) + n - 1];
            float* row = rows + ((nint)(start + i) * _stride) + start;
            for (int j = 0; j < n; j++)
            {
                row[j] = (float)z[(i * n) + j];
            }
        }
    }

    /// <summary>QL sweeps until entry l of the off-diagonal is negligible.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ReduceRow(Span<double> d, Span<double> e, double* z, int l, double negligible)
    {
        int n = d.Length;
        for (int sweep = 0; ; sweep++)
        {
            int m = l;
            while (m < n - 1 && Math.Abs(e[m]) > negligible)
            {
                m++;
            }

            if (m == l)
            {
                return;
            }

            if (sweep == MaxSweeps)
            {
                throw new ArithmeticException($"EigenSymmetric: QL did not converge for eigenvalue {l} of a block of {n} in {MaxSweeps} sweeps; is the matrix finite?");
            }

            double g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            double r = double.Hypot(g, 1.0);
            g = d[m] - d[l] + (e[l] / (g + Math.CopySign(r, g)));
            double s = 1.0;
            double c = 1.0;
            double p = 0.0;
            int i = m - 1;
            for (; i >= l; i--)
            {
                double f = s * e[i];
                double b = c * e[i];
                r = Math.Sqrt((f * f) + (g * g));
                e[i + 1] = r;
                if (r == 0.0)
                {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    break;
                }

                s = f / r;
                c = g / r;
                g = d[i + 1] - p;
                r = ((d[i] - g) * s) + (2.0 * c * b);
                p = s * r;
                d[i + 1] = g + p;
                g = (c * r) - b;
                Rotate(z + (i * n), z + ((i + 1) * n), n, c, s);
            }

            if (i >= l)
            {
                continue;
            }

            d[l] -= p;
            e[l] = g;
            e[m] = 0.0;
        }
    }

    /// <summary>upper = c upper - s lower, lower = s upper + c lower.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Rotate(double* upper, double* lower, int n, double c, double s)
    {
        int j = 0;
        for (; j + Vector<double>.Count <= n; j += Vector<double>.Count)
        {
            Vector<double> u = Vector.Load(upper + j);
            Vector<double> l = Vector.Load(lower + j);
            ((u * c) - (l * s)).Store(upper + j);
            ((u * s) + (l * c)).Store(lower + j);
        }

        for (; j < n; j++)
        {
            double u = upper[j];
            double l = lower[j];
            upper[j] = (c * u) - (s * l);
            lower[j] = (s * u) + (c * l);
        }
    }

    private readonly struct LeafWork(TridiagonalEigen owner, float* rows) : IParallelWork
    {
        private readonly float* _rows = rows;

        public void Run(int task, int thread) =>
            owner.Leaf(owner.Cut(owner._levels.Length, task), owner.Cut(owner._levels.Length, task + 1), _rows);
    }

    private readonly struct LevelWork(
        TridiagonalMerge[] merges, float* from, float* to, float* gathered, float* weights, int stride) : IParallelWork
    {
        private readonly float* _from = from;
        private readonly float* _to = to;
        private readonly float* _gathered = gathered;
        private readonly float* _weights = weights;

        public int Count => merges.Length;

        public void Run(int task, int thread)
        {
            nint start = (nint)merges[task].Start * stride;
            merges[task].FindValues(_from + start, stride);
            merges[task].MakeVectors(0, _from + start, _to + start, _gathered + start, _weights + start, stride);
        }
    }
}
