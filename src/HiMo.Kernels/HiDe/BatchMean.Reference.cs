// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// Batch mean and centring.  mu = (1/N) sum_i x_i,  X = x - 1 mu^T      HiMo-CLIP (arXiv:2511.06653), equation 1
// Backward                  dx = dX - (1/N) 1 1^T dX + (1/N) 1 dmu^T
// Shapes     x, X: N x d; mu: d.
// Precision  float64, rows summed in order.
internal static class BatchMeanReference
{
    public static double[] Mean(ReferenceMatrix x)
    {
        double[] mean = Sum(x);
        TensorPrimitives.Divide(mean, x.Rows, mean);
        return mean;
    }

    public static ReferenceMatrix Center(ReferenceMatrix x, double[] mean)
    {
        ReferenceMatrix centered = new(x.Rows, x.Columns);
        for (int i = 0; i < x.Rows; i++)
        {
            TensorPrimitives.Subtract<double>(x.Row(i), mean, centered.Row(i));
        }

        return centered;
    }

    public static ReferenceMatrix AddMean(ReferenceMatrix centered, double[] mean)
    {
        ReferenceMatrix sum = new(centered.Rows, centered.Columns);
        for (int i = 0; i < centered.Rows; i++)
        {
            TensorPrimitives.Add<double>(centered.Row(i), mean, sum.Row(i));
        }

        return sum;
    }

    public static ReferenceMatrix Backward(ReferenceMatrix gradCentered, double[] gradMean)
    {
        double[] perRow = Sum(gradCentered);
        TensorPrimitives.Subtract<double>(gradMean, perRow, perRow);
        TensorPrimitives.Divide(perRow, gradCentered.Rows, perRow);
        return AddMean(gradCentered, perRow);
    }

    /// <summary>Sum of the rows.</summary>
    public static double[] Sum(ReferenceMatrix x)
    {
        double[] sum = new double[x.Columns];
        for (int i = 0; i < x.Rows; i++)
        {
            TensorPrimitives.Add<double>(sum, x.Row(i), sum);
        }

        return sum;
    }
}
