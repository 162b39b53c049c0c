// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// HiDe with explicit N x d results: the batch rebuilt from its leading principal components, and the way back.
//            u' = X P^T P + 1 mu^T      HiMo-CLIP (arXiv:2511.06653), equation 1
//            N <= d:  X P^T P = W_m^T (W_m X)      N > d:  (X W_m^T) W_m      (rows of W are eigenvectors)
// Backward   dmu = sum_j G_j,  dX by Projection,  dx = dX - mean_rows(dX) + dmu / N
// Shapes     x, u', G, dx: N x d.
// Precision  mean and centring float64, the rest float32.
// Determinism  independent of the number of threads.
internal unsafe struct HiDeGroup
{
    public CenteredBatch Batch;        // its source is read until Forward is done
    public PrincipalComponents Components;

    private readonly int Rows => Batch.Rows;

    private readonly int Columns => Batch.Columns;

    private readonly float* Centered => Batch.Centered;

    /// <summary>Takes memory for the state that Backward needs, and centres the batch.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="workspace">Gives the memory.</param>
    /// <param name="source">N x d.</param>
    /// <param name="rows">N.</param>
    /// <param name="columns">d.</param>
    /// <param name="inverse">N factors that make unit rows of the source; null: the source is used as it is.</param>
    public static HiDeGroup Center(WorkerPool pool, Workspace workspace, float* source, int rows, int columns, double* inverse)
    {
        CenteredBatch batch = new()
        {
            Source = source, Inverse = inverse, Mean = workspace.Doubles(columns), Centered = workspace.Floats(rows, columns), Rows = rows, Columns = columns,
        };
        BatchMeanCpu.Forward(pool, batch);
        return new() { Batch = batch };
    }

    /// <summary>u' of a centred batch.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="workspace">Keeps what Backward needs.</param>
    /// <param name="temporary">Memory that is free after the call.</param>
    /// <param name="axes">The eigensolver.</param>
    /// <param name="tau">Share of the variance to keep.</param>
    /// <param name="exact">Whether Backward will move the basis.</param>
    /// <param name="reconstruction">Receives u', N x d.</param>
    public void Forward(WorkerPool pool, Workspace workspace, Workspace temporary, PrincipalAxes axes, double tau, bool exact, float* reconstruction)
    {
        Components = axes.Decompose(workspace, temporary, Batch, tau, exact, default(NoWork), 0);
        Project(pool, temporary, Centered, Components.M, reconstruction);
        Span<float> mean = new(temporary.Floats(Columns), Columns);
        TensorPrimitives.ConvertTruncating(new ReadOnlySpan<double>(Batch.Mean, Columns), mean);
        for (int i = 0; i < Rows; i++)
        {
            Span<float> row = new(reconstruction + ((nint)i * Columns), Columns);
            TensorPrimitives.Add(row, mean, row);
        }
    }

    /// <summary>Adds to the unit rows' gradient what reaches them through u', up to the constant row that is returned.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="workspace">For the products.</param>
    /// <param name="grad">G, N x d.</param>
    /// <param name="basis">Whether the basis moves.</param>
    /// <param name="beta">1: added to <paramref name="gradUnit"/>; 0: written.</param>
    /// <param name="gradUnit">dx but for the constant.</param>
    /// <returns>d values that belong to every row of dx.</returns>
    public double* Backward(WorkerPool pool, Workspace workspace, float* grad, BasisGradient basis, float beta, float* gradUnit)
    {
        double* constant = workspace.Doubles(Columns);
        BatchMeanCpu.WeightedSum(pool, grad, Rows, Columns, null, 1.0 / Rows, constant);
        float* dx = beta == 0.0f ? gradUnit : workspace.Floats(Rows, Columns);
        bool exact = basis == BasisGradient.Exact;
        if (Components.Side == GramSide.Gram && !exact)
        {
            ProjectRows(pool, workspace, grad, dx);
        }
        else
        {
            Project(pool, workspace, grad, Components.Side == GramSide.Gram ? Components.M : Components.Cut.Defined, dx);
        }

        if (exact && Components.Dropped > 0)
        {
            AddBasisGradient(pool, workspace, grad, dx);
        }

        double* mean = workspace.Doubles(Columns);
        BatchMeanCpu.WeightedSum(pool, dx, Rows, Columns, null, 1.0 / Rows, mean);
        for (int k = 0; k < Columns; k++)
        {
            constant[k] -= mean[k];
        }

        for (int i = 0; beta != 0.0f && i < Rows; i++)
        {
            Span<float> row = new(gradUnit + ((nint)i * Columns), Columns);
            TensorPrimitives.Add(row, new ReadOnlySpan<float>(dx + ((nint)i * Columns), Columns), row);
        }

        return constant;
    }

    // a += a^T
    private static void Symmetrize(float* a, int n)
    {
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j <= i; j++)
            {
                a[((nint)i * n) + j] = a[((nint)j * n) + i] = a[((nint)i * n) + j] + a[((nint)j * n) + i];
            }
        }
    }

    // Q y (Gram side) or y P^T P (covariance side), with the first m eigenvectors
    private readonly void Project(WorkerPool pool, Workspace workspace, float* y, int m, float* result)
    {
        if (m == 0)
        {
            new Span<float>(result, checked(Rows * Columns)).Clear();
        }
        else if (Components.Side == GramSide.Gram && 2 * m > Rows)
        {
            float* q = workspace.Floats(Rows, Rows);
            Gemm.Multiply(pool, Rows, Rows, m, 1.0f, Components.Vectors, 1, Rows, Components.Vectors, Rows, 1, 0.0f, q, Rows, GemmTriangle.Lower);
            Gemm.MirrorLower(pool, q, Rows, Rows);
            Gemm.Multiply(pool, Rows, Columns, Rows, 1.0f, q, Rows, 1, y, Columns, 1, 0.0f, result, Columns);
        }
        else if (Components.Side == GramSide.Gram)
        {
            float* inner = workspace.Floats(m, Columns);
            Gemm.Multiply(pool, m, Columns, Rows, 1.0f, Components.Vectors, Rows, 1, y, Columns, 1, 0.0f, inner, Columns);
            Gemm.Multiply(pool, Rows, Columns, m, 1.0f, Components.Vectors, 1, Rows, inner, Columns, 1, 0.0f, result, Columns);
        }
        else
        {
            float* inner = workspace.Floats(Rows, m);
            Gemm.Multiply(pool, Rows, m, Columns, 1.0f, y, Columns, 1, Components.Vectors, 1, Columns, 0.0f, inner, m);
            Gemm.Multiply(pool, Rows, Columns, m, 1.0f, inner, m, 1, Components.Vectors, Columns, 1, 0.0f, result, Columns);
        }
    }

    // y P^T P on the Gram side: P_k = w_k X / sqrt(lambda_k) for the directions that are defined
    private readonly void ProjectRows(WorkerPool pool, Workspace workspace, float* y, float* result)
    {
        int defined = Components.Cut.Defined;
        if (defined == 0)
        {
            new Span<float>(result, checked(Rows * Columns)).Clear();
            return;
        }

        float* directions = workspace.Floats(defined, Columns);
        float* inner = workspace.Floats(Rows, defined);
        Gemm.Multiply(pool, defined, Columns, Rows, 1.0f, Components.Vectors, Rows, 1, Centered, Columns, 1, 0.0f, directions, Columns);
        for (int k = 0; k < defined; k++)
        {
            Span<float> row = new(directions + ((nint)k * Columns), Columns);
            TensorPrimitives.Divide(row, MathF.Sqrt(Components.Values[k]), row);
        }

        Gemm.Multiply(pool, Rows, defined, Columns, 1.0f, y, Columns, 1, directions, 1, Columns, 0.0f, inner, defined);
        Gemm.Multiply(pool, Rows, Columns, defined, 1.0f, inner, defined, 1, directions, Columns, 1, 0.0f, result, Columns);
    }

    // 2 (W Z W^T) X on the Gram side, 2 X (W Z W^T) on the covariance side
    private readonly void AddBasisGradient(WorkerPool pool, Workspace workspace, float* grad, float* dx)
    {
        int m = Components.M;
        int dropped = Components.Dropped;
        int size = Components.Size;
        float* w = Components.Vectors;
        float* block = workspace.Floats(m, dropped);
        if (Components.Side == GramSide.Gram)
        {
            // Sh + Sh^T = W (G X^T + X G^T) W^T: one product as wide as d, and another for the result.
            float* gx = workspace.Floats(size, size);
            float* along = workspace.Floats(m, size);
            Gemm.Multiply(pool, size, size, Columns, 1.0f, grad, Columns, 1, Centered, 1, Columns, 0.0f, gx, size);
            Symmetrize(gx, size);
            Gemm.Multiply(pool, m, size, size, 1.0f, w, size, 1, gx, size, 1, 0.0f, along, size);
            Gemm.Multiply(pool, m, dropped, size, 1.0f, along, size, 1, Components.DroppedVectors, 1, size, 0.0f, block, dropped);
            ProjectionCpu.Couple(Components, block);
            ProjectionCpu.Spread(pool, workspace, Components, block, gx);
            Gemm.Multiply(pool, Rows, Columns, size, 1.0f, gx, size, 1, Centered, Columns, 1, 1.0f, dx, Columns);
        }
        else
        {
            // Sh = (X W)^T (G W)
            float* xw = workspace.Floats(Rows, size);
            float* gw = workspace.Floats(Rows, size);
            Gemm.Multiply(pool, Rows, size, Columns, 1.0f, Centered, Columns, 1, w, 1, size, 0.0f, xw, size);
            Gemm.Multiply(pool, Rows, size, Columns, 1.0f, grad, Columns, 1, w, 1, size, 0.0f, gw, size);
            Gemm.Multiply(pool, m, dropped, Rows, 1.0f, xw, 1, size, gw + m, size, 1, 0.0f, block, dropped);
            Gemm.Multiply(pool, m, dropped, Rows, 1.0f, gw, 1, size, xw + m, size, 1, 1.0f, block, dropped);
            ProjectionCpu.Couple(Components, block);

            // (X W_r) Z^T W_m^T + (X W_m) Z W_r^T; gw is free again
            Gemm.Multiply(pool, Rows, m, dropped, 1.0f, xw + m, size, 1, block, 1, dropped, 0.0f, gw, size);
            Gemm.Multiply(pool, Rows, dropped, m, 1.0f, xw, size, 1, block, dropped, 1, 0.0f, gw + m, size);
            Gemm.Multiply(pool, Rows, Columns, size, 1.0f, gw, size, 1, w, size, 1, 1.0f, dx, Columns);
        }
    }
}
