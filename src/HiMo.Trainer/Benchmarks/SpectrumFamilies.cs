// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>Random batches whose text spectra have a given form, alternately wider and taller than they are long.</summary>
internal static class SpectrumFamilies
{
    private const double LogitScale = 2.6593;            // ln(1 / 0.07), where training starts
    private const double ImageNoise = 0.7;
    private const int Small = 32;
    private const int Large = 48;

    private static readonly double[] s_gaps = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6];

    /// <summary>As many batches of every family.</summary>
    /// <param name="each">Batches of a family; there are four.</param>
    public static IEnumerable<AccuracyCase> All(int each)
    {
        foreach (Func<int, AccuracyCase> family in new Func<int, AccuracyCase>[] { PowerLaw, Flat, Clustered, NearTie })
        {
            for (int i = 0; i < each; i++)
            {
                yield return family(i);
            }
        }
    }

    private static AccuracyCase PowerLaw(int index)
    {
        (int rows, int columns, SeededRandom random) = Begin(index, 1);
        double exponent = 0.3 + (1.2 * random.NextDouble());
        double[] texts = new double[rows * columns];
        Fill(texts, i => Math.Pow((i % columns) + 1, -exponent) * Normal(random));
        return Finish("power law", index, rows, columns, texts, 0.9, random);
    }

    private static AccuracyCase Flat(int index)
    {
        (int rows, int columns, SeededRandom random) = Begin(index, 2);
        double[] texts = new double[rows * columns];
        Fill(texts, _ => Normal(random));
        return Finish("flat", index, rows, columns, texts, 0.9, random);
    }

    // Texts about a few topics: each a random direction, and noise.
    private static AccuracyCase Clustered(int index)
    {
        (int rows, int columns, SeededRandom random) = Begin(index, 3);
        int topics = random.Next(4, 9);
        double noise = 0.05 + (0.25 * random.NextDouble());
        double[] directions = new double[topics * columns], texts = new double[rows * columns];
        Fill(directions, _ => Normal(random));
        Fill(texts, i => directions[(i / columns % topics * columns) + (i % columns)] + (noise * Normal(random)));
        return Finish("clustered", index, rows, columns, texts, 0.9, random);
    }

    // Two sets of texts in orthogonal halves of the space, plus and minus each text, so that the mean is 0 and the spectrum that of both sets:
    // where they are equal every eigenvalue is double. The second set is moved until the pair at the cut is as far apart as wanted.
    private static AccuracyCase NearTie(int index)
    {
        (int rows, int columns, SeededRandom random) = Begin(index, 4);
        int count = rows / 4, half = columns / 2;
        double[] first = new double[count * half], change = new double[count * half];
        Fill(first, i => Math.Pow((i % half) + 1, -0.5) * Normal(random));
        Fill(change, _ => Normal(random));
        double gap = s_gaps[index / 2 % s_gaps.Length];
        int m = (count / 2 * 2) - 1;                     // the cut falls inside a pair
        double low = 1e-9, high = 1.0;
        for (int step = 0; step < 40; step++)
        {
            double middle = Math.Sqrt(low * high);
            double[] spectrum = Spectrum(Mirror(first, change, middle, rows, columns), rows, columns);
            (low, high) = (spectrum[m - 1] - spectrum[m]) / spectrum[0] < gap ? (middle, high) : (low, middle);
        }

        double[] texts = Mirror(first, change, high, rows, columns);
        double[] values = Spectrum(texts, rows, columns);
        double total = values.Sum(), tau = (values.Take(m - 1).Sum() + values.Take(m).Sum()) / (2.0 * total);
        return Finish(FormattableString.Invariant($"near-tie, gap {gap:0e+0}"), index, rows, columns, texts, tau, random);
    }

    private static double[] Mirror(double[] first, double[] change, double amount, int rows, int columns)
    {
        int half = columns / 2;
        double[] texts = new double[rows * columns];
        for (int i = 0; i < rows; i++)
        {
            bool isSecond = i / 2 % 2 == 1;
            double sign = i % 2 == 0 ? 1.0 : -1.0;
            double[] row = [.. Enumerable.Range(0, half).Select(k => first[(i / 4 * half) + k] + (isSecond ? amount * change[(i / 4 * half) + k] : 0.0))];
            double norm = Math.Sqrt(row.Sum(value => value * value));
            for (int k = 0; k < half; k++)
            {
                texts[(i * columns) + (isSecond ? half : 0) + k] = sign * row[k] / norm;
            }
        }

        return texts;
    }

    private static double[] Spectrum(double[] texts, int rows, int columns) =>
        HiDeReference.Forward(L2NormalizeReference.Forward(new ReferenceMatrix(texts, rows, columns)), 1.0).Values;

    private static (int Rows, int Columns, SeededRandom Random) Begin(int index, int family) =>
        index % 2 == 0 ? (Small, Large, new SeededRandom(family, index)) : (Large, Small, new SeededRandom(family, index));

    private static AccuracyCase Finish(string family, int index, int rows, int columns, double[] texts, double tau, SeededRandom random) => new(
        family, $"{family} {index}", rows, columns, [.. texts.Select(value => (float)(value + (ImageNoise * Normal(random) / Math.Sqrt(columns))))],
        [.. texts.Select(value => (float)value)], LogitScale, new MoLoOptions { Tau = tau });

    private static void Fill(double[] values, Func<int, double> value)
    {
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = value(i);
        }
    }

    private static double Normal(SeededRandom random) =>
        Math.Sqrt(-2.0 * Math.Log(1.0 - random.NextDouble())) * Math.Cos(2.0 * Math.PI * random.NextDouble());
}
