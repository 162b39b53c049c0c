// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests;

/// <summary>
/// A random batch whose spectrum falls like a power law, images near their texts. Seeds are tried in order until the relative gap
/// at the cut is at least a thousandth on both sides, so that small perturbations keep m and the subspace.
/// </summary>
internal sealed class Batch
{
    private const double MinGap = 1e-3;

    private Batch(int rows, int columns, int seed)
    {
        Rows = rows;
        Columns = columns;
        Random random = new(seed);
        Texts = new ReferenceMatrix(rows, columns);
        Images = new ReferenceMatrix(rows, columns);
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
            {
                double size = Math.Pow(j + 1, -0.6);
                Texts[i, j] = size * Normal(random);
                Images[i, j] = (0.7 * Texts[i, j]) + (size * Normal(random));
            }
        }
    }

    public int Rows { get; }

    public int Columns { get; }

    public ReferenceMatrix Images { get; }

    public ReferenceMatrix Texts { get; }

    public float[] SingleImages => Single(Images.Elements);

    public float[] SingleTexts => Single(Texts.Elements);

    public static Batch Create(int rows, int columns, int seed = 1, double tau = 0.9)
    {
        for (int attempt = 0; ; attempt++)
        {
            Batch batch = new(rows, columns, (seed * 1000) + attempt);
            if (Gap(batch.Images, tau) >= MinGap && Gap(batch.Texts, tau) >= MinGap)
            {
                return batch;
            }
        }
    }

    public static double Normal(Random random) =>
        Math.Sqrt(-2.0 * Math.Log(1.0 - random.NextDouble())) * Math.Cos(2.0 * Math.PI * random.NextDouble());

    public static ReferenceMatrix RandomMatrix(int rows, int columns, int seed)
    {
        Random random = new(seed);
        return new ReferenceMatrix([.. Enumerable.Range(0, rows * columns).Select(_ => Normal(random))], rows, columns);
    }

    public static float[] Single(double[] values) => [.. values.Select(value => (float)value)];

    public static double[] Widen(float[] values) => [.. values.Select(value => (double)value)];

    private static double Gap(ReferenceMatrix features, double tau) =>
        HiDeReference.Forward(L2NormalizeReference.Forward(features), tau).Result.RelativeGap;
}
