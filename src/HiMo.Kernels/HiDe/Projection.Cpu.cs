// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Pieces of the projection on the first m principal directions and of its derivative.      HiMo-CLIP (arXiv:2511.06653), equation 1
//            Sh = W^T (G X^T) W  or  W^T (X^T G) W;   Z_ij = Z_ji = (Sh_ij + Sh_ji) / (2 (lambda_i - lambda_j)) for i <= m < j, else 0
// Only the kept-against-dropped block of Z exists, m x (n - m), so equal eigenvalues on one side of the cut do no harm.
// Limits     lambda_m = lambda_{m+1} leaves the subspace undefined: a pair closer than 2^-22 lambda_1 (the accuracy of float32 eigenvalues),
//            or one whose kept direction is not defined (lambda_i <= 1e-6 lambda_1), contributes nothing: it is held constant.
// Precision  quotients in float64.
internal static unsafe class ProjectionCpu
{
    private const double RelativeTie = 1.0 / (1 << 22);

    /// <summary>In place: Sh_ij + Sh_ji becomes 2 Z_ij.</summary>
    /// <param name="components">Eigenvalues and cut.</param>
    /// <param name="block">m x (n - m).</param>
    public static void Couple(in PrincipalComponents components, float* block)
    {
        double* values = components.WideValues;
        double tie = RelativeTie * values[0];
        int dropped = components.Dropped;
        for (int i = 0; i < components.M; i++)
        {
            Span<float> row = new(block + ((nint)i * dropped), dropped);
            if (i >= components.Cut.Defined)
            {
                row.Clear();
                continue;
            }

            for (int j = 0; j < dropped; j++)
            {
                double difference = values[i] - values[components.M + j];
                row[j] = difference > tie ? (float)(row[j] / difference) : 0.0f;
            }
        }
    }

    /// <summary>E = W_m^T 2Z W_r + its transpose, n x n with its rows n apart: twice W Z W^T.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="workspace">For one product.</param>
    /// <param name="components">Eigenvectors and cut; something is dropped.</param>
    /// <param name="block">2 Z, m x (n - m).</param>
    /// <param name="result">Receives E.</param>
    public static void Spread(WorkerPool pool, Workspace workspace, in PrincipalComponents components, float* block, float* result)
    {
        // Through the smaller of the two index sets; each of the last two products fills one half.
        int n = components.Size;
        int m = components.M;
        int dropped = components.Dropped;
        int inner = Math.Min(m, dropped);
        float* half = workspace.Floats(inner, n);
        float* outer = m <= dropped ? components.Vectors : components.DroppedVectors;
        if (m <= dropped)
        {
            Gemm.Multiply(pool, m, n, dropped, 1.0f, block, dropped, 1, components.DroppedVectors, n, 1, 0.0f, half, n);
        }
        else
        {
            Gemm.Multiply(pool, dropped, n, m, 1.0f, block, 1, dropped, components.Vectors, n, 1, 0.0f, half, n);
        }

        Gemm.Multiply(pool, n, n, inner, 1.0f, outer, 1, n, half, n, 1, 0.0f, result, n, GemmTriangle.Lower);
        Gemm.Multiply(pool, n, n, inner, 1.0f, half, 1, n, outer, n, 1, 1.0f, result, n, GemmTriangle.Lower);
        Gemm.MirrorLower(pool, result, n, n);
    }
}
