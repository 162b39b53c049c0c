// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// The smaller symmetric product of the centred batch.  N <= d: K = X X^T;  N > d: C = X^T X      HiMo-CLIP (arXiv:2511.06653), equation 1
// Shapes     X: N x d; result n x n with n = min(N, d), not divided by N - 1; its lower triangle.
// Precision  float32 products of X as BatchMean rounds it; half the multiplications by symmetry.
// Determinism  as Gemm: independent of the number of threads.
internal static unsafe class CenteredGramCpu
{
    public static void Forward(WorkerPool pool, float* centered, int rows, int columns, GramSide side, float* gram)
    {
        if (side == GramSide.Gram)
        {
            Gemm.Multiply(pool, rows, rows, columns, 1.0f, centered, columns, 1, centered, 1, columns, 0.0f, gram, rows, GemmTriangle.Lower);
        }
        else
        {
            Gemm.Multiply(pool, columns, columns, rows, 1.0f, centered, 1, columns, centered, columns, 1, 0.0f, gram, columns, GemmTriangle.Lower);
        }
    }
}
