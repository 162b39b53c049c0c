// SPDX-License-Identifier: Apache-2.0
// Eigenvalues of T below a point x = negative pivots of T - x I = changes of sign among its leading minors, p_{j+1} = (d_j - x) p_j - e_j^2 p_{j-1}: no division, and
// two chains of half the length, from above and from below, which meet in the middle. The last minor of all is det(T - x I).
// Scale      p_j = s_j q_j with s_{j+1} = e_j^2 s_{j-1}: q_{j+1} = (a_j d_j - a_j x) q_j - q_{j-1}, a_j = s_j / s_{j+1}, are two multiply-adds a row. Each block of eight
//            rows starts with a = 1 again and with the largest exponent 0: within eight rows no coupling of 1e-9 of the norm leads out of float64's range.
// Signs      collected in a word, an instruction a row, and counted once a block.
// Mapping    two lanes count at four points: one has the chains from above, the other those from below. So a row that was loaded serves four chains, which wait for
//            their last row in turns: every lane of a warp receives 16 bytes a row, which takes the shared memory longer than one chain takes the float64 units.
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

internal partial struct TridiagonalGpu
{
    /// <summary>Points at which two lanes count together.</summary>
    public const int PointsOfAPair = 4;

    /// <summary>Rows between two rescalings.</summary>
    public const int MinorBlock = 8;

    // More than there are eigenvalues, and the exponents of so many rows times this stay within 32 bits.
    private const int ExponentBits = 12;
    private const int ExponentUnit = 1 << ExponentBits;

    /// <summary>Distance of the two lanes: lanes 0 to 15 have the chains from above, and a quarter of a warp reads one record.</summary>
    public const int PairDistance = Gpu.WarpSize / 2;

    /// <summary>Eigenvalues below low + step, low + 2 step, low + 3 step and low + 4 step, by both lanes of a pair; all lanes of a warp take part.</summary>
    /// <returns>The first two points for the lower lane, the last two for the upper one.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly TwoCounts CountBelow(double low, double step)
    {
        bool isAbove = Group.IdxX % Gpu.WarpSize < PairDistance;
        int half = Size / 2;
        int row = isAbove ? 0 : half;
        int end = isAbove ? half : Size;
        Chains chains = Chains.From(low, step);
        for (int lead = Lead(isAbove); lead > 0; lead--)
        {
            chains = chains.First(MinorRows[row]);
            row++;
        }

        for (; row < end; row += MinorBlock)
        {
            ArrayView<MinorRow> rows = MinorRows.SubView(row, MinorBlock); // constant offsets from here
            chains = chains.Rescaled().First(rows[0]).Next(rows[1]).Next(rows[2]).Next(rows[3]).Next(rows[4]).Next(rows[5]).Next(rows[6]).Next(rows[7]);
        }

        chains = chains.Rescaled();
        double square = MinorRows[Size].Factor;
        TwoCounts counts = default;
        counts.First = Meet(chains.Minors0, chains.Minors2, isAbove, square);
        counts.Second = Meet(chains.Minors1, chains.Minors3, isAbove, square);
        return counts;
    }

    /// <summary>What the chains need of row i: first those from above, up to row n / 2 - 1, then those from below, from row n - 1 on; at last their joint.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void FillMinors(ArrayView<float> e, int i, double diagonal, double norm)
    {
        int half = Size / 2;
        bool isAbove = i < half;
        int place = isAbove ? i : Size - 1 - i;
        MinorRow row = default;
        if (IsFirst(place, isAbove))
        {
            double coupling = CouplingBefore(e, place, isAbove, norm);
            row.Diagonal = diagonal;
            row.Factor = coupling * coupling * Scale(e, place - 1, isAbove, norm);
        }
        else
        {
            row.Factor = Scale(e, place, isAbove, norm);
            row.Diagonal = diagonal * row.Factor;
        }

        MinorRows[isAbove ? place : half + place] = row;
        if (i == half)
        {
            double coupling = Coupling(e, half, norm);
            row.Factor = coupling * coupling * Scale(e, half - 1, isAbove: true, norm) * Scale(e, Size - half - 1, isAbove: false, norm);
            MinorRows[Size] = row;
        }
    }

    // a of a row, by its place in its chain.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly double Scale(ArrayView<float> e, int place, bool isAbove, double norm)
    {
        int first = place;
        while (!IsFirst(first, isAbove))
        {
            first--;
        }

        double scale = 1.0;
        while (first < place)
        {
            first++;
            double coupling = CouplingBefore(e, first, isAbove, norm);
            scale = 1.0 / (coupling * coupling * scale);
        }

        return scale;
    }

    // Rows with a = 1: one in eight, and those that make no whole block, which come first.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly bool IsFirst(int place, bool isAbove)
    {
        int inBlocks = place - Lead(isAbove);
        return inBlocks <= 0 || inBlocks % MinorBlock == 0;
    }

    // Rows of a chain before its first block; the chain from below is the longer one where n is odd.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly int Lead(bool isAbove) => (Size / 2 % MinorBlock) + (isAbove ? 0 : Size % 2);

    // The coupling of a place of a chain with the place before.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly double CouplingBefore(ArrayView<float> e, int place, bool isAbove, double norm) => Coupling(e, isAbove ? place : Size - place, norm);

    // A pair's lanes both have two of their points here, and each completes the count at one of them: the last pivot of all belongs to row n / 2, seen from both sides.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Count Meet(Minors lower, Minors upper, bool isAbove, double square)
    {
        Minors kept = isAbove ? lower : upper;
        Minors given = isAbove ? upper : lower;
        Minors received = default;
        received.Last = WarpLanes.Xor(given.Last, PairDistance);
        received.Before = WarpLanes.Xor(given.Before, PairDistance);
        received.Tally = WarpLanes.Xor(given.Tally, PairDistance);
        Minors above = isAbove ? kept : received;
        Minors below = isAbove ? received : kept;
        double whole = (above.Last * below.Last) - (square * above.Before * below.Before);
        int exponent = LargerExponent(whole, 0.0);
        int tally = above.Tally + below.Tally - ChangesSign(below.Last, below.Before) + ChangesSign(whole, above.Last * below.Before);
        Count count = default;
        count.Below = tally & (ExponentUnit - 1);
        count.Determinant = (float)(whole * InversePower(exponent));
        count.Exponent = (tally >> ExponentBits) + exponent;
        return count;
    }

    // 1 where the signs differ; a zero in between counts with either sign, since its neighbours differ.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ChangesSign(double left, double right) => (int)((uint)(UpperWord(left) ^ UpperWord(right)) >> 31);

    /// <summary>What the chains say of a point x.</summary>
    internal struct Count
    {
        /// <summary>Eigenvalues below x.</summary>
        public int Below;

        /// <summary>det(T - x I), times a power of two: from 1 to 2.</summary>
        public float Determinant;

        /// <summary>The exponent of that power's inverse, plus a number that is the same for all points.</summary>
        public int Exponent;
    }

    /// <summary>A lane's share of four points.</summary>
    internal struct TwoCounts
    {
        public Count First;
        public Count Second;

        /// <summary>At how many of the two points not more than i eigenvalues are below, so that eigenvalue i is not.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly int AtMost(int i) => (First.Below <= i ? 1 : 0) + (Second.Below <= i ? 1 : 0);
    }

    /// <summary>Chains of minors from one end, at four points.</summary>
    private struct Chains
    {
        public double X0;
        public double X1;
        public double X2;
        public double X3;
        public Minors Minors0;
        public Minors Minors1;
        public Minors Minors2;
        public Minors Minors3;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Chains From(double low, double step)
        {
            Chains chains = default;
            chains.X0 = low + step;
            chains.X1 = low + (2.0 * step);
            chains.X2 = low + (3.0 * step);
            chains.X3 = low + (4.0 * step);
            chains.Minors0.Last = 1.0;
            chains.Minors1.Last = 1.0;
            chains.Minors2.Last = 1.0;
            chains.Minors3.Last = 1.0;
            return chains;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Chains First(MinorRow row)
        {
            Chains next = this;
            next.Minors0 = Minors0.First(row, X0);
            next.Minors1 = Minors1.First(row, X1);
            next.Minors2 = Minors2.First(row, X2);
            next.Minors3 = Minors3.First(row, X3);
            return next;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Chains Next(MinorRow row)
        {
            Chains next = this;
            next.Minors0 = Minors0.Next(row, X0);
            next.Minors1 = Minors1.Next(row, X1);
            next.Minors2 = Minors2.Next(row, X2);
            next.Minors3 = Minors3.Next(row, X3);
            return next;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Chains Rescaled()
        {
            Chains scaled = this;
            scaled.Minors0 = Minors0.Rescaled();
            scaled.Minors1 = Minors1.Rescaled();
            scaled.Minors2 = Minors2.Rescaled();
            scaled.Minors3 = Minors3.Rescaled();
            return scaled;
        }
    }

    /// <summary>Two consecutive minors in their scale.</summary>
    private struct Minors
    {
        public double Last;
        public double Before;

        /// <summary>Changes of sign before the last rows, plus <see cref="ExponentUnit"/> times the exponents that rescaling took away.</summary>
        public int Tally;

        /// <summary>A bit for each minor so far, 1 if it is negative, the last one lowest.</summary>
        public int Signs;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Minors First(MinorRow row, double x) => With(((row.Diagonal - x) * Last) - (row.Factor * Before));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Minors Next(MinorRow row, double x) => With(((row.Diagonal - (row.Factor * x)) * Last) - Before);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly Minors With(double minor)
        {
            Minors next = this;
            next.Last = minor;
            next.Before = Last;
            next.Signs = (Signs << 1) | (int)((uint)UpperWord(minor) >> 31); // one funnel shift
            return next;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Minors Rescaled()
        {
            int exponent = LargerExponent(Last, Before);
            double power = InversePower(exponent);
            Minors scaled = this;
            scaled.Last *= power;
            scaled.Before *= power;
            int changes = IntrinsicMath.PopCount((Signs ^ (Signs >> 1)) & ((1 << MinorBlock) - 1)); // there were never more rows since the last time
            scaled.Tally += ((exponent - 1023) * ExponentUnit) + changes;
            return scaled;
        }
    }
}
