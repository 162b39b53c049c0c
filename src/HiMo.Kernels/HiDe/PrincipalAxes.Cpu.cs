// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

/// <summary>The eigensystem of a centred batch and its cut.</summary>
/// <param name="Side">The product that was decomposed.</param>
/// <param name="Size">n = min(N, d).</param>
/// <param name="ValuesAddress">lambda: n values, descending, not negative.</param>
/// <param name="WideValuesAddress">The same in float64; beside a narrow cut more accurate than float32 can hold.</param>
/// <param name="VectorsAddress">W^T: row i is the eigenvector of lambda_i, n x n; on the Gram side with each row's mean taken out.</param>
/// <param name="Cut">m and what belongs to it.</param>
internal readonly unsafe record struct PrincipalComponents(GramSide Side, int Size, nint ValuesAddress, nint WideValuesAddress, nint VectorsAddress, ExplainedRank Cut)
{
    public float* Values => (float*)ValuesAddress;

    public double* WideValues => (double*)WideValuesAddress;

    public float* Vectors => (float*)VectorsAddress;

    public int M => Cut.M;

    public int Dropped => Size - Cut.M;

    /// <summary>The first dropped eigenvector.</summary>
    public float* DroppedVectors => Vectors + ((nint)Cut.M * Size);
}

/// <summary>
/// Principal axes of centred batches: Gram or covariance matrix, eigensystem, rank. Keeps the eigensolver's workspaces of the sizes
/// it has seen.
/// </summary>
internal sealed unsafe class PrincipalAxes(WorkerPool pool) : IDisposable
{
    private const int KeptSolvers = 8;

    private readonly List<(int Size, EigenSymmetric Solver)> _solvers = new(KeptSolvers + 1);

    /// <summary>Eigensystem and cut of a centred batch.</summary>
    /// <param name="workspace">Keeps eigenvalues and eigenvectors.</param>
    /// <param name="temporary">Holds the Gram or covariance matrix, which does not outlive the call.</param>
    /// <param name="batch">X, N x d.</param>
    /// <param name="tau">Share of the variance to keep.</param>
    /// <param name="all">Whether the dropped directions are wanted too; if not, rows of W^T from m on hold anything.</param>
    /// <param name="beside">Work that the other threads do while one reduces the matrix.</param>
    /// <param name="tasks">Its number of tasks.</param>
    public PrincipalComponents Decompose<TBeside>(
        Workspace workspace, Workspace temporary, in CenteredBatch batch, double tau, bool all, TBeside beside, int tasks)
        where TBeside : struct, IParallelWork
    {
        GramSide side = CenteredGramReference.Side(batch.Rows, batch.Columns);
        int size = Math.Min(batch.Rows, batch.Columns);
        float* gram = temporary.Floats(size, size);
        double* refined = temporary.Doubles(CutRefinementCpu.Doubles(batch));
        float* values = workspace.Floats(size);
        double* wide = workspace.Doubles(size);
        float* vectors = workspace.Floats(size, size);
        CenteredGramCpu.Forward(pool, batch.Centered, batch.Rows, batch.Columns, side, gram);
        EigenSymmetric solver = Solver(size);
        solver.FindValues(gram, values, beside, tasks);
        for (int i = 0; i < size; i++)
        {
            wide[i] = values[i] = MathF.Max(values[i], 0.0f);       // negative by rounding only
        }

        ExplainedRank cut = ExplainedRankCpu.Forward(wide, size, tau);
        (int first, int near) = CutRefinementCpu.Range(wide, size, cut);
        int count = all ? size : Math.Max(cut.M, first + near);
        solver.MakeVectors(count, vectors);
        if (near > 0)
        {
            CutRefinementCpu.Refine(pool, batch, side, near, wide + first, vectors + ((nint)first * size), refined);
            cut = ExplainedRankCpu.At(cut.M, cut.Share, wide, size);
            for (int i = first; i < Math.Min(size, first + near + 1); i++)
            {
                values[i] = MathF.Min((float)wide[i], i == 0 ? float.MaxValue : values[i - 1]);       // the neighbours are still float32's
            }
        }

        if (side == GramSide.Gram)
        {
            // H W: X has no mean, so the mean of an eigenvector is rounding, or an arbitrary share in the null space. Without it
            // every product with W is centred, as the backward pass wants it.
            for (int i = 0; i < count; i++)
            {
                Span<float> vector = new(vectors + ((nint)i * size), size);
                TensorPrimitives.Subtract(vector, TensorPrimitives.Sum<float>(vector) / size, vector);
            }
        }

        return new(side, size, (nint)values, (nint)wide, (nint)vectors, cut);
    }

    public void Dispose()
    {
        foreach ((int _, EigenSymmetric solver) in _solvers)
        {
            solver.Dispose();
        }
    }

    private EigenSymmetric Solver(int size)
    {
        for (int i = 0; i < _solvers.Count; i++)
        {
            if (_solvers[i].Size == size)
            {
                return _solvers[i].Solver;
            }
        }

        if (_solvers.Count == KeptSolvers)
        {
            _solvers[0].Solver.Dispose();
            _solvers.RemoveAt(0);
        }

        EigenSymmetric created = new(size, pool);
        _solvers.Add((size, created));
        return created;
    }
}
