// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;
using System.Runtime.Intrinsics;

namespace HiMo.Kernels;

// One branch of InfoNCE with label smoothing, both directions at once, on tiles of logits.      HiMo-CLIP (arXiv:2511.06653), eq. 2 and 3
//            S_ij = s (A_ij + b_i) r_j      A: products of the factors; b: row bias; r: column scale, 1 unless cosines are asked for
//            row direction     CE_i = logsumexp_j S_ij - (1-eps) S_i,t(i) - (eps/N) sum_j S_ij,   t(i) = offset + i
//            column direction  the same down the columns (square logits only)
// Backward   D_ij = w_r [R_ij - (1-eps) 1_t - eps/columns] + w_c [T_ij - (1-eps) 1_t - eps/rows],   R, T: softmax along rows, along columns
//            The tile receives D_ij r_j, the derivative by A_ij over s; sum D_ij S_ij is the temperature's: D's row part adds up to 0 along a
//            row and its column part down a column, so S counts from that row's or column's target.
// Shapes     any rows x columns in tiles; padding columns hold a logit so low that it takes no part.
// Mapping    rows and chunks of columns are tasks; a row or a column of a tile belongs to one thread, tiles come in order.
// Precision  logits, maxima and exponentials float32; the target is kept out of the sums, so 1 - R_tt is exact where R_tt is near 1
//            (a well-trained batch) and the temperature's gradient has no large terms that cancel; losses in float64. s from e^-100 to e^80.
// Determinism  order depends on shapes, tiles and the width of the machine's vectors, never on the number of threads.
internal unsafe struct ContrastiveLossCpu
{
    private const int ColumnChunk = 64;

    public int Rows;
    public int Columns;
    public int TargetOffset;
    public float Scale;
    public float Excluded;             // a logit below every other by more than exp's range
    public float LabelSmoothing;
    public float RowWeight;            // w_r, w_c
    public float ColumnWeight;

    public float* RowBias;             // s b, null: 0
    public float* ColumnScale;         // r, zeros in the padding
    public float* Target;              // S_i,t(i), zeros in the padding
    public float* RowMax;
    public float* RowSum;              // sum of exponentials; after Finish its inverse
    public float* RowMiss;             // 1 - R_i,t(i)
    public float* ColumnMax;
    public float* ColumnSum;
    public float* ColumnMiss;
    public double* RowTotal;           // sum_j S_ij
    public float* RowSumOfGradient;    // sum_j D_ij r_j; split: of the row part, then of the column part
    public double* RowScaleGradient;   // sum_j D_ij S_ij

    /// <summary>A branch before its first tile.</summary>
    /// <param name="workspace">Gives the statistics' memory.</param>
    /// <param name="rows">Queries.</param>
    /// <param name="columns">Keys; at least offset + rows.</param>
    /// <param name="offset">Target column of row 0.</param>
    /// <param name="scale">s.</param>
    /// <param name="labelSmoothing">eps.</param>
    /// <param name="bias">b, rows values; null: 0.</param>
    /// <param name="columnScale">r, columns values; null: 1.</param>
    public static ContrastiveLossCpu Begin(
        Workspace workspace, int rows, int columns, int offset, double scale, double labelSmoothing, double* bias, float* columnScale)
    {
        int padded = LogitTile.Pad(columns);
        ContrastiveLossCpu loss = new()
        {
            Rows = rows,
            Columns = columns,
            TargetOffset = offset,
            Scale = (float)scale,
            Excluded = (float)(-256.0 - (4.0 * scale)),
            LabelSmoothing = (float)labelSmoothing,
            RowBias = bias == null ? null : workspace.Floats(rows),
            ColumnScale = workspace.Floats(padded),
            Target = workspace.Floats(LogitTile.Pad(rows)),
            RowMax = workspace.Floats(rows),
            RowSum = workspace.Floats(rows),
            RowMiss = workspace.Floats(rows),
            ColumnMax = workspace.Floats(padded),
            ColumnSum = workspace.Floats(padded),
            ColumnMiss = workspace.Floats(padded),
            RowTotal = workspace.Doubles(rows),
            RowSumOfGradient = workspace.Floats(2, rows),
            RowScaleGradient = workspace.Doubles(rows),
        };
        for (int i = 0; bias != null && i < rows; i++)
        {
            loss.RowBias[i] = (float)(scale * bias[i]);
        }

        Span<float> r = new(loss.ColumnScale, padded);
        if (columnScale == null)
        {
            r.Fill(1.0f);
        }
        else
        {
            new ReadOnlySpan<float>(columnScale, columns).CopyTo(r);
        }

        r[columns..].Clear();
        new Span<float>(loss.Target, LogitTile.Pad(rows)).Clear();
        new Span<float>(loss.RowMax, rows).Fill(float.NegativeInfinity);
        new Span<float>(loss.RowSum, rows).Clear();
        new Span<double>(loss.RowTotal, rows).Clear();
        new Span<float>(loss.RowSumOfGradient, 2 * rows).Clear();
        new Span<double>(loss.RowScaleGradient, rows).Clear();
        new Span<float>(loss.ColumnMax, padded).Fill(float.NegativeInfinity);
        new Span<float>(loss.ColumnSum, padded).Clear();
        return loss;
    }

    /// <summary>Turns a tile of products into logits and adds it to the statistics of its rows and, if asked, its columns.</summary>
    public readonly void Accumulate(WorkerPool pool, LogitTile tile, bool columnDirection)
    {
        ToLogits(pool, tile, count: true);
        Reduce work = new() { Loss = this, Tile = tile };
        int columnTasks = columnDirection ? RowBlocks.CeilDiv(tile.PaddedColumns, ColumnChunk) : 0;
        pool.Run(ref work, RowBlocks.Count(tile.Rows, tile.Columns) + columnTasks);
    }

    /// <summary>Turns a tile of products into logits; a recomputed tile is not counted again.</summary>
    public readonly void ToLogits(WorkerPool pool, LogitTile tile, bool count)
    {
        Transform work = new() { Loss = this, Tile = tile, Count = count };
        pool.Run(ref work, RowBlocks.Count(tile.Rows, tile.Columns));
    }

    /// <summary>After the last tile: the mean cross entropy of the rows, and of the columns (0 if they were not counted).</summary>
    public readonly (double Rows, double Columns) Finish(bool columnDirection)
    {
        double rowLoss = 0.0;
        double targets = 0.0;
        double total = 0.0;
        for (int i = 0; i < Rows; i++)
        {
            rowLoss += Close(Target[i], ref RowMax[i], ref RowSum[i], out RowMiss[i]);
            targets += Target[i];
            total += RowTotal[i];
        }

        double smoothing = LabelSmoothing * ((targets / Rows) - (total / ((double)Rows * Columns)));
        if (!columnDirection)
        {
            return ((rowLoss / Rows) + smoothing, 0.0);
        }

        double columnLoss = 0.0;
        for (int j = 0; j < Columns; j++)
        {
            columnLoss += Close(Target[j - TargetOffset], ref ColumnMax[j], ref ColumnSum[j], out ColumnMiss[j]);
        }

        new Span<float>(ColumnSum, LogitTile.Pad(Columns))[Columns..].Clear();
        return ((rowLoss / Rows) + smoothing, (columnLoss / Columns) + smoothing);
    }

    /// <summary>Replaces a tile's logits by D_ij r_j, or by its row part, with the column part in a second tile.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="tile">Logits; the targets may still be excluded.</param>
    /// <param name="columnPart">Same layout as the tile; null: the tile receives the sum of both parts.</param>
    public readonly void Gradient(WorkerPool pool, LogitTile tile, float* columnPart)
    {
        Differentiate work = new() { Loss = this, Tile = tile, ColumnPart = columnPart };
        pool.Run(ref work, RowBlocks.Count(tile.Rows, tile.Columns));
    }

    /// <summary>dL/d ln s, once all tiles have been differentiated.</summary>
    public readonly double ScaleGradient() => TensorPrimitives.Sum<double>(new ReadOnlySpan<double>(RowScaleGradient, Rows));

    // Brings the target back in. Returns logsumexp - target; sum becomes the inverse of the whole sum, miss the share of the others.
    private static double Close(float target, ref float max, ref float sum, out float miss)
    {
        float largest = MathF.Max(max, target);
        double others = sum * Math.Exp((double)max - largest);
        double all = others + Math.Exp((double)target - largest);
        max = largest;
        sum = (float)(1.0 / all);
        miss = (float)(others / all);
        return largest == target ? double.LogP1(others) : (double)largest - target + Math.Log(all);
    }

    private readonly int TargetColumn(int row, LogitTile tile)
    {
        int column = TargetOffset + row - tile.FirstColumn;
        return column >= 0 && column < tile.Columns ? column : -1;
    }

    private struct Transform : IParallelWork
    {
        public ContrastiveLossCpu Loss;
        public LogitTile Tile;
        public bool Count;

        public readonly void Run(int task, int thread)
        {
            (int from, int to) = RowBlocks.Range(task, Tile.Rows, Tile.Columns);
            for (int k = from; k < to; k++)
            {
                float* logits = Tile.Pointer + (k * Tile.Stride);
                int row = Tile.FirstRow + k;
                float bias = Loss.RowBias == null ? 0.0f : Loss.RowBias[row];
                float* r = Loss.ColumnScale + Tile.FirstColumn;
                double total = Vector512.IsHardwareAccelerated ? ContrastiveLanes<Lanes512>.Logits(logits, r, Tile.Columns, Loss.Scale, bias)
                    : Vector256.IsHardwareAccelerated ? ContrastiveLanes<Lanes256>.Logits(logits, r, Tile.Columns, Loss.Scale, bias)
                    : ContrastiveLanes<Lanes128>.Logits(logits, r, Tile.Columns, Loss.Scale, bias);
                new Span<float>(logits + Tile.Columns, Tile.PaddedColumns - Tile.Columns).Fill(Loss.Excluded);
                if (Count)
                {
                    Loss.RowTotal[row] += total;
                    int target = Loss.TargetColumn(row, Tile);
                    if (target >= 0)
                    {
                        Loss.Target[row] = logits[target];
                        logits[target] = Loss.Excluded;
                    }
                }
            }
        }
    }

    private struct Reduce : IParallelWork
    {
        public ContrastiveLossCpu Loss;
        public LogitTile Tile;

        public readonly void Run(int task, int thread)
        {
            int rowTasks = RowBlocks.Count(Tile.Rows, Tile.Columns);
            if (task >= rowTasks)
            {
                int first = (task - rowTasks) * ColumnChunk;
                int count = Math.Min(ColumnChunk, Tile.PaddedColumns - first);
                float* max = Loss.ColumnMax + Tile.FirstColumn + first;
                float* sum = Loss.ColumnSum + Tile.FirstColumn + first;
                if (Vector512.IsHardwareAccelerated)
                {
                    ContrastiveLanes<Lanes512>.ColumnSums(Tile.Pointer + first, Tile.Stride, Tile.Rows, count, max, sum);
                }
                else if (Vector256.IsHardwareAccelerated)
                {
                    ContrastiveLanes<Lanes256>.ColumnSums(Tile.Pointer + first, Tile.Stride, Tile.Rows, count, max, sum);
                }
                else
                {
                    ContrastiveLanes<Lanes128>.ColumnSums(Tile.Pointer + first, Tile.Stride, Tile.Rows, count, max, sum);
                }

                return;
            }

            (int from, int to) = RowBlocks.Range(task, Tile.Rows, Tile.Columns);
            for (int k = from; k < to; k++)
            {
                float* logits = Tile.Pointer + (k * Tile.Stride);
                ref float max = ref Loss.RowMax[Tile.FirstRow + k];
                ref float sum = ref Loss.RowSum[Tile.FirstRow + k];
                if (Vector512.IsHardwareAccelerated)
                {
                    ContrastiveLanes<Lanes512>.RowSum(logits, Tile.PaddedColumns, ref max, ref sum);
                }
                else if (Vector256.IsHardwareAccelerated)
                {
                    ContrastiveLanes<Lanes256>.RowSum(logits, Tile.PaddedColumns, ref max, ref sum);
                }
                else
                {
                    ContrastiveLanes<Lanes128>.RowSum(logits, Tile.PaddedColumns, ref max, ref sum);
                }
            }
        }
    }

    private struct Differentiate : IParallelWork
    {
        public ContrastiveLossCpu Loss;
        public LogitTile Tile;
        public float* ColumnPart;

        public readonly void Run(int task, int thread)
        {
            (int from, int to) = RowBlocks.Range(task, Tile.Rows, Tile.Columns);
            for (int k = from; k < to; k++)
            {
                int row = Tile.FirstRow + k;
                float* logits = Tile.Pointer + (k * Tile.Stride);
                float* second = ColumnPart == null ? null : ColumnPart + (k * Tile.Stride);
                int target = Loss.TargetColumn(row, Tile);
                if (target >= 0)
                {
                    logits[target] = Loss.Target[row];
                }

                if (Vector512.IsHardwareAccelerated)
                {
                    ContrastiveLanes<Lanes512>.Gradient(in Loss, row, Tile.FirstColumn, Tile.PaddedColumns, target, logits, second);
                }
                else if (Vector256.IsHardwareAccelerated)
                {
                    ContrastiveLanes<Lanes256>.Gradient(in Loss, row, Tile.FirstColumn, Tile.PaddedColumns, target, logits, second);
                }
                else
                {
                    ContrastiveLanes<Lanes128>.Gradient(in Loss, row, Tile.FirstColumn, Tile.PaddedColumns, target, logits, second);
                }
            }
        }
    }
}
