// SPDX-License-Identifier: Apache-2.0
// InfoNCE on factors, backward: a strip of rows at a time, D is computed again from the logits and used twice.
//            dQ = D K,  dK = D^T Q,  both over s unless asked for                                                                     HiMo-CLIP (arXiv:2511.06653)
// Words      of ILGPU: at the head of ContrastiveLoss.Gpu.Statistics.cs.
// Shapes     Q: B x w, K: N x w, D: at most StripRows x N at a time, so that memory is O(N).
// Mapping    three launches of GpuGemm a strip, each for all branches: D, dQ of the strip, and dK, to which every strip adds. 8 B N w operations in
//            all, the two passes together: nothing is multiplied twice but the logits.
// Precision  products as TPrecision says, D float32.
// Determinism  strips come in order and every element belongs to one thread of a launch: no atomics.
// Limits     without gatherWithGrad the row part and the column part of D are kept apart: two strips.
using ILGPU;
using ILGPU.Algorithms;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Receives a strip of logits and stores D or its parts: one matrix a branch and part.</summary>
internal struct GradientStrip : IGemmResult, IGemmOperand
{
    public BranchStatistics Statistics;
    public ArrayView<float> Data;

    /// <summary>First row of the strip.</summary>
    public int FirstRow;

    /// <summary>Rows that the memory holds.</summary>
    public int StripRows;

    /// <summary>1: D; 2: row part, then column part.</summary>
    public int Parts;

    /// <summary>Number of branches; as an operand a group beyond them is the last branch's column part.</summary>
    public int Branches;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => true;

    /// <inheritdoc/>
    public void Select(int group) => SelectMatrix(group < Branches ? Parts * group : (Parts * Branches) - 1);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row) => Statistics.Scale;

    /// <inheritdoc/>
    public readonly void SelectResult(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded)
    {
        float logit = Rounding.Product(rowValue, value);
        float rowPart = Statistics.RowPart(group, FirstRow + row, column, logit);
        float columnPart = Statistics.ColumnPart(group, FirstRow + row, column, logit);
        if (Parts == 1)
        {
            Data[Index(group, row, column)] = rowPart + columnPart;
        }
        else
        {
            Data[Index(2 * group, row, column)] = rowPart;
            Data[Index((2 * group) + 1, row, column)] = columnPart;
        }
    }

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Data[MatrixIndex.Of(outer, Statistics.Columns, depth)];

    /// <summary>Leaves one of the strip's matrices.</summary>
    public void SelectMatrix(int matrix) => Data = Data.SubView(Index(matrix, 0, 0), (long)StripRows * Statistics.Columns);

    /// <summary>Where an element of one of the strip's matrices is.</summary>
    public readonly long Index(int matrix, int row, int column) => ((long)matrix * StripRows * Statistics.Columns) + MatrixIndex.Of(row, Statistics.Columns, column);
}

/// <summary>D^T, or the column part's: outer index column of D, depth its row.</summary>
internal struct TransposedStrip : IGemmOperand
{
    public GradientStrip Strip;

    /// <inheritdoc/>
    public readonly bool IsDepthContiguous => false;

    /// <inheritdoc/>
    public void Select(int group) => Strip.SelectMatrix((Strip.Parts * group) + Strip.Parts - 1);

    /// <inheritdoc/>
    public readonly float Finish(float value, int outer, int depth) => value;

    /// <inheritdoc/>
    public readonly float Load(int outer, int depth) => Strip.Load(depth, outer);
}

/// <summary>Receives dQ or dK of each branch, and of the last branch's column part where that is asked for.</summary>
internal struct FactorGradient : IGemmResult
{
    public ArrayView<float> First;
    public ArrayView<float> Second;

    /// <summary>Of the group behind the branches.</summary>
    public ArrayView<float> Extra;
    public int FirstPitch;
    public int SecondPitch;
    public int FirstRow;
    public int Branches;

    /// <summary>1: adds to what is there.</summary>
    public int IsAdded;

    /// <summary>ln s, which multiplies the gradient by s; empty: it stays over s.</summary>
    public ArrayView<float> LogitScale;

    /// <inheritdoc/>
    public readonly float Prepare(int group, int row)
    {
        float scale = 1.0f;
        if (LogitScale.Length > 0)
        {
            scale = XMath.Exp(LogitScale[0]);
        }

        return scale;
    }

    /// <inheritdoc/>
    public readonly void SelectResult(int group)
    {
    }

    /// <inheritdoc/>
    public readonly float Load(int group, int row, int column) => 0.0f;

    /// <inheritdoc/>
    public readonly void Store(int group, int row, int column, float value, float rowValue, float loaded)
    {
        if (group == Branches)
        {
            Extra[((long)(FirstRow + row) * SecondPitch) + column] = rowValue * value;
        }
        else if (group == 0)
        {
            Put(First, ((long)(FirstRow + row) * FirstPitch) + column, rowValue * value);
        }
        else
        {
            Put(Second, ((long)(FirstRow + row) * SecondPitch) + column, rowValue * value);
        }
    }

    private readonly void Put(ArrayView<float> target, long index, float value) => target[index] = IsAdded != 0 ? target[index] + value : value;
}

/// <summary>Both passes over one or two branches.</summary>
internal struct FactorLoss
{
    public LogitPass Pass;
    public GradientStrip Strip;

    /// <summary>Memory of the passes on Hopper's warpgroup instructions, where they are to be used.</summary>
    public PackedLoss Packed;
    public int Branches;

    /// <summary>Largest w.</summary>
    public int Width;

    /// <summary>Receives dQ; its <see cref="FactorGradient.Extra"/> is empty where the column part's is not wanted.</summary>
    public FactorGradient GradQueries;

    /// <summary>Receives dK; empty: not wanted.</summary>
    public FactorGradient GradKeys;
}

/// <summary>Enqueues the passes.</summary>
internal static class ContrastiveFactorsGpu
{
    /// <summary>Both passes in one of the precisions.</summary>
    public static void Run(Gpu gpu, AcceleratorStream stream, in FactorLoss loss, GpuPrecision precision)
    {
        switch (precision)
        {
            case GpuPrecision.Tf32:
                Run<Tf32Precision>(gpu, stream, loss);
                break;
            case GpuPrecision.Bf16 when loss.Packed.StripRows > 0:
                WarpgroupFactorsGpu.Run(gpu, stream, loss);
                break;
            case GpuPrecision.Bf16:
                Run<Bf16Precision>(gpu, stream, loss);
                break;
            case GpuPrecision.Strict when gpu.IsOpenCl:
                Run<PortablePrecision>(gpu, stream, loss);
                break;
            default:
                Run<StrictPrecision>(gpu, stream, loss);
                break;
        }
    }

    private static void Run<TPrecision>(Gpu gpu, AcceleratorStream stream, in FactorLoss loss)
        where TPrecision : struct, IProductPrecision
    {
        Forward<TPrecision>(gpu, stream, loss);
        Backward<TPrecision>(gpu, stream, loss);
    }

    /// <summary>Fills <see cref="BranchStatistics"/>.</summary>
    private static void Forward<TPrecision>(Gpu gpu, AcceleratorStream stream, in FactorLoss loss)
        where TPrecision : struct, IProductPrecision
    {
        LogitPass pass = loss.Pass.WithRegions(LogitPassGpu.Tile);
        gpu.Launch(stream, LogitPassGpu.Kernel<TPrecision>, new Index3D(pass.ColumnRegions, pass.RowRegions, loss.Branches), GpuGemm.Threads, pass);
        LogitPassGpu.Finish(gpu, stream, pass, loss.Branches);
    }

    /// <summary>Fills dQ and dK, over s.</summary>
    private static void Backward<TPrecision>(Gpu gpu, AcceleratorStream stream, in FactorLoss loss)
        where TPrecision : struct, IProductPrecision
    {
        BranchStatistics branches = loss.Pass.Branches;
        int groups = loss.Branches + (loss.GradQueries.Extra.Length > 0 ? 1 : 0);
        for (int first = 0; first < branches.Rows; first += loss.Strip.StripRows)
        {
            int rows = Math.Min(loss.Strip.StripRows, branches.Rows - first);
            GradientStrip strip = loss.Strip with { FirstRow = first, Statistics = branches, Branches = loss.Branches };
            FactorOperand queries = loss.Pass.Queries;
            GpuGemm.Run<ShiftedFactorOperand, FactorOperand, GradientStrip, TPrecision>(gpu, stream, loss.Branches, new()
            {
                A = new() { Factors = queries, FirstRow = first }, B = loss.Pass.Keys, C = strip,
                Rows = rows, Columns = branches.Columns, Depth = loss.Width, DepthLimit = loss.Pass.Depths,
            });
            GpuGemm.Run<GradientStrip, TransposedFactorOperand, FactorGradient, TPrecision>(gpu, stream, groups, new()
            {
                A = strip, B = new() { Factors = loss.Pass.Keys }, C = loss.GradQueries with { FirstRow = first, Branches = loss.Branches },
                Rows = rows, Columns = loss.Width, Depth = branches.Columns, ColumnLimit = loss.Pass.Depths,
            });
            if (loss.GradKeys.First.Length == 0)
            {
                continue; // constants
            }

            GpuGemm.Run<TransposedStrip, TransposedFactorOperand, FactorGradient, TPrecision>(gpu, stream, loss.Branches, new()
            {
                A = new() { Strip = strip }, B = new() { Factors = queries, FirstRow = first },
                C = loss.GradKeys with { Branches = loss.Branches, IsAdded = first > 0 ? 1 : loss.GradKeys.IsAdded },
                Rows = branches.Columns, Columns = loss.Width, Depth = rows, ColumnLimit = loss.Pass.Depths,
            });
        }
    }
}
