// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>One batch through HiDe: what the backward pass needs, and the reconstruction.</summary>
/// <param name="Mean">mu, d.</param>
/// <param name="Centered">X, N x d.</param>
/// <param name="Values">lambda, min(N,d), descending, not negative.</param>
/// <param name="Vectors">W^T: row i is the eigenvector of lambda_i, min(N,d) x min(N,d).</param>
/// <param name="Side">The product that was decomposed.</param>
/// <param name="Result">m, its share of the variance, the gap at the cut.</param>
/// <param name="Components">u' = X P^T P + mu, N x d.</param>
internal sealed record HiDeReferenceState(
    double[] Mean,
    ReferenceMatrix Centered,
    double[] Values,
    ReferenceMatrix Vectors,
    GramSide Side,
    HiDeResult Result,
    ReferenceMatrix Components);

// HiDe: the batch rebuilt from its leading principal components.  u' = X P^T P + 1 mu^T      HiMo-CLIP (arXiv:2511.06653), equation 1
// Backward   dmu = sum_j G_j,  dX by Projection,  dx = dX - mean_rows(dX) + dmu / N
// Shapes     x, u', G, dx: N x d.
// Precision  float64.
internal static class HiDeReference
{
    public static HiDeReferenceState Forward(ReferenceMatrix x, double tau) => Forward(x, tau, CenteredGramReference.Side(x.Rows, x.Columns));

    public static HiDeReferenceState Forward(ReferenceMatrix x, double tau, GramSide side)
    {
        double[] mean = BatchMeanReference.Mean(x);
        ReferenceMatrix centered = BatchMeanReference.Center(x, mean);
        (double[] values, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(CenteredGramReference.Forward(centered, side));
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = Math.Max(values[i], 0.0); // negative by rounding only
        }

        HiDeResult result = ExplainedRankReference.Forward(values, tau, x.Rows, x.Columns);
        ReferenceMatrix components = BatchMeanReference.AddMean(ProjectionReference.Forward(centered, vectors, side, result.M), mean);
        return new(mean, centered, values, vectors, side, result, components);
    }

    public static ReferenceMatrix Backward(HiDeReferenceState state, ReferenceMatrix gradComponents, BasisGradient basis)
    {
        ReferenceMatrix gradCentered = ProjectionReference.Backward(
            state.Centered, state.Vectors, state.Values, state.Side, state.Result.M, gradComponents, basis);
        return BatchMeanReference.Backward(gradCentered, BatchMeanReference.Sum(gradComponents));
    }
}
