// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

// f(x) = 1/rho + sum_j z_j^2 / (d_j - x) = 0: one root right of each pole, the eigenvalues of D + rho z z^T, and their vectors.
// A root is kept as the nearer pole plus an offset, so that its distance to every pole has full relative accuracy. Each step replaces f by a
// function with the two neighbouring poles and f's value and slope (fixed weight, R.-C. Li 1993), guarded by bisection. The vectors
// are (zhat_j / (d_j - x_i))_j with the zhat for which the roots found are exact (Gu and Eisenstat 1995), hence orthogonal.
// Mapping      One lane a root, then one lane a pole; float64 Vector. Tasks are groups of roots or of poles.
internal sealed unsafe class SecularEquation
{
    private const int MaxSteps = 100;
    private const double StepTolerance = 1e-8;            // the steps converge quadratically: after one this small the offset is right to float64
    private const int RootsPerTask = 16;                  // a multiple of every Vector<double>.Count

    private readonly WorkerPool _pool;
    private readonly double[] _d;                         // poles, ascending, then padding
    private readonly double[] _z;
    private readonly double[] _square;
    private readonly double[] _weight;                    // zhat
    private readonly double[] _origin;                    // the nearer pole of each root
    private readonly double[] _offset;
    private readonly double[] _placedD;                   // the same, in the order of the caller's products
    private readonly double[] _placedWeight;
    private readonly double[] _placedFirst;
    private readonly double[] _placedLast;
    private readonly int[] _rank;                         // entry -> place among the poles
    private int _count;
    private double _inverseRho;

    public SecularEquation(int n, WorkerPool pool)
    {
        _pool = pool;
        int padded = n + 1 + RootsPerTask;
        _d = new double[padded];
        _z = new double[padded];
        _square = new double[padded];
        _weight = new double[padded];
        _origin = new double[padded];
        _offset = new double[padded];
        _placedD = new double[padded];
        _placedWeight = new double[padded];
        _placedFirst = new double[padded];
        _placedLast = new double[padded];
        _rank = new int[n];
        First = new double[n];
        Last = new double[n];
    }

    private enum Phase
    {
        Roots,
        Weights,
        Vectors,
    }

    /// <summary>First components of the new vectors.</summary>
    public double[] First { get; }

    /// <summary>Last components of the new vectors.</summary>
    public double[] Last { get; }

    /// <summary>Root i, ascending.</summary>
    public double Root(int i) => _origin[i] + _offset[i];

    /// <summary>All roots.</summary>
    /// <param name="d">All entries.</param>
    /// <param name="z">All entries.</param>
    /// <param name="kept">Indices of the poles, by ascending d; at least one.</param>
    /// <param name="rho">Positive.</param>
    public void Solve(ReadOnlySpan<double> d, ReadOnlySpan<double> z, ReadOnlySpan<int> kept, double rho)
    {
        int k = _count = kept.Length;
        _inverseRho = 1.0 / rho;
        double length = 0.0;
        for (int j = 0; j < k; j++)
        {
            _rank[kept[j]] = j;
            _d[j] = d[kept[j]];
            _z[j] = z[kept[j]];
            _square[j] = _z[j] * _z[j];
            length += _square[j];
        }

        // Beyond the last pole stands the largest value that the last root can have, a pole of weight zero.
        for (int j = k; j < k + 1 + RootsPerTask; j++)
        {
            _d[j] = _d[k - 1] + (rho * length);
            _square[j] = 0.0;
        }

        if (k == 1)
        {
            _origin[0] = _d[0];
            _offset[0] = rho * length;
            return;
        }

        Run(Phase.Roots, 0, null, 0);
    }

    /// <summary>Unit vectors and the new vectors' ends, for the roots from <paramref name="from"/> on.</summary>
    /// <param name="from">The first root whose vector is wanted.</param>
    /// <param name="place">Indices of the poles in the order of the vectors' components.</param>
    /// <param name="first">First components of the old vectors.</param>
    /// <param name="last">Last components of the old vectors.</param>
    /// <param name="vectors">Receives row i: the vector of root i.</param>
    /// <param name="stride">Distance between those rows.</param>
    public void MakeVectors(int from, ReadOnlySpan<int> place, ReadOnlySpan<double> first, ReadOnlySpan<double> last, float* vectors, int stride)
    {
        int k = _count;
        if (k == 1)
        {
            vectors[0] = 1.0f;
            First[0] = first[place[0]];
            Last[0] = last[place[0]];
            return;
        }

        Run(Phase.Weights, 0, vectors, stride);
        for (int q = 0; q < k; q++)
        {
            int rank = _rank[place[q]];
            _placedD[q] = _d[rank];
            _placedWeight[q] = Math.CopySign(_weight[rank], _z[rank]);
            _placedFirst[q] = first[place[q]];
            _placedLast[q] = last[place[q]];
        }

        // Padding lanes of the vectors: weight zero at a distance that is never zero.
        for (int q = k; q < k + Vector<double>.Count; q++)
        {
            _placedD[q] = _d[k] + Math.Max(1.0, Math.Abs(_d[k]));
            _placedWeight[q] = 0.0;
            _placedFirst[q] = 0.0;
            _placedLast[q] = 0.0;
        }

        Run(Phase.Vectors, from, vectors, stride);
    }

    private void Run(Phase phase, int from, float* vectors, int stride)
    {
        PhaseWork work = new(this, phase, from, vectors, stride);
        _pool.Run(ref work, (_count - from + RootsPerTask - 1) / RootsPerTask);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Roots(int start)
    {
        int k = _count;
        Span<double> lanes = stackalloc double[Vector<double>.Count];
        for (int i = 0; i < lanes.Length; i++)
        {
            lanes[i] = start + i;
        }

        Vector<double> index = new(lanes);
        Vector<double> lower = new(_d, start);
        Vector<double> upper = new(_d, start + 1);
        Vector<double> lowerSquare = new(_square, start);
        Vector<double> upperSquare = new(_square, start + 1);
        Vector<double> width = upper - lower;
        Vector<double> half = width * 0.5;

        // The sign at the middle says which pole is nearer; the last root always counts from the last pole.
        (Vector<double> f, Vector<double> slope) = Evaluate(lower, half);
        Vector<double> fromLower = Vector.AsVectorDouble(Vector.GreaterThanOrEqual(f, Vector<double>.Zero) | Vector.GreaterThanOrEqual(index, new(k - 1.0)));
        Vector<long> left = Vector.AsVectorInt64(fromLower);
        Vector<double> origin = Vector.ConditionalSelect(left, lower, upper);
        Vector<double> beyond = Vector.AsVectorDouble(Vector.LessThan(f, Vector<double>.Zero) & left);     // last root, right of the middle
        Vector<double> low = Vector.ConditionalSelect(left, Vector.ConditionalSelect(Vector.AsVectorInt64(beyond), half, Vector<double>.Zero), -half);
        Vector<double> high = Vector.ConditionalSelect(left, Vector.ConditionalSelect(Vector.AsVectorInt64(beyond), width, half), Vector<double>.Zero);

        // First guess: the two neighbouring poles exactly, the others as they are in the middle.
        Vector<double> rest = f + (lowerSquare / half) - (upperSquare / half);
        Vector<double> a = lowerSquare + upperSquare + Vector.ConditionalSelect(left, rest * width, -rest * width);
        Vector<double> b = Vector.ConditionalSelect(left, lowerSquare * width, -upperSquare * width);
        Vector<double> offset = Guarded(Quadratic(a, b, rest), low, high);

        Vector<long> open = Vector<long>.AllBitsSet;
        for (int step = 0; step < MaxSteps && open != Vector<long>.Zero; step++)
        {
            (f, slope) = Evaluate(origin, offset);
            Vector<long> right = Vector.GreaterThan(f, Vector<double>.Zero);
            high = Vector.ConditionalSelect(right & open, offset, high);
            low = Vector.ConditionalSelect(~right & open, offset, low);
            Vector<double> toLower = (lower - origin) - offset;
            Vector<double> toUpper = (upper - origin) - offset;
            Vector<double> nearLower = lowerSquare / (toLower * toLower);
            Vector<double> nearUpper = upperSquare / (toUpper * toUpper);
            Vector<double> c = Vector.ConditionalSelect(
                left, f - (toUpper * slope) + (width * nearLower), f - (toLower * slope) - (width * nearUpper));
            a = ((toLower + toUpper) * f) - (toLower * toUpper * slope);
            b = toLower * toUpper * f;
            Vector<double> next = Guarded(offset + Quadratic(a, b, c), low, high);
            Vector<long> exact = Vector.Equals(f, Vector<double>.Zero);
            next = Vector.ConditionalSelect(exact, offset, next);
            Vector<long> far = Vector.GreaterThan(Vector.Abs(next - offset), StepTolerance * Vector.Min(Vector.Abs(next), Vector.Abs(offset)));
            offset = Vector.ConditionalSelect(open, next, offset);
            open &= far & ~exact;                        // lanes past the last root hold NaN, which is not far
        }

        origin.CopyTo(_origin, start);
        offset.CopyTo(_offset, start);
    }

    /// <summary>The root of c x^2 - a x + b = 0 on the side that keeps between the poles, without cancellation.</summary>
    private static Vector<double> Quadratic(Vector<double> a, Vector<double> b, Vector<double> c)
    {
        Vector<double> root = Vector.SquareRoot(Vector.Max(Vector<double>.Zero, (a * a) - (4.0 * b * c)));
        return Vector.ConditionalSelect(Vector.GreaterThan(a, Vector<double>.Zero), 2.0 * b / (a + root), (a - root) / (2.0 * c));
    }

    /// <summary>x if it lies strictly between, else the middle; NaN is not between.</summary>
    private static Vector<double> Guarded(Vector<double> x, Vector<double> low, Vector<double> high) =>
        Vector.ConditionalSelect(Vector.GreaterThan(x, low) & Vector.LessThan(x, high), x, 0.5 * (low + high));

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private (Vector<double> Value, Vector<double> Slope) Evaluate(Vector<double> origin, Vector<double> offset)
    {
        Vector<double> value = new(_inverseRho);
        Vector<double> slope = Vector<double>.Zero;
        fixed (double* d = _d, z = _z)
        {
            for (int j = 0; j < _count; j++)
            {
                Vector<double> weight = new(z[j]);
                Vector<double> term = weight / ((new Vector<double>(d[j]) - origin) - offset);
                value = Vector.MultiplyAddEstimate(weight, term, value);
                slope = Vector.MultiplyAddEstimate(term, term, slope);
            }
        }

        return (value, slope);
    }

    /// <summary>zhat_j^2 = prod_i (x_i - d_j) / prod_{i != j} (d_i - d_j), up to a common factor; the products stay in range because the x interlace the d.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Weights(int start)
    {
        Vector<double> poles = new(_d, start);
        Vector<double> product = Vector<double>.One;
        for (int i = 0; i < _count; i++)
        {
            Vector<double> numerator = (new Vector<double>(_origin[i]) - poles) + new Vector<double>(_offset[i]);
            Vector<double> denominator = new Vector<double>(_d[i]) - poles;
            product *= numerator / Vector.ConditionalSelect(Vector.Equals(denominator, Vector<double>.Zero), Vector<double>.One, denominator);
        }

        Vector.SquareRoot(Vector.Abs(product)).CopyTo(_weight, start);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Vectors(int i, float* row, double* scratch)
    {
        Vector<double> origin = new(_origin[i]);
        Vector<double> offset = new(_offset[i]);
        Vector<double> square = Vector<double>.Zero;
        Vector<double> first = Vector<double>.Zero;
        Vector<double> last = Vector<double>.Zero;
        for (int q = 0; q < _count; q += Vector<double>.Count)
        {
            Vector<double> component = new Vector<double>(_placedWeight, q) / ((new Vector<double>(_placedD, q) - origin) - offset);
            component.Store(scratch + q);
            square = Vector.MultiplyAddEstimate(component, component, square);
            first = Vector.MultiplyAddEstimate(component, new(_placedFirst, q), first);
            last = Vector.MultiplyAddEstimate(component, new(_placedLast, q), last);
        }

        double scale = 1.0 / Math.Sqrt(Vector.Sum(square));
        First[i] = scale * Vector.Sum(first);
        Last[i] = scale * Vector.Sum(last);
        int whole = _count - (_count % Vector<float>.Count);
        for (int q = 0; q < whole; q += Vector<float>.Count)
        {
            Vector.Narrow(scale * Vector.Load(scratch + q), scale * Vector.Load(scratch + q + Vector<double>.Count)).Store(row + q);
        }

        for (int q = whole; q < _count; q++)
        {
            row[q] = (float)(scale * scratch[q]);
        }
    }

    private readonly struct PhaseWork(SecularEquation owner, Phase phase, int from, float* vectors, int stride) : IParallelWork
    {
        private readonly float* _vectors = vectors;

        public void Run(int task, int thread)
        {
            int start = from + (task * RootsPerTask);
            int end = Math.Min(start + RootsPerTask, owner._count);
            double* scratch = phase == Phase.Vectors ? (double*)owner._pool.Scratch(2L * (owner._count + Vector<double>.Count)) : null;
            for (int i = start; i < end;)
            {
                switch (phase)
                {
                    case Phase.Roots:
                        owner.Roots(i);
                        i += Vector<double>.Count;
                        break;
                    case Phase.Weights:
                        owner.Weights(i);
                        i += Vector<double>.Count;
                        break;
                    default:
                        owner.Vectors(i, _vectors + ((nint)i * stride), scratch);
                        i++;
                        break;
                }
            }
        }
    }
}
