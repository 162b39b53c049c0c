// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests;

/// <summary>
/// A batch whose cut falls between two nearly equal eigenvalues: plus and minus each of some texts, the same once more in a space orthogonal to the first,
/// a little moved, so that all eigenvalues come in close pairs; then a random rotation of all features, so that no zero of the construction is left. The other
/// pairs keep away from the cut's: how well float32 knows a vector goes with the distance to those that <see cref="CutRefinementCpu"/> leaves out.
/// </summary>
internal sealed record NarrowCut(int Rows, int Columns, float[] Images, float[] Texts, double Tau)
{
    private const double ImageNoise = 0.7;
    private const double Apart = 0.02;                    // of lambda_1

    /// <summary>Tries seeds until one has the gap, up to a tenth.</summary>
    /// <param name="rows">N, a multiple of 4.</param>
    /// <param name="columns">d, even.</param>
    /// <param name="gap">(lambda_m - lambda_{m+1}) / lambda_1.</param>
    /// <param name="seed">Of texts, images and rotation.</param>
    public static NarrowCut Create(int rows, int columns, double gap, int seed)
    {
        for (int attempt = 0; ; attempt++)
        {
            if (Find(rows, columns, gap, (10_000 * seed) + (10 * attempt)) is { } batch)
            {
                return batch;
            }
        }
    }

    private static NarrowCut? Find(int rows, int columns, double gap, int seed)
    {
        int count = rows / 4;
        int half = columns / 2;
        ReferenceMatrix first = Batch.RandomMatrix(count, half, seed);
        ReferenceMatrix change = Batch.RandomMatrix(count, half, seed + 1);
        ReferenceMatrix random = Batch.RandomMatrix(columns, columns, seed + 2);
        ReferenceMatrix rotation = EigenSymmetricReference.Decompose(random + random.T).Vectors;
        for (int k = 0; k < first.Elements.Length; k++)
        {
            first.Elements[k] *= Math.Pow((k % half) + 1, -0.5);
        }

        int m = (Math.Min(count, half) / 2 * 2) - 1;      // odd: inside a pair
        double amount = gap;
        for (int step = 0; step < 5; step++)              // the gap is nearly linear in the amount
        {
            ReferenceMatrix texts = Mirror(first, change, amount) * rotation;
            double[] values = HiDeReference.Forward(texts, 1.0).Values;
            double ratio = gap * values[0] / (values[m - 1] - values[m]);
            if (ratio is > 0.9 and < 1.1)
            {
                if (Math.Min(values[m - 3] - values[m - 1], values[m] - values[m + 2]) < Apart * values[0])
                {
                    return null;
                }

                ReferenceMatrix images = texts + ((ImageNoise / Math.Sqrt(columns)) * Batch.RandomMatrix(rows, columns, seed + 3));
                double tau = (values.Take(m - 1).Sum() + (0.5 * values[m - 1])) / values.Sum();
                return new(rows, columns, Batch.Single(images.Elements), Batch.Single(texts.Elements), tau);
            }

            amount *= ratio;
        }

        return null;
    }

    private static ReferenceMatrix Mirror(ReferenceMatrix first, ReferenceMatrix change, double amount)
    {
        ReferenceMatrix second = L2NormalizeReference.Forward(first + (amount * change));
        first = L2NormalizeReference.Forward(first);
        ReferenceMatrix texts = new(4 * first.Rows, 2 * first.Columns);
        for (int i = 0; i < first.Rows; i++)
        {
            for (int k = 0; k < first.Columns; k++)
            {
                texts[4 * i, k] = first[i, k];
                texts[(4 * i) + 1, k] = -first[i, k];
                texts[(4 * i) + 2, first.Columns + k] = second[i, k];
                texts[(4 * i) + 3, first.Columns + k] = -second[i, k];
            }
        }

        return texts;
    }
}
