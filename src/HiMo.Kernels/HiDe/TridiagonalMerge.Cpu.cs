// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Eigenpairs of D + rho z z^T from those of two neighbouring blocks; z holds the last components of the upper block's vectors and the first of the
// lower one's. Deflation takes out entries whose z or whose distance to the next entry is negligible (after a rotation);
// SecularEquation solves the rest, and the new vectors are weights x old vectors. An old vector lives in the upper half of the
// columns, in the lower, or after a rotation in both; sorted by that, two products without the zero blocks do (LAPACK's slaed2, slaed3).
internal sealed unsafe class TridiagonalMerge
{
    // Relative to the block's norm, far below float32's rounding of the vectors, far above float64's of the eigenvalues.
    private const double Negligible = 1e-12;

    private readonly TridiagonalEigen _owner;
    private readonly WorkerPool _pool;
    private readonly int _middle;
    private readonly int _end;
    private readonly double[] _z;
    private readonly double[] _keys;
    private readonly int[] _order;                        // entries by ascending d
    private readonly int[] _kept;                         // entries that stay in the secular equation, by ascending d
    private readonly int[] _deflated;
    private readonly Half[] _halves;
    private readonly int[] _place;                        // kept entries sorted by where their vectors live
    private readonly double[] _diagonal;
    private readonly double[] _first;
    private readonly double[] _last;
    private readonly SecularEquation _secular;
    private double _coupling;
    private int _keptCount;
    private int _deflatedCount;
    private int _upperOnly;
    private int _both;

    public TridiagonalMerge(TridiagonalEigen owner, WorkerPool pool, int start, int middle, int end)
    {
        _owner = owner;
        _pool = pool;
        Start = start;
        _middle = middle;
        _end = end;
        int n = end - start;
        _z = new double[n];
        _keys = new double[n];
        _order = new int[n];
        _kept = new int[n];
        _deflated = new int[n];
        _halves = new Half[n];
        _place = new int[n];
        _diagonal = new double[n];
        _first = new double[n];
        _last = new double[n];
        _secular = new SecularEquation(n, pool);
    }

    private enum Half : byte
    {
        Upper,
        Both,
        Lower,
    }

    /// <summary>First row and column of the joined block.</summary>
    public int Start { get; }

    /// <summary>Remembers the coupling at the cut and takes it out of the matrix.</summary>
    public void CutOff()
    {
        _coupling = _owner.OffDiagonal[_middle - 1];
        double magnitude = Math.Abs(_coupling);
        _owner.Diagonal[_middle - 1] -= magnitude;
        _owner.Diagonal[_middle] -= magnitude;
    }

    /// <summary>Eigenvalues of the joined block into the owner's diagonal: roots of the secular equation, ascending, then what was deflated.</summary>
    /// <param name="from">Old vectors as rows, at row <see cref="Start"/>, column 0; rotated in place.</param>
    /// <param name="stride">Distance between rows.</param>
    public void FindValues(float* from, int stride)
    {
        int n = _end - Start;
        int half = _middle - Start;
        Span<double> d = _owner.Diagonal.AsSpan(Start, n);
        Span<double> first = _owner.First.AsSpan(Start, n);
        Span<double> last = _owner.Last.AsSpan(Start, n);
        for (int i = 0; i < n; i++)
        {
            // |z|^2 = 2 before the division; the factor goes into rho.
            bool upper = i < half;
            _z[i] = (upper ? last[i] : _coupling < 0.0 ? -first[i] : first[i]) / Math.Sqrt(2.0);
            _halves[i] = upper ? Half.Upper : Half.Lower;
            if (upper)
            {
                last[i] = 0.0;
            }
            else
            {
                first[i] = 0.0;
            }
        }

        double rho = 2.0 * Math.Abs(_coupling);
        int kept = _keptCount = Deflate(d, first, last, rho, from + Start, stride, n, out _deflatedCount);
        (_upperOnly, _both) = SortByHalf(kept);
        if (kept > 0)
        {
            _secular.Solve(d, _z, _kept.AsSpan(0, kept), rho);
        }

        for (int i = 0; i < kept; i++)
        {
            _diagonal[i] = _secular.Root(i);
        }

        for (int i = 0; i < _deflatedCount; i++)
        {
            _diagonal[kept + i] = d[_deflated[i]];
        }

        _diagonal.CopyTo(d);
    }

    /// <summary>The eigenvectors, in the order of the eigenvalues, from one of them on; all pointers stand at row <see cref="Start"/>, column 0.</summary>
    /// <param name="wanted">The first one, counted from <see cref="Start"/>.</param>
    /// <param name="from">Old vectors as rows.</param>
    /// <param name="to">Receives the new ones.</param>
    /// <param name="gathered">Scratch of the same size.</param>
    /// <param name="weights">Scratch of the same size.</param>
    /// <param name="stride">Distance between rows.</param>
    public void MakeVectors(int wanted, float* from, float* to, float* gathered, float* weights, int stride)
    {
        int n = _end - Start;
        int half = _middle - Start;
        int kept = _keptCount;
        Span<double> first = _owner.First.AsSpan(Start, n);
        Span<double> last = _owner.Last.AsSpan(Start, n);
        if (wanted < kept)
        {
            _secular.MakeVectors(wanted, _place.AsSpan(0, kept), first, last, weights, stride);
            int upperRows = _upperOnly + _both;
            int lowerRows = kept - _upperOnly;
            int lowerColumns = n - half;
            float* lowerOld = gathered + ((nint)upperRows * half);
            for (int q = 0; q < upperRows; q++)
            {
                Copy(from + ((nint)_place[q] * stride) + Start, gathered + ((nint)q * half), half);
            }

            for (int q = 0; q < lowerRows; q++)
            {
                Copy(from + ((nint)_place[_upperOnly + q] * stride) + _middle, lowerOld + ((nint)q * lowerColumns), lowerColumns);
            }

            int rows = kept - wanted;
            nint skipped = (nint)wanted * stride;
            float* result = to + skipped;
            Gemm.Multiply(_pool, rows, half, upperRows, 1.0f, weights + skipped, stride, 1, gathered, half, 1, 0.0f, result + Start, stride);
            Gemm.Multiply(
                _pool, rows, lowerColumns, lowerRows, 1.0f, weights + skipped + _upperOnly, stride, 1, lowerOld, lowerColumns, 1, 0.0f, result + _middle, stride);
        }

        for (int i = wanted; i < kept; i++)
        {
            _first[i] = _secular.First[i];
            _last[i] = _secular.Last[i];
        }

        for (int i = 0; i < _deflatedCount; i++)
        {
            int entry = _deflated[i];
            _first[kept + i] = first[entry];
            _last[kept + i] = last[entry];
            Copy(from + ((nint)entry * stride) + Start, to + ((nint)(kept + i) * stride) + Start, n);
        }

        _first.CopyTo(first);
        _last.CopyTo(last);
    }

    private static void Copy(float* from, float* to, int count) => new ReadOnlySpan<float>(from, count).CopyTo(new Span<float>(to, count));

    private int Deflate(Span<double> d, Span<double> first, Span<double> last, double rho, float* rows, int stride, int n, out int deflated)
    {
        for (int i = 0; i < n; i++)
        {
            _order[i] = i;
            _keys[i] = d[i];
        }

        _keys.AsSpan().Sort(_order.AsSpan());
        double negligible = Negligible * Math.Max(Math.Max(Math.Abs(_keys[0]), Math.Abs(_keys[n - 1])), rho);
        int kept = 0;
        deflated = 0;
        foreach (int entry in _order)
        {
            if (rho * Math.Abs(_z[entry]) <= negligible)
            {
                _deflated[deflated++] = entry;
                continue;
            }

            if (kept > 0)
            {
                // A rotation of two close entries that makes the first one's z zero leaves t c s off the diagonal.
                int previous = _kept[kept - 1];
                double length = double.Hypot(_z[entry], _z[previous]);
                double c = _z[entry] / length;
                double s = -_z[previous] / length;
                double t = d[entry] - d[previous];
                if (Math.Abs(t * c * s) <= negligible)
                {
                    _z[entry] = length;
                    _z[previous] = 0.0;
                    (d[previous], d[entry]) = ((d[previous] * c * c) + (d[entry] * s * s), (d[previous] * s * s) + (d[entry] * c * c));
                    (first[previous], first[entry]) = ((c * first[previous]) + (s * first[entry]), (c * first[entry]) - (s * first[previous]));
                    (last[previous], last[entry]) = ((c * last[previous]) + (s * last[entry]), (c * last[entry]) - (s * last[previous]));
                    Rotate(rows + ((nint)previous * stride), rows + ((nint)entry * stride), n, (float)c, (float)s);
                    if (_halves[previous] != _halves[entry])
                    {
                        _halves[entry] = Half.Both;
                    }

                    _deflated[deflated++] = previous;
                    kept--;
                }
            }

            _kept[kept++] = entry;
        }

        return kept;
    }

    /// <summary>x = c x + s y, y = c y - s x.</summary>
    private static void Rotate(float* x, float* y, int n, float c, float s)
    {
        for (int j = 0; j < n; j++)
        {
            float u = x[j];
            float v = y[j];
            x[j] = (c * u) + (s * v);
            y[j] = (c * v) - (s * u);
        }
    }

    private (int UpperOnly, int Both) SortByHalf(int kept)
    {
        int place = 0;
        int upperOnly = 0;
        int both = 0;
        for (Half half = Half.Upper; half <= Half.Lower; half++)
        {
            for (int i = 0; i < kept; i++)
            {
                if (_halves[_kept[i]] == half)
                {
                    _place[place++] = _kept[i];
                }
            }

            upperOnly = half == Half.Upper ? place : upperOnly;
            both = half == Half.Both ? place - upperOnly : both;
        }

        return (upperOnly, both);
    }
}
