// SPDX-License-Identifier: Apache-2.0
// The loop of GpuGemm over the depth, in stages of 16.
// Overlap    a thread loads its 8 + 8 elements (small tile: 4 + 4) of the next stage into registers, multiplies the stage that is in shared memory, and then stores what it
//            loaded into the other half of the shared memory: no load is waited for before the products are under way. One barrier a stage.
// Depth      the first stage takes what a whole number of stages leaves, so that the loop knows no end of the depth.
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

/// <summary>Which elements of a stage of one operand a thread has: one row after the other, or neighbours along the depth.</summary>
internal struct StagePlace
{
    /// <summary>Row of shared memory of the first one.</summary>
    public int Row;

    /// <summary>Depth of the first one, from the stage's.</summary>
    public int Depth;

    /// <summary>Outer index of the first one.</summary>
    public int Outer;

    /// <summary>The operand's last outer index.</summary>
    public int LastOuter;

    /// <summary>Outer indices from one element to the next; 0 where <see cref="DepthStep"/> is 1.</summary>
    public int OuterStep;

    /// <summary>Depth from one element to the next.</summary>
    public int DepthStep;

    /// <summary>Outer index of an element within the operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int OuterOf(int element) => XMath.Min(Outer + (element * OuterStep), LastOuter);
}

internal static partial class GpuGemm
{
    public const int DepthStep = 16;

    /// <summary>Words of 16 bytes of shared memory that <see cref="Accumulate"/> needs: two stages of both operands.</summary>
    public const int SharedLength = 4 * OperandLength;

    private const int WordsOfRow = DepthStep / 4;
    private const int OperandLength = 2 * LargeTile.Rows * WordsOfRow;      // the small tile leaves half of it, but for teams
    private const int RowsOfThreads = Threads / DepthStep;      // rows between two elements of a thread, where lanes run along the depth

    /// <summary>
    /// Adds one block of A B, over a part of the depth, to the accumulators of a group of <see cref="Threads"/>. Every thread calls it, and passes a barrier
    /// before it writes to the shared memory again: others still read the last stage.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate<TA, TB, TTile, TPrecision>(
        ref TileSums sums, ArrayView<Float4> shared, TA a, TB b, int group, int firstRow, int rows, int firstColumn, int columns, int firstDepth, int depthCount)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        if (depthCount <= 0)
        {
            return; // the whole group
        }

        int end = firstDepth + depthCount;
        if (TTile.Teams > 1)
        {
            depthCount = (depthCount + (TTile.Teams * DepthStep) - 1) / (TTile.Teams * DepthStep) * DepthStep;
            int team = Group.IdxX / Threads;
            firstDepth += team * depthCount;
            shared = shared.SubView(team * 4 * LengthOf<TTile>(), 4 * LengthOf<TTile>());
        }

        a.Select(group);
        b.Select(group);
        StagePlace placeA = Place<TA, TTile>(a, firstRow, rows);
        StagePlace placeB = Place<TB, TTile>(b, firstColumn, columns);
        int inside = ((depthCount - 1) & (DepthStep - 1)) + 1;      // of the first stage
        int next = firstDepth + inside;
        int last = TTile.Teams > 1 ? end - 1 : next - 1;
        inside = TTile.Teams > 1 ? end - firstDepth : inside;
        StageShare shareA = LoadShare<TA, TTile>(a, placeA, firstDepth, last);
        StageShare shareB = LoadShare<TB, TTile>(b, placeB, firstDepth, last);
        shareA = Finish<TA, TTile, TPrecision>(a, shareA, placeA, firstDepth, last);
        StoreShare<TA, TTile>(shared, 0, a, Inside(shareA, placeA, inside), placeA);
        shareB = Finish<TB, TTile, TPrecision>(b, shareB, placeB, firstDepth, last);
        StoreShare<TB, TTile>(shared, LengthOf<TTile>(), b, Inside(shareB, placeB, inside), placeB);
        last = TTile.Teams > 1 ? last : int.MaxValue;
        GroupBarrier.Wait(); // the first stage is complete
        int stage = 0;
        for (int behind = firstDepth + depthCount; next < behind; next += DepthStep)
        {
            shareA = LoadShare<TA, TTile>(a, placeA, next, last);
            shareB = LoadShare<TB, TTile>(b, placeB, next, last);
            WarpLanes.Barrier(); // holds the loads here: the assembler would move them behind the products
            MultiplyStage<TTile, TPrecision>(ref sums, shared, stage);
            stage = (2 * LengthOf<TTile>()) - stage; // its last readers are a barrier away
            shareA = Finish<TA, TTile, TPrecision>(a, shareA, placeA, next, last);
            StoreShare<TA, TTile>(shared, stage, a, TTile.Teams > 1 ? Inside(shareA, placeA, end - next) : shareA, placeA);
            shareB = Finish<TB, TTile, TPrecision>(b, shareB, placeB, next, last);
            StoreShare<TB, TTile>(shared, stage + LengthOf<TTile>(), b, TTile.Teams > 1 ? Inside(shareB, placeB, end - next) : shareB, placeB);
            GroupBarrier.Wait(); // the next stage is complete
        }

        MultiplyStage<TTile, TPrecision>(ref sums, shared, stage);
    }

    // Of 64 x 16 elements of one operand a thread has eight, of 32 x 16 four: neighbouring lanes take neighbours in memory.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static StagePlace Place<T, TTile>(T operand, int firstOuter, int outerCount)
        where T : struct, IGemmOperand
        where TTile : struct, IGemmTile
    {
        StagePlace place = default;
        int thread = ThreadOfTeam<TTile>();
        place.Row = operand.IsDepthContiguous ? thread / DepthStep : thread & ((2 * TTile.WarpBlock) - 1);
        place.Depth = operand.IsDepthContiguous ? thread & (DepthStep - 1) : thread / (2 * TTile.WarpBlock) * (TTile.WarpBlock / 4);
        place.Outer = firstOuter + place.Row;
        place.LastOuter = outerCount - 1;
        place.OuterStep = operand.IsDepthContiguous ? RowsOfThreads : 0;
        place.DepthStep = operand.IsDepthContiguous ? 0 : 1;
        return place;
    }

    // lastDepth: int.MaxValue where the whole stage is within the depth.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static StageShare LoadShare<T, TTile>(T operand, StagePlace place, int stageDepth, int lastDepth)
        where T : struct, IGemmOperand
        where TTile : struct, IGemmTile
    {
        int depth = stageDepth + place.Depth;
        StageShare share = default;
        share.First.X = Load(operand, place, depth, lastDepth, 0);
        share.First.Y = Load(operand, place, depth, lastDepth, 1);
        share.First.Z = Load(operand, place, depth, lastDepth, 2);
        share.First.W = Load(operand, place, depth, lastDepth, 3);
        if (TTile.WarpBlock == LargeTile.Rows)
        {
            share.Second.X = Load(operand, place, depth, lastDepth, 4);
            share.Second.Y = Load(operand, place, depth, lastDepth, 5);
            share.Second.Z = Load(operand, place, depth, lastDepth, 6);
            share.Second.W = Load(operand, place, depth, lastDepth, 7);
        }

        return share;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Load<T>(T operand, StagePlace place, int depth, int lastDepth, int element)
        where T : struct, IGemmOperand =>
        operand.Load(place.OuterOf(element), XMath.Min(depth + (element * place.DepthStep), lastDepth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static StageShare Finish<T, TTile, TPrecision>(T operand, StageShare share, StagePlace place, int stageDepth, int lastDepth)
        where T : struct, IGemmOperand
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        int depth = stageDepth + place.Depth;
        share.First.X = Finish<T, TPrecision>(operand, share.First.X, place, depth, lastDepth, 0);
        share.First.Y = Finish<T, TPrecision>(operand, share.First.Y, place, depth, lastDepth, 1);
        share.First.Z = Finish<T, TPrecision>(operand, share.First.Z, place, depth, lastDepth, 2);
        share.First.W = Finish<T, TPrecision>(operand, share.First.W, place, depth, lastDepth, 3);
        if (TTile.WarpBlock == LargeTile.Rows)
        {
            share.Second.X = Finish<T, TPrecision>(operand, share.Second.X, place, depth, lastDepth, 4);
            share.Second.Y = Finish<T, TPrecision>(operand, share.Second.Y, place, depth, lastDepth, 5);
            share.Second.Z = Finish<T, TPrecision>(operand, share.Second.Z, place, depth, lastDepth, 6);
            share.Second.W = Finish<T, TPrecision>(operand, share.Second.W, place, depth, lastDepth, 7);
        }

        return share;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Finish<T, TPrecision>(T operand, float value, StagePlace place, int depth, int lastDepth, int element)
        where T : struct, IGemmOperand
        where TPrecision : struct, IProductPrecision =>
        TPrecision.Rounded(operand.Finish(value, place.OuterOf(element), XMath.Min(depth + (element * place.DepthStep), lastDepth)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreShare<T, TTile>(ArrayView<Float4> shared, int start, T operand, StageShare share, StagePlace place)
        where T : struct, IGemmOperand
        where TTile : struct, IGemmTile
    {
        if (operand.IsDepthContiguous)
        {
            const int Step = RowsOfThreads * DepthStep;         // 8 rows further a word has the same place in its row
            ArrayView<float> words = shared.Cast<float>().SubView((4 * (start + Word(place.Row, place.Depth / 4))) + (place.Depth & 3), (((TTile.WarpBlock / 4) - 1) * Step) + 1);
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
            shared[start + Word(place.Row, place.Depth / 4)] = share.First;
            if (TTile.WarpBlock == LargeTile.Rows)
            {
                shared[start + Word(place.Row, (place.Depth / 4) + 1)] = share.Second;
            }
        }
    }

    // The share with zeros for what lies behind the elements of a stage that are within the depth.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static StageShare Inside(StageShare share, StagePlace place, int inside)
    {
        inside -= place.Depth;
        share.First = Inside(share.First, inside, place.DepthStep);
        share.Second = Inside(share.Second, inside - (4 * place.DepthStep), place.DepthStep);
        return share;
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

    // Words of an operand's stage.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int LengthOf<TTile>()
        where TTile : struct, IGemmTile =>
        TTile.Teams == 1 ? OperandLength : 2 * SmallTile.Rows * WordsOfRow;

    // Where a word of a row lies within an operand's stage.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Word(int row, int word) => (row * WordsOfRow) + (word ^ ((row >> 1) & (WordsOfRow - 1)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyStage<TTile, TPrecision>(ref TileSums sums, ArrayView<Float4> shared, int stage)
        where TPrecision : struct, IProductPrecision
        where TTile : struct, IGemmTile
    {
        if (!TPrecision.HasMatrixInstructions)
        {
            MultiplyStageByLanes<TTile>(ref sums, shared, stage);
            return;
        }

        int lane = Group.IdxX & (Gpu.WarpSize - 1);
        int own = stage + Word(lane / 4, lane & 3);     // rows that differ by a multiple of 8 have their words in the same order
        const int Eight = 8 * WordsOfRow;
        int words = ((TTile.WarpBlock / 8) - 1) * Eight;
        ArrayView<Float4> wordsA = shared.SubView(own + (WarpRow<TTile>() * WordsOfRow), words + 1);
        ArrayView<Float4> wordsB = shared.SubView(own + LengthOf<TTile>() + (WarpColumn<TTile>() * WordsOfRow), words + 1);
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
