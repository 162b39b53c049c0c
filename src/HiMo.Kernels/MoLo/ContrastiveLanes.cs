// SPDX-License-Identifier: Apache-2.0
using System.Runtime.CompilerServices;

namespace HiMo.Kernels;

/// <summary>The inner loops of <see cref="ContrastiveLossCpu"/>, along one row or down a few columns, for one register width.</summary>
internal static unsafe class ContrastiveLanes<T>
    where T : struct, ILanes<T>
{
    /// <summary>x_j becomes (scale x_j + bias) r_j; returns the sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Logits(float* x, float* r, int count, float scale, float bias)
    {
        T b = T.Broadcast(bias);
        T s = T.Broadcast(scale);
        T sum = T.Zero;
        int j = 0;
        for (; j + T.Count <= count; j += T.Count)
        {
            T logit = T.Multiply(T.MultiplyAdd(T.Load(x + j), s, b), T.Load(r + j));
            T.Store(logit, x + j);
            sum = T.Add(sum, logit);
        }

        double total = T.Sum(sum);
        for (; j < count; j++)
        {
            x[j] = MathF.FusedMultiplyAdd(x[j], scale, bias) * r[j];
            total += x[j];
        }

        return total;
    }

    /// <summary>Adds a row of logits to a running maximum and a sum of exponentials relative to it.</summary>
    /// <param name="x">A multiple of <see cref="LogitTile.Padding"/> logits.</param>
    /// <param name="count">Their number.</param>
    /// <param name="max">The largest so far.</param>
    /// <param name="sum">sum exp(x - max) so far.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RowSum(float* x, int count, ref float max, ref float sum)
    {
        T largest = T.Broadcast(max);
        for (int j = 0; j < count; j += T.Count)
        {
            largest = T.Max(largest, T.Load(x + j));
        }

        float* lanes = stackalloc float[LogitTile.Padding];
        T.Store(largest, lanes);
        float newMax = lanes[0];
        for (int k = 1; k < T.Count; k++)
        {
            newMax = MathF.Max(newMax, lanes[k]);
        }

        T shift = T.Broadcast(newMax);
        T added = T.Zero;
        for (int j = 0; j < count; j += T.Count)
        {
            added = T.Add(added, VectorMath.Exp(T.Subtract(T.Load(x + j), shift)));
        }

        sum = (sum * MathF.Exp(max - newMax)) + T.Sum(added);
        max = newMax;
    }

    /// <summary>Adds the rows of a tile to the running maxima and sums of its columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ColumnSums(float* x, nint stride, int rows, int columns, float* max, float* sum)
    {
        int j = 0;
        for (; j + (4 * T.Count) <= columns; j += 4 * T.Count)
        {
            ColumnSums4(x + j, stride, rows, max + j, sum + j);
        }

        for (; j < columns; j += T.Count)
        {
            T old = T.Load(max + j);
            T largest = old;
            for (int i = 0; i < rows; i++)
            {
                largest = T.Max(largest, T.Load(x + (i * stride) + j));
            }

            T total = T.Multiply(T.Load(sum + j), VectorMath.Exp(T.Subtract(old, largest)));
            for (int i = 0; i < rows; i++)
            {
                total = T.Add(total, VectorMath.Exp(T.Subtract(T.Load(x + (i * stride) + j), largest)));
            }

            T.Store(largest, max + j);
            T.Store(total, sum + j);
        }
    }

    /// <summary>D_ij r_j of one row, in place of its logits; with its sum, and the sum of D_ij S_ij.</summary>
    /// <param name="loss">Statistics and weights.</param>
    /// <param name="row">i.</param>
    /// <param name="firstColumn">The row's first column in the whole matrix.</param>
    /// <param name="count">Logits, a multiple of <see cref="LogitTile.Padding"/>.</param>
    /// <param name="target">Where the target is, or -1.</param>
    /// <param name="x">Logits; receives D, or its row part.</param>
    /// <param name="second">Receives D's column part; null: x receives the sum.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Gradient(in ContrastiveLossCpu loss, int row, int firstColumn, int count, int target, float* x, float* second)
    {
        float* r = loss.ColumnScale + firstColumn;
        float* columnMax = loss.ColumnMax + firstColumn;
        float* columnInverse = loss.ColumnSum + firstColumn;
        float spreadRow = loss.RowWeight * loss.LabelSmoothing / loss.Columns;
        float spreadColumn = loss.ColumnWeight * loss.LabelSmoothing / loss.Rows;
        float* columnTarget = loss.Target + firstColumn - loss.TargetOffset;      // read where there are columns: square, offset 0
        T rowTarget = T.Broadcast(loss.Target[row]);
        T rowMax = T.Broadcast(loss.RowMax[row]);
        T rowFactor = T.Broadcast(loss.RowWeight * loss.RowSum[row]);
        T columnWeight = T.Broadcast(loss.ColumnWeight);
        T rowSpread = T.Broadcast(spreadRow);
        T columnSpread = T.Broadcast(spreadColumn);
        bool hasColumns = loss.ColumnWeight != 0.0f;
        T one = T.Broadcast(1.0f);
        T rowSum = T.Zero;
        T columnSum = T.Zero;
        T scaleSum = T.Zero;
        for (int j = 0; j < count; j += T.Count)
        {
            T logit = T.Load(x + j);
            T scale = T.Load(r + j);
            T rowPart = T.Subtract(T.Multiply(VectorMath.Exp(T.Subtract(logit, rowMax)), rowFactor), rowSpread);
            T columnPart = T.Zero;
            T fromColumnTarget = T.Zero;
            if (hasColumns)
            {
                fromColumnTarget = T.Subtract(logit, T.Load(columnTarget + j));
                T share = T.Multiply(VectorMath.Exp(T.Subtract(logit, T.Load(columnMax + j))), T.Load(columnInverse + j));
                columnPart = T.Subtract(T.Multiply(share, columnWeight), columnSpread);
            }

            // A pad's scale is 0 and its logit is far away: it must not enter the sums.
            rowPart = T.SelectGreater(scale, T.Zero, rowPart, T.Zero);
            columnPart = T.SelectGreater(scale, T.Zero, columnPart, T.Zero);
            scaleSum = T.MultiplyAdd(rowPart, T.Subtract(logit, rowTarget), T.MultiplyAdd(columnPart, fromColumnTarget, scaleSum));

            // Row parts add up to 0 along a row, so only r - 1 counts: exactly nothing where r is 1.
            rowSum = T.MultiplyAdd(rowPart, T.Subtract(scale, one), rowSum);
            T other = T.Multiply(columnPart, scale);
            columnSum = T.Add(columnSum, other);
            T first = T.Multiply(rowPart, scale);
            if (second == null)
            {
                T.Store(T.Add(first, other), x + j);
            }
            else
            {
                T.Store(first, x + j);
                T.Store(other, second + j);
            }
        }

        double rows = T.Sum(rowSum);
        double columns = T.Sum(columnSum);
        loss.RowScaleGradient[row] += T.Sum(scaleSum);
        if (target >= 0)
        {
            // The target's own entry, from the shares of all others: no cancellation where it has taken nearly everything.
            float scale = r[target];
            float rowPart = (loss.RowWeight * (loss.LabelSmoothing - loss.RowMiss[row])) - spreadRow;
            float columnPart = hasColumns ? (loss.ColumnWeight * (loss.LabelSmoothing - loss.ColumnMiss[firstColumn + target])) - spreadColumn : 0.0f;
            float rowBefore = (loss.RowWeight * (1.0f - loss.RowMiss[row])) - spreadRow;
            float columnBefore = hasColumns ? (loss.ColumnWeight * (1.0f - loss.ColumnMiss[firstColumn + target])) - spreadColumn : 0.0f;
            rows += ((double)rowPart - rowBefore) * (scale - 1.0f);
            columns += ((double)columnPart - columnBefore) * scale;
            x[target] = scale * (second == null ? rowPart + columnPart : rowPart);
            if (second != null)
            {
                second[target] = scale * columnPart;
            }
        }

        loss.RowSumOfGradient[row] += (float)(second == null ? rows + columns : rows);
        loss.RowSumOfGradient[loss.Rows + row] += (float)columns;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ColumnSums4(float* x, nint stride, int rows, float* max, float* sum)
    {
        T old0 = T.Load(max);
        T old1 = T.Load(max + T.Count);
        T old2 = T.Load(max + (2 * T.Count));
        T old3 = T.Load(max + (3 * T.Count));
        T max0 = old0;
        T max1 = old1;
        T max2 = old2;
        T max3 = old3;
        for (int i = 0; i < rows; i++)
        {
            float* line = x + (i * stride);
            max0 = T.Max(max0, T.Load(line));
            max1 = T.Max(max1, T.Load(line + T.Count));
            max2 = T.Max(max2, T.Load(line + (2 * T.Count)));
            max3 = T.Max(max3, T.Load(line + (3 * T.Count)));
        }

        T sum0 = T.Multiply(T.Load(sum), VectorMath.Exp(T.Subtract(old0, max0)));
        T sum1 = T.Multiply(T.Load(sum + T.Count), VectorMath.Exp(T.Subtract(old1, max1)));
        T sum2 = T.Multiply(T.Load(sum + (2 * T.Count)), VectorMath.Exp(T.Subtract(old2, max2)));
        T sum3 = T.Multiply(T.Load(sum + (3 * T.Count)), VectorMath.Exp(T.Subtract(old3, max3)));
        for (int i = 0; i < rows; i++)
        {
            float* line = x + (i * stride);
            sum0 = T.Add(sum0, VectorMath.Exp(T.Subtract(T.Load(line), max0)));
            sum1 = T.Add(sum1, VectorMath.Exp(T.Subtract(T.Load(line + T.Count), max1)));
            sum2 = T.Add(sum2, VectorMath.Exp(T.Subtract(T.Load(line + (2 * T.Count)), max2)));
            sum3 = T.Add(sum3, VectorMath.Exp(T.Subtract(T.Load(line + (3 * T.Count)), max3)));
        }

        T.Store(max0, max);
        T.Store(max1, max + T.Count);
        T.Store(max2, max + (2 * T.Count));
        T.Store(max3, max + (3 * T.Count));
        T.Store(sum0, sum);
        T.Store(sum1, sum + T.Count);
        T.Store(sum2, sum + (2 * T.Count));
        T.Store(sum3, sum + (3 * T.Count));
    }
}
