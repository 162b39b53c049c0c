// SPDX-License-Identifier: Apache-2.0
// Eigenvalues of T below a point x = negative pivots of T - x I = changes of sign among its leading minors, p_{j+1} = (d_j - x) p_j - e_j^2 p_{j-1}: no division, and
// two chains of half the length, from above and from below, which meet in the middle. Rescaled every eight rows.
// Mapping    two lanes count at four points: one has the chains from above, the other those from below. So a row that was loaded serves four chains, which wait for
//            their last row in turns: every lane of a warp receives 16 bytes a row, which takes the shared memory longer than one chain takes the float64 units.
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

internal partial struct TridiagonalGpu
{
    /// <summary>Points at which two lanes count together.</summary>
    public const int PointsOfAPair = 4;

    /// <summary>Distance of the two lanes: lanes 0 to 15 have the chains from above, and a quarter of a warp reads one record.</summary>
    public const int PairDistance = Gpu.WarpSize / 2;

    /// <summary>Numbers of eigenvalues below low + step, low + 2 step, low + 3 step and low + 4 step, by both lanes of a pair; all lanes of a warp take part.</summary>
    /// <returns>The first two for the lower lane, the last two for the upper one.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly TwoCounts CountBelow(double low, double step)
    {
        bool isAbove = Group.IdxX % Gpu.WarpSize < PairDistance;
        int half = Size / 2;
        int first = isAbove ? 0 : Size;
        Chains chains = Chains.From(low, step);
        if (!isAbove && Size % 2 != 0)
        {
            chains = chains.Next(Rows[first]);
            first++;
        }

        int row = 0;
        for (; row < half % 8; row++)
        {
            chains = chains.Next(Rows[first + row]);
        }

        for (; row < half; row += 8)
        {
            ArrayView<TridiagonalRow> rows = Rows.SubView(first + row, 8); // constant offsets from here
            chains = chains.Rescaled().Next(rows[0]).Next(rows[1]).Next(rows[2]).Next(rows[3]).Next(rows[4]).Next(rows[5]).Next(rows[6]).Next(rows[7]);
        }

        chains = chains.Rescaled();
        double square = Rows[half].Square;
        TwoCounts counts = default;
        counts.First = Meet(chains.Minors0, chains.Minors2, isAbove, square);
        counts.Second = Meet(chains.Minors1, chains.Minors3, isAbove, square);
        return counts;
    }

    // A pair's lanes both have two of their points here, and each completes the count at one of them: the last pivot of all belongs to row n / 2, seen from both sides.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Meet(Minors lower, Minors upper, bool isAbove, double square)
    {
        Minors kept = isAbove ? lower : upper;
        Minors given = isAbove ? upper : lower;
        Minors received = default;
        received.Last = Warp.ShuffleXor(given.Last, PairDistance);
        received.Before = Warp.ShuffleXor(given.Before, PairDistance);
        received.Changes = Warp.ShuffleXor(given.Changes, PairDistance);
        Minors above = isAbove ? kept : received;
        Minors below = isAbove ? received : kept;
        double whole = (above.Last * below.Last) - (square * above.Before * below.Before);
        return above.Changes + below.Changes - ChangesSign(below.Last, below.Before) + ChangesSign(whole, above.Last * below.Before);
    }

    // 1 where the signs differ; a zero in between counts with either sign, since its neighbours differ.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ChangesSign(double left, double right) => (int)((uint)(UpperWord(left) ^ UpperWord(right)) >> 31);

    /// <summary>A lane's share of the counts at four points.</summary>
    internal struct TwoCounts
    {
        public int First;
        public int Second;

        /// <summary>At how many of the two points not more than i eigenvalues are below, so that eigenvalue i is not.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly int AtMost(int i) => (First <= i ? 1 : 0) + (Second <= i ? 1 : 0);
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
        public readonly Chains Next(TridiagonalRow row)
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

    /// <summary>Two consecutive minors, up to a factor, and the changes of sign so far.</summary>
    private struct Minors
    {
        public double Last;
        public double Before;
        public int Changes;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Minors Next(TridiagonalRow row, double x)
        {
            Minors next = default;
            next.Last = ((row.Diagonal - x) * Last) - (row.Square * Before);
            next.Before = Last;
            next.Changes = Changes + ChangesSign(next.Last, Last);
            return next;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Minors Rescaled()
        {
            double power = InversePower(LargerExponent(Last, Before));
            Minors scaled = this;
            scaled.Last *= power;
            scaled.Before *= power;
            return scaled;
        }
    }
}
