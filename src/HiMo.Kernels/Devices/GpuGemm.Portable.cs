// SPDX-License-Identifier: Apache-2.0
// A stage without matrix instructions: every lane reads the rows of A and the columns of B of its own elements from the stage.
// Precision  float32's: 16 products are added up, and then added to the sums, as StrictPrecision does it.
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

internal static partial class GpuGemm
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyStageByLanes<TTile>(ref TileSums sums, ArrayView<Float4> shared, int stage)
        where TTile : struct, IGemmTile
    {
        int lane = Group.IdxX & (Gpu.WarpSize - 1);
        int row = WarpRow<TTile>() + (lane / 4);
        int column = WarpColumn<TTile>() + (2 * (lane & 3));
        int startB = stage + OperandLength;
        if (TTile.WarpBlock == LargeTile.Rows)
        {
            sums.Top = Add(sums.Top, shared, stage, row, startB, column);
            sums.Bottom = Add(sums.Bottom, shared, stage, row + 16, startB, column);
        }
        else
        {
            sums.Small.T0 = Add(sums.Small.T0, shared, stage, row, startB, column);
            sums.Small.T1 = Add(sums.Small.T1, shared, stage, row, startB, column + 8);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TileRow Add(TileRow sums, ArrayView<Float4> shared, int startA, int row, int startB, int column)
    {
        sums.T0 = Add(sums.T0, shared, startA, row, startB, column);
        sums.T1 = Add(sums.T1, shared, startA, row, startB, column + 8);
        sums.T2 = Add(sums.T2, shared, startA, row, startB, column + 16);
        sums.T3 = Add(sums.T3, shared, startA, row, startB, column + 24);
        return sums;
    }

    // Two columns of the rows `row` and `row` + 8.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Add(Float4 sums, ArrayView<Float4> shared, int startA, int row, int startB, int column)
    {
        Float4 sum = default;
        for (int word = 0; word < WordsOfRow; word++)
        {
            Float4 upper = shared[startA + Word(row, word)];
            Float4 lower = shared[startA + Word(row + 8, word)];
            Float4 left = shared[startB + Word(column, word)];
            Float4 right = shared[startB + Word(column + 1, word)];
            sum.X += Dot(upper, left);
            sum.Y += Dot(upper, right);
            sum.Z += Dot(lower, left);
            sum.W += Dot(lower, right);
        }

        sums.X += sum.X;
        sums.Y += sum.Y;
        sums.Z += sum.Z;
        sums.W += sum.W;
        return sums;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot(Float4 x, Float4 y) => (x.X * y.X) + (x.Y * y.Y) + ((x.Z * y.Z) + (x.W * y.W));
}
