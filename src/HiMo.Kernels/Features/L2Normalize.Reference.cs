// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// Row normalisation.  y[i,:] = x[i,:] / max(|x[i,:]|, 1e-12)      torch's normalize; HiMo-CLIP (arXiv:2511.06653), features before HiDe
// Backward            dx[i,:] = (dy[i,:] - (dy[i,:] . y[i,:]) y[i,:]) / |x[i,:]|;   0 for a row at the clamp
// Shapes     x, y, dx, dy: N x d.
// Precision  float64; the row's largest magnitude is taken out before squaring, so no row over- or underflows.
internal static class L2NormalizeReference
{
    public const double MinNorm = 1e-12;

    public static ReferenceMatrix Forward(ReferenceMatrix x)
    {
        ReferenceMatrix y = new(x.Rows, x.Columns);
        for (int i = 0; i < x.Rows; i++)
        {
            (double largest, double root) = Norm(x.Row(i));
            bool clamped = IsClamped(largest, root);
            for (int k = 0; k < x.Columns; k++)
            {
                y[i, k] = clamped ? x[i, k] / MinNorm : x[i, k] / largest / root;
            }
        }

        return y;
    }

    public static ReferenceMatrix Backward(ReferenceMatrix x, ReferenceMatrix y, ReferenceMatrix gradY)
    {
        ReferenceMatrix gradX = new(x.Rows, x.Columns);
        for (int i = 0; i < x.Rows; i++)
        {
            (double largest, double root) = Norm(x.Row(i));
            if (IsClamped(largest, root))
            {
                continue;
            }

            double along = 0.0;
            for (int k = 0; k < x.Columns; k++)
            {
                along += gradY[i, k] * y[i, k];
            }

            for (int k = 0; k < x.Columns; k++)
            {
                gradX[i, k] = (gradY[i, k] - (along * y[i, k])) / largest / root;
            }
        }

        return gradX;
    }

    // |row| = Largest x Root, with Root between 1 and sqrt(d).
    private static (double Largest, double Root) Norm(ReadOnlySpan<double> row)
    {
        double largest = 0.0;
        foreach (double value in row)
        {
            largest = Math.Max(largest, Math.Abs(value));
        }

        if (largest == 0.0)
        {
            return (0.0, 1.0);
        }

        double sum = 0.0;
        foreach (double value in row)
        {
            sum += value / largest * (value / largest);
        }

        return (largest, Math.Sqrt(sum));
    }

    private static bool IsClamped(double largest, double root) => largest * root <= MinNorm;
}
