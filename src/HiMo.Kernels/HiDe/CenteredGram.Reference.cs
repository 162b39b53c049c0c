// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>Which product of the centred batch X (N x d) is decomposed; both have the same non-zero eigenvalues.</summary>
internal enum GramSide
{
    /// <summary>K = X X^T, N x N.</summary>
    Gram,

    /// <summary>C = X^T X, d x d.</summary>
    Covariance,
}

// The smaller symmetric product of the centred batch.  N <= d: K = X X^T;  N > d: C = X^T X      HiMo-CLIP (arXiv:2511.06653), equation 1
// Shapes     X: N x d; result min(N,d) x min(N,d), not divided by N - 1.
// Precision  float64.
internal static class CenteredGramReference
{
    public static GramSide Side(int rows, int columns) => rows <= columns ? GramSide.Gram : GramSide.Covariance;

    public static ReferenceMatrix Forward(ReferenceMatrix centered, GramSide side) =>
        side == GramSide.Gram ? centered * centered.T : centered.T * centered;
}
