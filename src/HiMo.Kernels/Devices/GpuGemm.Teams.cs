// SPDX-License-Identifier: Apache-2.0
// Products in teams, where C has fewer tiles than the chip has multiprocessors: a group's teams take the stages of a quarter of the depth each.
// Stages     as many for each team, so that all meet at every barrier; what is behind the depth is 0.
// Precision  the teams' sums are added up in their order.
// End        a team adds up a quarter of the tile, and stores it: two elements a thread.
using System.Runtime.CompilerServices;
using ILGPU;

namespace HiMo.Kernels;

internal static partial class GpuGemm
{
    private const int SharedLengthOfTeams = DeepTile.Parts * 4 * 2 * SmallTile.Rows * WordsOfRow;

    /// <summary>The thread's number within its team.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ThreadOfTeam<TTile>()
        where TTile : struct, IGemmTile =>
        Group.IdxX & TTile.ThreadBits;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreSumOfTeams<TA, TB, TC, TTile>(
        GemmArguments<TA, TB, TC> p, ArrayView<float> rowValues, ArrayView<float> shared, TilePair own, int group, int blockRow, int blockColumn, int columns)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
        where TTile : struct, IGemmTile
    {
        const int Sums = 2 * Threads;           // of a team, two neighbours of a row a thread
        const int Quarter = DeepTile.Parts * Sums;
        int thread = ThreadOfTeam<TTile>();
        int team = Group.IdxX / Threads;
        PutSums(shared, (team * Sums) + thread, own.T0.X, own.T0.Y);
        PutSums(shared, Quarter + (team * Sums) + thread, own.T0.Z, own.T0.W);
        PutSums(shared, (2 * Quarter) + (team * Sums) + thread, own.T1.X, own.T1.Y);
        PutSums(shared, (3 * Quarter) + (team * Sums) + thread, own.T1.Z, own.T1.W);
        int row = WarpRow<TTile>() + (thread % Gpu.WarpSize / 4) + (team % 2 * 8);
        int column = blockColumn + WarpColumn<TTile>() + (thread % 4 * 2) + (team / 2 * 8);
        float loadedLeft = LoadOne(p, group, blockRow + row, column, columns);
        float loadedRight = LoadOne(p, group, blockRow + row, column + 1, columns);
        GroupBarrier.Wait(); // every team's sums are there
        ArrayView<float> sums = shared.SubView((team * Quarter) + thread, Quarter - Threads + 1);
        float left = sums[0] + sums[Sums] + sums[2 * Sums] + sums[3 * Sums];
        float right = sums[Threads] + sums[Sums + Threads] + sums[(2 * Sums) + Threads] + sums[(3 * Sums) + Threads];
        StoreOne(p, rowValues, group, blockRow, row, column, columns, left, loadedLeft);
        StoreOne(p, rowValues, group, blockRow, row, column + 1, columns, right, loadedRight);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PutSums(ArrayView<float> shared, int place, float left, float right)
    {
        shared[place] = left;
        shared[place + Threads] = right;
    }
}
