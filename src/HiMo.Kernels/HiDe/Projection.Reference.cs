// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// Projection of the centred batch on its first m principal directions.  Y = X P^T P      HiMo-CLIP (arXiv:2511.06653), equation 1
//            Gram side: Q = W_m W_m^T, Y = Q X, P_i = (X^T w_i)^T / sqrt(lambda_i);   covariance side: P = W_m^T
// Backward   dX = Q G (Gram)  or  G P^T P (covariance, and always with the basis stopped); the exact gradient adds
//            Sh = W^T (G X^T) W  or  W^T (X^T G) W,   Z_ij = Z_ji = (Sh_ij + Sh_ji) / (2 (lambda_i - lambda_j)) for i <= m < j, else 0,
//            dX += 2 (W Z W^T) X  or  2 X (W Z W^T)
// Shapes     X, Y, G, dX: N x d; W^T (rows are eigenvectors): n x n, n = N or d.
// Precision  float64. Only kept-against-dropped differences are divided by, so equal eigenvalues on one side of the cut do no harm.
// Limits     lambda_m = lambda_{m+1} leaves the subspace undefined: a pair closer than 1e-13 lambda_1 contributes nothing, that is,
//            the directions of the tie are held constant. A kept direction with lambda_i <= 1e-13 lambda_1 has no row in P, and its
//            pairs fall under the same rule.
internal static class ProjectionReference
{
    public const double RelativeFloor = 1e-13;

    public static ReferenceMatrix Forward(ReferenceMatrix centered, ReferenceMatrix vectors, GramSide side, int m)
    {
        ReferenceMatrix kept = vectors.Top(m);
        return side == GramSide.Gram ? kept.T * (kept * centered) : centered * kept.T * kept;
    }

    /// <summary>The rows of P that are defined: at most m x d, orthonormal.</summary>
    public static ReferenceMatrix Directions(ReferenceMatrix centered, ReferenceMatrix vectors, double[] values, GramSide side, int m)
    {
        int defined = 0;
        while (defined < m && values[defined] > RelativeFloor * values[0])
        {
            defined++;
        }

        ReferenceMatrix kept = vectors.Top(defined);
        if (side == GramSide.Covariance)
        {
            return kept;
        }

        ReferenceMatrix directions = kept * centered;
        for (int i = 0; i < defined; i++)
        {
            TensorPrimitives.Divide(directions.Row(i), Math.Sqrt(values[i]), directions.Row(i));
        }

        return directions;
    }

    public static ReferenceMatrix Backward(
        ReferenceMatrix centered, ReferenceMatrix vectors, double[] values, GramSide side, int m, ReferenceMatrix grad, BasisGradient basis)
    {
        if (basis == BasisGradient.Stopped || side == GramSide.Covariance)
        {
            ReferenceMatrix directions = Directions(centered, vectors, values, side, m);
            ReferenceMatrix throughRows = grad * directions.T * directions;
            return basis == BasisGradient.Stopped
                ? throughRows
                : throughRows + (2.0 * (centered * Coupling(vectors * (centered.T * grad) * vectors.T, vectors, values, m)));
        }

        ReferenceMatrix kept = vectors.Top(m);
        return (kept.T * (kept * grad)) + (2.0 * (Coupling(vectors * (grad * centered.T) * vectors.T, vectors, values, m) * centered));
    }

    // W Z W^T
    private static ReferenceMatrix Coupling(ReferenceMatrix sh, ReferenceMatrix vectors, double[] values, int m)
    {
        ReferenceMatrix z = new(values.Length, values.Length);
        for (int i = 0; i < m; i++)
        {
            for (int j = m; j < values.Length; j++)
            {
                double difference = values[i] - values[j];
                if (difference > RelativeFloor * values[0])
                {
                    z[i, j] = z[j, i] = (sh[i, j] + sh[j, i]) / (2.0 * difference);
                }
            }
        }

        return vectors.T * z * vectors;
    }
}
