// SPDX-License-Identifier: Apache-2.0
// A symmetric tridiagonal matrix T in float64 on the GPU: counts of its eigenvalues (TridiagonalEigen.Gpu.Counts.cs), and solutions of (T - lambda I) z = 0 from
// either end.
// Layout     T has the diagonal d_0 .. d_{n-1}; coupling j stands between rows j - 1 and j, and couplings 0 and n are 1 and multiply zeros.
//            Once in memory for counts and twice for solutions, once for each direction and in its order: a chain then reads one record a row, and any chain
//            the next one.
// Solutions  z_{j+1} = -((d_j - lambda) z_j + e_j z_{j-1}) / e_{j+1}, z_0 = 1, and the same from below. The eigenvector is the first one
//            above some row and the second one below it, best where their product is largest: there the twisted factorisation of Dhillon
//            and Parlett has its smallest pivot. Stored as float32 with one exponent for four rows.
// Precision  every step is a step with relative errors of 2^-52 in (d_j - x) and in e_j. The diagonal is perturbed by less than the float32
//            error of what made it, differently in each place, and couplings are kept away from zero by less than that: so no two
//            eigenvalues coincide, not even those of a matrix that falls apart into blocks, and no chain of four leaves float32's range.
// Source     Golub and Van Loan, Matrix Computations, section 8.4; Dhillon and Parlett, twisted factorisations (1997).
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>A row of T for a solution in one direction.</summary>
internal struct TridiagonalRow
{
    /// <summary>Words of a row. A view of rows would have to begin at a multiple of their size.</summary>
    public const int Words = 3;

    public double Diagonal;

    /// <summary>-1 / the coupling with the row behind.</summary>
    public double Inverse;

    /// <summary>The coupling with the row before, times <see cref="Inverse"/>.</summary>
    public double Ratio;

    /// <summary>Row j in memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TridiagonalRow At(ArrayView<double> rows, int j)
    {
        TridiagonalRow row = default;
        row.Diagonal = rows[Words * j];
        row.Inverse = rows[(Words * j) + 1];
        row.Ratio = rows[(Words * j) + 2];
        return row;
    }

    /// <summary>Writes row j.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Put(ArrayView<double> rows, int j)
    {
        rows[Words * j] = Diagonal;
        rows[(Words * j) + 1] = Inverse;
        rows[(Words * j) + 2] = Ratio;
    }
}

/// <summary>A row of T for a chain of minors.</summary>
internal struct MinorRow
{
    /// <summary>a_j d_j.</summary>
    public double Diagonal;

    /// <summary>a_j; where that is 1, what the minor before is multiplied with.</summary>
    public double Factor;
}

/// <summary>T, in memory that a group or the whole device shares.</summary>
internal partial struct TridiagonalGpu
{
    /// <summary>Rows that share the exponent of a solution.</summary>
    public const int Block = 4;

    private const double Perturbation = 2e-8;   // of the norm; float32's own error is 6e-8
    private const double LeastCoupling = 1e-9;  // of the norm
    private const double LeastNorm = 1e-4;      // that of a matrix of trace 1 is at least 1 / n; without this 0 would have no norm

    /// <summary>What the solutions from above need of each row, n records from row 0 on; then what those from below need, from row n - 1 on.</summary>
    public ArrayView<double> Rows;

    /// <summary>What the chains of minors need, n + 1 records: see <see cref="FillMinors"/>.</summary>
    public ArrayView<MinorRow> MinorRows;

    /// <summary>n.</summary>
    public int Size;

    /// <summary>T from a diagonal and the n - 1 couplings beside it, perturbed; by a whole group, which needs a barrier then. Returns a bound of its norm.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly double Fill(ArrayView<float> d, ArrayView<float> e)
    {
        float radius = 0.0f;
        for (int i = Group.IdxX % Gpu.WarpSize; i < Size; i += Gpu.WarpSize)
        {
            float before = i > 0 ? e[i - 1] : 0.0f;
            float behind = i + 1 < Size ? e[i] : 0.0f;
            radius = XMath.Max(radius, XMath.Abs(d[i]) + XMath.Abs(before) + XMath.Abs(behind));
        }

        double norm = XMath.Max((double)WarpMax(radius), LeastNorm);
        for (int i = Group.IdxX; i < Size; i += Group.DimX)
        {
            uint hash = (uint)(i + 1) * 2654435769u; // Knuth's multiplicative hash: equally spread, no two alike
            double diagonal = d[i] + (Perturbation * norm * ((hash * (1.0 / 4294967296.0)) - 0.5));
            double before = Coupling(e, i, norm);
            double behind = Coupling(e, i + 1, norm);
            Row(diagonal, before, behind).Put(Rows, i);
            Row(diagonal, behind, before).Put(Rows, (2 * Size) - 1 - i);
            FillMinors(e, i, diagonal, norm);
        }

        return norm * (1.0 + 1e-6);
    }

    // The coupling between rows i - 1 and i; 1 at both ends.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly double Coupling(ArrayView<float> e, int i, double norm)
    {
        double coupling = 1.0;
        if (i > 0 && i < Size)
        {
            coupling = e[i - 1];
            coupling = XMath.Abs(coupling) < LeastCoupling * norm ? LeastCoupling * norm : coupling;
        }

        return coupling;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TridiagonalRow Row(double diagonal, double before, double behind)
    {
        TridiagonalRow row = default;
        row.Diagonal = diagonal;
        row.Inverse = -1.0 / behind;
        row.Ratio = before * row.Inverse;
        return row;
    }

    /// <summary>The solution from one end. Row j goes to element j * stride, the exponent of rows 4 b to 4 b + 3 to element b * stride.</summary>
    /// <param name="value">lambda.</param>
    /// <param name="direction">1: from row 0; -1: from row n - 1.</param>
    /// <param name="solution">n elements.</param>
    /// <param name="exponents">n / 4 elements, rounded up: whole numbers.</param>
    /// <param name="stride">Distance of elements.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Solve(double value, int direction, ArrayView<float> solution, ArrayView<float> exponents, int stride)
    {
        Chain chain = default;
        chain.Last = 1.0;
        int whole = Size / Block;
        if (direction < 0)
        {
            chain = PartOfBlock(chain, value, direction, solution, exponents, stride);
        }

        int first = direction > 0 ? 0 : Size + (Size % Block);
        for (int done = 0; done < whole; done++)
        {
            int block = direction > 0 ? done : whole - 1 - done;
            int row = (block * Block) + (direction > 0 ? 0 : Block - 1);
            chain = chain.Normalised();
            exponents[block * stride] = chain.Exponent;
            ArrayView<double> rows = Rows.SubView(TridiagonalRow.Words * (first + (done * Block)), TridiagonalRow.Words * Block); // constant offsets from here
            TridiagonalRow row0 = TridiagonalRow.At(rows, 0);
            TridiagonalRow row1 = TridiagonalRow.At(rows, 1);
            TridiagonalRow row2 = TridiagonalRow.At(rows, 2);
            TridiagonalRow row3 = TridiagonalRow.At(rows, 3);
            int place = row * stride;
            int distance = direction * stride;
            solution[place] = (float)chain.Last;
            chain = chain.Next(row0, value);
            solution[place + distance] = (float)chain.Last;
            chain = chain.Next(row1, value);
            solution[place + (2 * distance)] = (float)chain.Last;
            chain = chain.Next(row2, value);
            solution[place + (3 * distance)] = (float)chain.Last;
            chain = chain.Next(row3, value);
        }

        if (direction > 0)
        {
            _ = PartOfBlock(chain, value, direction, solution, exponents, stride);
        }
    }

    // The rows behind the last whole block.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly Chain PartOfBlock(Chain chain, double value, int direction, ArrayView<float> solution, ArrayView<float> exponents, int stride)
    {
        int start = Size / Block * Block;
        int count = Size - start;
        if (count > 0)
        {
            chain = chain.Normalised();
            exponents[start / Block * stride] = chain.Exponent;
        }

        for (int done = 0; done < count; done++)
        {
            int row = direction > 0 ? start + done : Size - 1 - done;
            solution[row * stride] = (float)chain.Last;
            chain = chain.Next(TridiagonalRow.At(Rows, (direction > 0 ? start : Size) + done), value);
        }

        for (int row = Size; count > 0 && row < start + Block; row++)
        {
            solution[row * stride] = 0.0f;              // of no use, but read together with the rows before
        }

        return chain;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float WarpMax(float value)
    {
        value = XMath.Max(value, WarpLanes.Xor(value, 16));
        value = XMath.Max(value, WarpLanes.Xor(value, 8));
        value = XMath.Max(value, WarpLanes.Xor(value, 4));
        value = XMath.Max(value, WarpLanes.Xor(value, 2));
        return XMath.Max(value, WarpLanes.Xor(value, 1));
    }

    // The upper word of a float64: its sign, its exponent, 20 bits of its mantissa.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int UpperWord(double value) => (int)(Interop.FloatAsInt(value) >> 32);

    // The exponent, as stored, of the larger one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int LargerExponent(double left, double right) => XMath.Max(UpperWord(left) & 0x7fffffff, UpperWord(right) & 0x7fffffff) >> 20;

    // 2^-e for a stored exponent.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double InversePower(int exponent) => Interop.IntAsFloat((ulong)(uint)((2046 - exponent) << 20) << 32);

    /// <summary>Two consecutive components of a solution, times 2^-Exponent.</summary>
    private struct Chain
    {
        public double Last;
        public double Before;
        public int Exponent;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Chain Next(TridiagonalRow row, double value)
        {
            Chain next = this;
            next.Last = ((row.Diagonal - value) * row.Inverse * Last) + (row.Ratio * Before);
            next.Before = Last;
            return next;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly Chain Normalised()
        {
            int exponent = LargerExponent(Last, Before);
            double power = InversePower(exponent);
            Chain scaled = this;
            scaled.Last *= power;
            scaled.Before *= power;
            scaled.Exponent += exponent - 1023;
            return scaled;
        }
    }
}
