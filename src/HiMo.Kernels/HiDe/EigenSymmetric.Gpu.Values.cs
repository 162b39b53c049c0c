// SPDX-License-Identifier: Apache-2.0
// Eigenvalues of the tridiagonal matrix T, to 2^-50 of its norm.
// Bracket    eigenvalue i lies between a point below which not more than i eigenvalues are and one below which more are: counts alone move its ends. The first
//            brackets are those of points that a whole group counts at, closer to each other near 0, where most eigenvalues of a Gram matrix are.
// Rounds     counts at equally spaced points, four a pair of lanes, and up to eight pairs an eigenvalue. They cut the bracket into equal parts, until it holds one
//            eigenvalue only. From there they lie around a root of the cubic through the determinants of the last round, as far as that may be wrong: each
//            such round gets closer by the fourth power or by float32's precision, and some five of them replace eighteen cuts. One that missed is followed
//            by a cut, so that there are never more than twice as many rounds.
// Mapping    all lanes of an eigenvalue have the same bracket. A warp goes on until its last eigenvalue is found.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

internal static partial class EigenSymmetricGpu
{
    private const int PointsOfAThread = TridiagonalGpu.PointsOfAPair / 2;
    private const int PairsOfAWarp = Gpu.WarpSize / 2;
    private const double ValueError = 8.9e-16;         // of the norm: 2^-50

    /// <summary>values[i] = i-th smallest eigenvalue, by some warps of one group or of several; a whole group takes part.</summary>
    /// <param name="t">T.</param>
    /// <param name="norm">A bound of its norm.</param>
    /// <param name="warp">The warp's index.</param>
    /// <param name="warps">How many share the eigenvalues.</param>
    /// <param name="pairs">Pairs of lanes an eigenvalue: 1, 2, 4, 8 or 16.</param>
    /// <param name="counts">Shared memory, two elements a thread.</param>
    /// <param name="values">Receives n values.</param>
    /// <returns>How many rounds the warp took.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int Values(TridiagonalGpu t, double norm, int warp, int warps, int pairs, ArrayView<short> counts, ArrayView<double> values)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int pair = lane % PairsOfAWarp;
        ValueGrid grid = ValueGrid.Of(norm);
        CountOnGrid(t, grid, (Group.IdxX / Gpu.WarpSize * PairsOfAWarp) + pair, lane / PairsOfAWarp, counts);
        GroupBarrier.Wait(); // all counts are there
        int valuesOfAWarp = PairsOfAWarp / pairs;
        double error = ValueError * norm;
        int rounds = 0;
        for (int start = warp * valuesOfAWarp; start < t.Size; start += warps * valuesOfAWarp) // the same for a whole warp
        {
            int i = XMath.Min(start + (pair / pairs), t.Size - 1);
            Bracket bracket = Bracket.OnGrid(counts, grid, i);
            Points points = Points.Cut(bracket, TridiagonalGpu.PointsOfAPair * pairs);
            while (GroupSum.Warp(bracket.Width > error ? 1.0f : 0.0f) > 0.0f)
            {
                TridiagonalGpu.TwoCounts own = t.CountBelow(points.First + (TridiagonalGpu.PointsOfAPair * (pair % pairs) * points.Step), points.Step);
                int below = SumOverPairs(own.AtMost(i) + (own.AtMost(i - 1) << 8) + (own.AtMost(i + 1) << 16), pairs);
                bracket = bracket.Width > error ? bracket.Narrowed(points, below) : bracket;
                points = Predict(own, bracket, points, below & 0xff, pair / pairs * pairs, error);
                rounds++;
            }

            if (lane < PairsOfAWarp && lane % pairs == 0 && start + (lane / pairs) < t.Size)
            {
                values[i] = 0.5 * (bracket.Low + bracket.High);
            }
        }

        return rounds;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CountOnGrid(TridiagonalGpu t, ValueGrid grid, int pair, int lane, ArrayView<short> counts)
    {
        TridiagonalGpu.TwoCounts own = t.CountBelow(grid.Edge(pair), grid.Step(pair));
        int place = (TridiagonalGpu.PointsOfAPair * pair) + (PointsOfAThread * lane);
        counts[place] = (short)own.First.Below;
        counts[place + 1] = (short)own.Second.Below;
    }

    // The sum over the lanes of an eigenvalue, in all of them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int SumOverPairs(int value, int pairs)
    {
        value += WarpLanes.Xor(value, TridiagonalGpu.PairDistance);
        for (int distance = 1; distance < pairs; distance *= 2)
        {
            value += WarpLanes.Xor(value, distance);
        }

        return value;
    }

    // The next points: around the root of the cubic through the four points of the pair that is closest to the eigenvalue, or a cut.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Points Predict(TridiagonalGpu.TwoCounts own, Bracket bracket, Points points, int below, int firstPair, double error)
    {
        const int NewtonSteps = 3;
        const float Safety = 4.0f;
        const float Rounding = 1e-7f;
        int exponent = XMath.Max(own.First.Exponent, own.Second.Exponent);
        exponent = XMath.Max(exponent, WarpLanes.Xor(exponent, TridiagonalGpu.PairDistance));
        float first = Scaled(own.First, exponent);
        float second = Scaled(own.Second, exponent);
        int pair = XMath.Min(below, points.Count - 1) / TridiagonalGpu.PointsOfAPair;
        int distance = (Group.IdxX % Gpu.WarpSize) ^ (firstPair + pair); // each lane's own: ILGPU's OpenCL has no shuffle from a lane
        float y0 = WarpLanes.Xor(first, distance);
        float y1 = WarpLanes.Xor(second, distance);
        float y2 = WarpLanes.Xor(first, distance ^ TridiagonalGpu.PairDistance);
        float y3 = WarpLanes.Xor(second, distance ^ TridiagonalGpu.PairDistance);

        // c0 + c1 x + c2 x^2 + c3 x^3, with the points at x = -3, -1, 1 and 3.
        float c2 = ((y0 + y3) - (y1 + y2)) * (1.0f / 16.0f);
        float c0 = (0.5f * (y1 + y2)) - c2;
        float c3 = ((y3 - y0) - (3.0f * (y2 - y1))) * (1.0f / 48.0f);
        float c1 = (0.5f * (y2 - y1)) - c3;
        double centre = points.First + (((TridiagonalGpu.PointsOfAPair * pair) + 2.5) * points.Step);
        float unit = 2.0f / (float)points.Step;
        float low = (float)(bracket.Low - centre) * unit;
        float high = (float)(bracket.High - centre) * unit;
        float root = 0.5f * (low + high);
        float slope = 1.0f;
        for (int step = 0; step < NewtonSteps; step++)
        {
            slope = (((3.0f * c3 * root) + (2.0f * c2)) * root) + c1;
            root -= ((((((c3 * root) + c2) * root) + c1) * root) + c0) / slope;
        }

        // How far the root of the parabola through the three closest points is, which is an upper bound of the cubic's error where they converge.
        float size = XMath.Abs(root);
        float reach = (Safety * XMath.Abs(c3 * ((size * size) - 1.0f) * (size - 3.0f) / slope)) + (Rounding * (1.0f + (size * size * size)));
        Points next = points;
        next.Step = XMath.Max(reach * points.Step * (1.0 / (points.Count - 1)), 0.9 * error);
        next.First = centre + ((double)root * 0.5 * points.Step) - (0.5 * (points.Count + 1) * next.Step);
        next.IsPrediction = bracket.IsAlone && (!points.IsPrediction || (below > 0 && below < points.Count))
            && root > low && root < high && next.Step * (points.Count + 1) < bracket.Width;
        return next.IsPrediction ? next : Points.Cut(bracket, points.Count);
    }

    // A determinant, its exponent compared with a larger one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Scaled(TridiagonalGpu.Count count, int exponent) =>
        count.Determinant * Interop.IntAsFloat((uint)XMath.Max(count.Exponent - exponent + 127, 0) << 23);

    /// <summary>
    /// The first points, four a pair of lanes: those of pair p lie behind Edge(p), at equal distances up to Edge(p + 1). An eighth of the pairs have the negative
    /// half, evenly; the edges of the others are as squares of their numbers.
    /// </summary>
    private struct ValueGrid
    {
        public double Negative;
        public double Positive;
        public int Pairs;

        /// <summary>The grid of a group.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static ValueGrid Of(double norm)
        {
            ValueGrid grid = default;
            grid.Pairs = Group.DimX / 2;
            grid.Negative = norm / grid.Pairs;
            grid.Positive = grid.Negative / (49.0 * grid.Pairs);
            return grid;
        }

        /// <summary>From -norm to norm.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly double Edge(int pair)
        {
            double place = (8 * pair) - Pairs;
            return place * (place > 0.0 ? Positive * place : Negative);
        }

        /// <summary>Distance of a pair's points.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly double Step(int pair) => (Edge(pair + 1) - Edge(pair)) * (1.0 / TridiagonalGpu.PointsOfAPair);
    }

    /// <summary>Equally spaced points of a round: First + Step, First + 2 Step and so on.</summary>
    private struct Points
    {
        public double First;
        public double Step;
        public int Count;
        public bool IsPrediction;

        /// <summary>The points that cut a bracket into equal parts.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Points Cut(Bracket bracket, int count)
        {
            Points points = default;
            points.First = bracket.Low;
            points.Step = bracket.Width * (1.0 / (count + 1));
            points.Count = count;
            return points;
        }
    }

    /// <summary>Where an eigenvalue is.</summary>
    private struct Bracket
    {
        public double Low;
        public double High;

        /// <summary>Whether all smaller eigenvalues are below Low, and whether all larger ones are not below High.</summary>
        public bool IsLowClose;
        public bool IsHighClose;

        public readonly double Width => High - Low;

        public readonly bool IsAlone => IsLowClose && IsHighClose;

        /// <summary>The grid's points next to eigenvalue i.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Bracket OnGrid(ArrayView<short> counts, ValueGrid grid, int i)
        {
            int place = 0;
            int behind = (PointsOfAThread * Group.DimX) - 1; // all eigenvalues are below the last point
            while (place < behind)
            {
                int middle = (place + behind) / 2;
                bool isBelow = counts[middle] <= i;
                place = isBelow ? middle + 1 : place;
                behind = isBelow ? behind : middle;
            }

            int pair = place / TridiagonalGpu.PointsOfAPair;
            double step = grid.Step(pair);
            Bracket bracket = default;
            bracket.Low = grid.Edge(pair) + (place % TridiagonalGpu.PointsOfAPair * step);
            bracket.High = bracket.Low + step;
            bracket.IsLowClose = (place > 0 ? counts[XMath.Max(place - 1, 0)] : 0) == i;
            bracket.IsHighClose = counts[place] == i + 1;
            return bracket;
        }

        /// <summary>The part of the bracket that counts leave.</summary>
        /// <param name="points">Where.</param>
        /// <param name="below">Numbers of points with not more than i eigenvalues below; with not more than i - 1, times 2^8; with not more than i + 1, times 2^16.</param>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Bracket Narrowed(Points points, int below)
        {
            Bracket part = this;
            int place = below & 0xff;
            if (place > 0)
            {
                part.Low = XMath.Max(Low, points.First + (place * points.Step));
                part.IsLowClose = ((below >> 8) & 0xff) < place;
            }

            if (place < points.Count)
            {
                part.High = XMath.Min(High, points.First + ((place + 1) * points.Step));
                part.IsHighClose = (below >> 16) > place;
            }

            return part;
        }
    }
}
