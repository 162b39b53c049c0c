// SPDX-License-Identifier: Apache-2.0
// The loop of GpuGemm over the depth, in stages of 16.
// Overlap    a thread loads its 8 + 8 elements (small tile: 4 + 4) of the next stage into registers, multiplies the stage that is in shared memory, and then stores what it
//            loaded into the other half of the shared memory: no load is waited for before the products are under way. One barrier a stage.
// Branches   none around a load: ptxas waits for a load where a branch joins. What lies outside is read from the operand's last row or column instead;
//            outside the depth it becomes 0 before it is stored, and outer indices outside give elements of C that nobody stores.
// Layout     a row is 4 words of 16 bytes; word c of row r lies at place c ^ (r / 2 % 4), so that neither 8 lanes that read two rows of fragments nor 8 that
//            store the same word of 8 rows meet in a bank.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>A thread's elements of one operand's stage.</summary>
internal struct StageShare
{
    public Float4 First;
    public Float4 Second;
}

internal static partial class GpuGemm
{
    public const int DepthStep = 16;

    /// <summary>Words of 16 bytes of shared memory that <see cref="Accumulate"/> needs: two stages of both operands.</summary>
    public const int SharedLength = 4 * OperandLength;

    private const int WordsOfRow = DepthStep / 4;
    private const int OperandLength = 2 * LargeTile.Rows * WordsOfRow;      // the small tile leaves half of it
    private const int RowsOfThreads = Threads / DepthStep;      // rows between two elements of a thread, where lanes run along the depth

    /// <summary>
    /// Adds one block of A B to the accumulators of a group of <see cref="Threads"/>. Every thread calls it; the shared memory is
    /// free again at the return.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate<TA, TB, TTile, TPrecision>(
        ref TileSums sums, ArrayView<Float4> shared, TA a, TB b, int group, int firstRow, int rows, int firstColumn, int columns, int depth)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        if (depth <= 0)
        {
            return; // the whole group
        }

        StageShare shareA = LoadShare<TA, TTile>(a, group, firstRow, rows, 0, depth);
        StageShare shareB = LoadShare<TB, TTile>(b, group, firstColumn, columns, 0, depth);
        StoreShare<TA, TTile, TPrecision>(shared, 0, a, shareA, group, firstRow, rows, 0, depth);
        StoreShare<TB, TTile, TPrecision>(shared, OperandLength, b, shareB, group, firstColumn, columns, 0, depth);
        Group.Barrier(); // the first stage is complete
        int stage = 0;
        for (int start = DepthStep; start < depth; start += DepthStep)
        {
            shareA = LoadShare<TA, TTile>(a, group, firstRow, rows, start, depth);
            shareB = LoadShare<TB, TTile>(b, group, firstColumn, columns, start, depth);
            Warp.Barrier(); // holds the loads here: the assembler would move them behind the products
            MultiplyStage<TTile, TPrecision>(ref sums, shared, stage);
            stage = (2 * OperandLength) - stage; // its last readers are a barrier away
            StoreShare<TA, TTile, TPrecision>(shared, stage, a, shareA, group, firstRow, rows, start, depth);
            StoreShare<TB, TTile, TPrecision>(shared, stage + OperandLength, b, shareB, group, firstColumn, columns, start, depth);
            Group.Barrier(); // the next stage is complete
        }

        MultiplyStage<TTile, TPrecision>(ref sums, shared, stage);
        Group.Barrier(); // the last stage is read
    }

    // 64 x 16 elements of one operand, eight a thread, or 32 x 16 and four: neighbouring lanes take neighbours in memory.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static StageShare LoadShare<T, TTile>(T operand, int group, int firstOuter, int outerCount, int firstDepth, int depthCount)
        where T : struct, IGemmOperand
        where TTile : struct, IGemmTile
    {
        int outer = firstOuter + FirstOuter<T, TTile>(operand);
        int depth = firstDepth + FirstDepth<T, TTile>(operand);
        int outerStep = operand.IsDepthContiguous ? RowsOfThreads : 0;
        int depthStep = operand.IsDepthContiguous ? 0 : 1;
        int lastOuter = outerCount - 1;
        int lastDepth = depthCount - 1;
        StageShare share = default;
        share.First.X = Element(operand, group, outer, lastOuter, depth, lastDepth);
        share.First.Y = Element(operand, group, outer + outerStep, lastOuter, depth + depthStep, lastDepth);
        share.First.Z = Element(operand, group, outer + (2 * outerStep), lastOuter, depth + (2 * depthStep), lastDepth);
        share.First.W = Element(operand, group, outer + (3 * outerStep), lastOuter, depth + (3 * depthStep), lastDepth);
        if (TTile.WarpBlock == LargeTile.Rows)
        {
            share.Second.X = Element(operand, group, outer + (4 * outerStep), lastOuter, depth + (4 * depthStep), lastDepth);
            share.Second.Y = Element(operand, group, outer + (5 * outerStep), lastOuter, depth + (5 * depthStep), lastDepth);
            share.Second.Z = Element(operand, group, outer + (6 * outerStep), lastOuter, depth + (6 * depthStep), lastDepth);
            share.Second.W = Element(operand, group, outer + (7 * outerStep), lastOuter, depth + (7 * depthStep), lastDepth);
        }

        return share;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Element<T>(T operand, int group, int outer, int lastOuter, int depth, int lastDepth)
        where T : struct, IGemmOperand =>
        operand.Load(group, XMath.Min(outer, lastOuter), XMath.Min(depth, lastDepth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FirstOuter<T, TTile>(T operand)
        where T : struct, IGemmOperand
        where TTile : struct, IGemmTile =>
        operand.IsDepthContiguous ? Group.IdxX / DepthStep : Group.IdxX & ((2 * TTile.WarpBlock) - 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int FirstDepth<T, TTile>(T operand)
        where T : struct, IGemmOperand
        where TTile : struct, IGemmTile =>
        operand.IsDepthContiguous ? Group.IdxX & (DepthStep - 1) : Group.IdxX / (2 * TTile.WarpBlock) * (TTile.WarpBlock / 4);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreShare<T, TTile, TPrecision>(
        ArrayView<Float4> shared, int start, T operand, StageShare share, int group, int firstOuter, int outerCount, int firstDepth, int depthCount)
        where T : struct, IGemmOperand
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        if (firstDepth + DepthStep <= depthCount)
        {
            share = Finish<T, TTile, TPrecision>(operand, share, group, firstOuter, outerCount, firstDepth, depthCount);
            StoreShare<T, TTile>(shared, start, operand, share);
        }
        else
        {
            share = Finish<T, TTile, TPrecision>(operand, share, group, firstOuter, outerCount, firstDepth, depthCount);
            int inside = depthCount - firstDepth - FirstDepth<T, TTile>(operand);     // elements from the thread's first on that are within the depth
            int step = operand.IsDepthContiguous ? 0 : 1;
            share.First = Inside(share.First, inside, step);
            share.Second = Inside(share.Second, inside - (4 * step), step);
            StoreShare<T, TTile>(shared, start, operand, share);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static StageShare Finish<T, TTile, TPrecision>(T operand, StageShare share, int group, int firstOuter, int outerCount, int firstDepth, int depthCount)
        where T : struct, IGemmOperand
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        int outer = firstOuter + FirstOuter<T, TTile>(operand);
        int depth = firstDepth + FirstDepth<T, TTile>(operand);
        int outerStep = operand.IsDepthContiguous ? RowsOfThreads : 0;
        int depthStep = operand.IsDepthContiguous ? 0 : 1;
        int lastOuter = outerCount - 1;
        int lastDepth = depthCount - 1;
        share.First.X = Finish<T, TPrecision>(operand, share.First.X, group, outer, lastOuter, depth, lastDepth);
        share.First.Y = Finish<T, TPrecision>(operand, share.First.Y, group, outer + outerStep, lastOuter, depth + depthStep, lastDepth);
        share.First.Z = Finish<T, TPrecision>(operand, share.First.Z, group, outer + (2 * outerStep), lastOuter, depth + (2 * depthStep), lastDepth);
        share.First.W = Finish<T, TPrecision>(operand, share.First.W, group, outer + (3 * outerStep), lastOuter, depth + (3 * depthStep), lastDepth);
        if (TTile.WarpBlock == LargeTile.Rows)
        {
            share.Second.X = Finish<T, TPrecision>(operand, share.Second.X, group, outer + (4 * outerStep), lastOuter, depth + (4 * depthStep), lastDepth);
            share.Second.Y = Finish<T, TPrecision>(operand, share.Second.Y, group, outer + (5 * outerStep), lastOuter, depth + (5 * depthStep), lastDepth);
            share.Second.Z = Finish<T, TPrecision>(operand, share.Second.Z, group, outer + (6 * outerStep), lastOuter, depth + (6 * depthStep), lastDepth);
            share.Second.W = Finish<T, TPrecision>(operand, share.Second.W, group, outer + (7 * outerStep), lastOuter, depth + (7 * depthStep), lastDepth);
        }

        return share;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Finish<T, TPrecision>(T operand, float value, int group, int outer, int lastOuter, int depth, int lastDepth)
        where T : struct, IGemmOperand
        where TPrecision : struct, IProductPrecision =>
        TPrecision.Rounded(operand.Finish(value, group, XMath.Min(outer, lastOuter), XMath.Min(depth, lastDepth)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreShare<T, TTile>(ArrayView<Float4> shared, int start, T operand, StageShare share)
        where T : struct, IGemmOperand
        where TTile : struct, IGemmTile
    {
        int row = FirstOuter<T, TTile>(operand);
        int own = FirstDepth<T, TTile>(operand);
        if (operand.IsDepthContiguous)
        {
            const int Step = RowsOfThreads * DepthStep;         // 8 rows further a word has the same place in its row
            ArrayView<float> words = shared.Cast<float>().SubView((4 * (start + Word(row, own / 4))) + (own & 3), (7 * Step) + 1);
            words[0] = share.First.X;
            words[Step] = share.First.Y;
            words[2 * Step] = share.First.Z;
            words[3 * Step] = share.First.W;
            if (TTile.WarpBlock == LargeTile.Rows)
            {
                words[4 * Step] = share.Second.X;
                words[5 * Step] = share.Second.Y;
                words[6 * Step] = share.Second.Z;
                words[7 * Step] = share.Second.W;
            }
        }
        else
        {
            shared[start + Word(row, own / 4)] = share.First;
            if (TTile.WarpBlock == LargeTile.Rows)
            {
                shared[start + Word(row, (own / 4) + 1)] = share.Second;
            }
        }
    }

    // Four elements, of which a number of steps are within the depth; zeros for the others.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Inside(Float4 values, int inside, int step)
    {
        values.X = inside > 0 ? values.X : 0.0f;
        values.Y = inside > step ? values.Y : 0.0f;
        values.Z = inside > 2 * step ? values.Z : 0.0f;
        values.W = inside > 3 * step ? values.W : 0.0f;
        return values;
    }

    // Where a word of a row lies within an operand's stage.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Word(int row, int word) => (row * WordsOfRow) + (word ^ ((row >> 1) & (WordsOfRow - 1)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyStage<TTile, TPrecision>(ref TileSums sums, ArrayView<Float4> shared, int stage)
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        int lane = Group.IdxX & (Gpu.WarpSize - 1);
        int own = stage + Word(lane / 4, lane & 3);     // rows that differ by a multiple of 8 have their words in the same order
        const int Eight = 8 * WordsOfRow;
        int words = ((TTile.WarpBlock / 8) - 1) * Eight;
        ArrayView<Float4> wordsA = shared.SubView(own + (WarpRow<TTile>() * WordsOfRow), words + 1);
        ArrayView<Float4> wordsB = shared.SubView(own + OperandLength + (WarpColumn<TTile>() * WordsOfRow), words + 1);
        FragmentA upper = default;
        if (TTile.WarpBlock == LargeTile.Rows)
        {
            FragmentB b = default;
            b.B0 = wordsB[0];
            b.B1 = wordsB[Eight];
            b.B2 = wordsB[2 * Eight];
            b.B3 = wordsB[3 * Eight];
            upper.Upper = wordsA[0];
            upper.Lower = wordsA[Eight];
            FragmentA lower = default;
            lower.Upper = wordsA[2 * Eight];
            lower.Lower = wordsA[3 * Eight];
            sums.Top = TPrecision.MultiplyAdd(sums.Top, upper, b);
            sums.Bottom = TPrecision.MultiplyAdd(sums.Bottom, lower, b);
        }
        else
        {
            FragmentPair b = default;
            b.B0 = wordsB[0];
            b.B1 = wordsB[Eight];
            upper.Upper = wordsA[0];
            upper.Lower = wordsA[Eight];
            sums.Small = TPrecision.MultiplyAdd(sums.Small, upper, b);
        }
    }
}
