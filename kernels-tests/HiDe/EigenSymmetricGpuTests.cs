// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class EigenSymmetricGpuTests
{
    // Of the reduction in registers: eight warps of rows, the reflectors', and one that only comes to barriers.
    private const int MostEmulatedThreads = 10 * Gpu.WarpSize;

    private Gpu _gpu = null!;
    private Gpu _chip = null!;
    private Gpu _cluster = null!;
    private Gpu _wide = null!;

    [OneTimeSetUp]
    public void Open()
    {
        _gpu = TestGpu.Open(warps: 2);
        _wide = TestGpu.IsReal ? _gpu : Gpu.OpenEmulated(warps: 16);
        _chip = TestGpu.IsReal ? _gpu : Gpu.OpenEmulated(warps: 1, multiprocessors: 2);
        _cluster = TestGpu.IsReal ? _gpu : Gpu.OpenEmulated(warps: 2, multiprocessors: 2, mostOfCluster: 2);
    }

    [OneTimeTearDown]
    public void Close()
    {
        _gpu.Dispose();
        _chip.Dispose();
        _wide.Dispose();
        _cluster.Dispose();
    }

    private static IEnumerable<TestCaseData> Batches()
    {
        foreach ((int n, int d) in new[] { (1, 3), (2, 5), (3, 3), (4, 9), (9, 16), (33, 40) })
        {
            yield return new TestCaseData(n, Random(n, d, 1.0f)).SetArgDisplayNames($"random {n} x {d}");
        }

        yield return new TestCaseData(8, Random(8, 16, 1e-6f)).SetArgDisplayNames("nearly equal rows");
        yield return new TestCaseData(8, Enumerable.Repeat(new[] { 0.6f, 0.8f, 0.0f, 0.0f }, 8).SelectMany(row => row).ToArray()).SetArgDisplayNames("equal rows");
        yield return new TestCaseData(8, Enumerable.Range(0, 64).Select(i => i % 9 == 0 ? 1.0f : 0.0f).ToArray()).SetArgDisplayNames("orthogonal rows: one eigenvalue, seven times");
        yield return new TestCaseData(9, Random(3, 12, 1.0f).Chunk(12).SelectMany(row => Enumerable.Repeat(row, 3)).SelectMany(row => row).ToArray()).SetArgDisplayNames("three rows, three times each");
        yield return new TestCaseData(6, Enumerable.Range(0, 6).SelectMany(i => new[] { (float)i, 2.0f * i }).ToArray()).SetArgDisplayNames("rank 1");
    }

    // Sizes that begin in each block of 32, and end within and with one; and columns without a reflector.
    private static IEnumerable<TestCaseData> RegisterBatches()
    {
        int[] sizes = TestGpu.IsReal || TestLength.IsLong ? [1, 2, 3, 6, 31, 32, 33, 64, 65, 96, 97, 127, 128] : [1, 6, 100];
        return sizes.Select(n => new TestCaseData(n, Random(n, n + 7, 1.0f)).SetArgDisplayNames($"random {n} x {n + 7}"))
            .Concat(Batches().Where(each => each.Arguments[0] is 6 or 8));
    }

    [TestCaseSource(nameof(RegisterBatches))]
    public void Decomposes_the_centred_gram_in_registers(int n, float[] rows) => Check(_wide, n, rows, EigenSymmetricGpu.MaxSize);

    // Those, and matrices that fit no registers.
    private static IEnumerable<TestCaseData> GroupBatches()
    {
        int[] wide = TestGpu.IsReal ? [129, 150, EigenSymmetricGpu.MaxSize] : TestLength.IsLong ? [130] : [];
        return Batches().Concat(wide.Select(n => new TestCaseData(n, Random(n, n + 7, 1.0f)).SetArgDisplayNames($"random {n} x {n + 7}")));
    }

    [TestCaseSource(nameof(GroupBatches))]
    public void Decomposes_the_centred_gram_in_one_group(int n, float[] rows) => Check(_gpu, n, rows, EigenSymmetricGpu.MaxSize);

    private static IEnumerable<TestCaseData> LargerBatches()
    {
        // More rows than a group has, more columns than a thread receives at once: what the emulation takes too long for.
        TestCaseData[] large = TestGpu.IsReal ? [.. new[] { (200, 260), (520, 600), (641, 700), (768, 800) }.Select(each => new TestCaseData(each.Item1, Random(each.Item1, each.Item2, 1.0f)).SetArgDisplayNames($"random {each.Item1} x {each.Item2}"))] : [];
        return Batches().Where(each => each.Arguments[0] is > 1).Concat(large);
    }

    // Numbers of rows that a cluster's groups share unevenly, and evenly; of 21 rows of the 24 that the emulated one has room for, all phases but the first have some.
    private static IEnumerable<TestCaseData> ClusterBatches() =>
        LargerBatches().Where(each => TestGpu.IsReal || each.Arguments[0] is 2 or 3 or 8 or 9)
            .Append(new TestCaseData(21, Random(21, 26, 1.0f)).SetArgDisplayNames("random 21 x 26"));

    [TestCaseSource(nameof(LargerBatches))]
    public void Decomposes_the_centred_gram_on_the_whole_chip(int n, float[] rows) => Check(_chip, n, rows, largest: 1);

    [TestCaseSource(nameof(ClusterBatches))]
    public void Decomposes_the_centred_gram_in_a_cluster(int n, float[] rows) => Check(_cluster, n, rows, largest: 1);

    // Two warps of each group share its rows: 21 of the 48 that there is room for, and as many as a cluster takes.
    [TestCase(21)]
    [TestCase(47)]
    public void Decomposes_the_centred_gram_in_a_cluster_of_wide_groups(int n)
    {
        TestGpu.NeedsEmulation();
        using Gpu gpu = Gpu.OpenEmulated(warps: 4, multiprocessors: 2, mostOfCluster: 2);
        Check(gpu, n, Random(n, n + 5, 1.0f), largest: 1);
        Assert.That(gpu.Log.Launches.Where(each => each.Kernel.Name == "ClusterColumnsKernel").Select(each => (each.Groups, each.Threads)), Is.EqualTo(new[] { (new Index3D(2, 1, 1), 128) }));
    }

    [Test]
    public void Groups_of_the_chip_agree_bit_for_bit_with_one_group_wherever_their_rows_lie()
    {
        TestGpu.NeedsEmulation();
        const int N = 11;
        float[] gram = Gram(Random(N, 15, 1.0f), N);
        using Gpu many = Gpu.OpenEmulated(warps: 2, multiprocessors: 3);
        using Gpu narrow = Gpu.OpenEmulated(warps: 2, multiprocessors: 3, sharedBytes: 0);

        (float[] values, float[] vectors, int m, _) = Run(_gpu, gram, N, tau: 0.9, largest: 1);

        foreach (Gpu gpu in new[] { many, narrow })
        {
            (float[] sharedValues, float[] sharedVectors, int sharedM, _) = Run(gpu, gram, N, tau: 0.9, largest: 1);
            Assert.That(sharedValues, Is.EqualTo(values));
            Assert.That(sharedVectors, Is.EqualTo(vectors));
            Assert.That(sharedM, Is.EqualTo(m));
        }

        Assert.That(many.Log.Launches.Select(each => each.Name), Has.One.EqualTo("EigenSymmetricGpu.ColumnsKernel<SharedRows>"));
        Assert.That(narrow.Log.Launches.Select(each => each.Name), Has.One.EqualTo("EigenSymmetricGpu.ColumnsKernel<GlobalRows>"));
    }

    [Test]
    public void Clusters_side_by_side_and_in_turns_agree_with_one_alone()
    {
        TestGpu.NeedsEmulation();
        const int N = 3;
        float[][] grams = [.. Enumerable.Range(8, 3).Select(width => Gram(Random(N, width, 1.0f), N))];
        using Gpu gpu = Gpu.OpenEmulated(warps: 2, multiprocessors: 4, mostOfCluster: 2);
        using Gpu pair = Gpu.OpenEmulated(warps: 2, multiprocessors: 2, mostOfCluster: 2);

        (float[] values, float[] vectors, _, _) = Run(gpu, [.. grams.SelectMany(gram => gram)], N, tau: 0.9, largest: 1);

        Assert.That(gpu.Log.Launches.Where(each => each.Kernel.Name == "ClusterColumnsKernel").Select(each => each.Groups), Is.EqualTo(new[] { new Index3D(2, 2, 1), new Index3D(2, 1, 1) }));
        for (int i = 0; i < grams.Length; i++)
        {
            (float[] own, float[] ownVectors, _, _) = Run(pair, grams[i], N, tau: 0.9, largest: 1);
            Assert.That(values[(i * N)..((i + 1) * N)], Is.EqualTo(own));
            Assert.That(vectors[(i * N * N)..((i + 1) * N * N)], Is.EqualTo(ownVectors));
        }
    }

    private static void Check(Gpu gpu, int n, float[] rows, int largest)
    {
        int d = rows.Length / n;
        float[] gram = Gram(rows, n);

        (float[] values, float[] vectors, int m, float[] summary) = Run(gpu, gram, n, tau: 0.9, largest);

        double[,] centred = Centre(gram, n);
        double norm = Enumerable.Range(0, n).Sum(i => centred[i, i]);
        double tolerance = (2e-6 * norm) + 1e-12;
        // K' W = W lambda, and W^T W = 1 where lambda is not 0 (the centred null vectors are shorter).
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double product = Enumerable.Range(0, n).Sum(k => centred[j, k] * vectors[(k * n) + i]);
                Assert.That(product, Is.EqualTo(values[i] * vectors[(j * n) + i]).Within(tolerance), $"residual of vector {i}, component {j}");
                double dot = Enumerable.Range(0, n).Sum(k => (double)vectors[(k * n) + i] * vectors[(k * n) + j]);
                if (values[i] > 1e-5 * norm && values[j] > 1e-5 * norm)
                {
                    Assert.That(dot, Is.EqualTo(i == j ? 1.0 : 0.0).Within(2e-6), $"vectors {i} and {j}");
                }
            }

            Assert.That(values[i], Is.GreaterThanOrEqualTo(0.0f).And.LessThanOrEqualTo(i == 0 ? float.MaxValue : values[i - 1]));
        }

        HiDeResult expected = ExplainedRankReference.Forward([.. values.Select(value => (double)value)], 0.9, n, d);
        Assert.That(m, Is.EqualTo(expected.M));
        Assert.That(summary[0], Is.EqualTo(expected.ExplainedVariance).Within(1e-6));
    }

    // Of the rows less the first one, as the step does it: the centred matrix is the same, and nearly equal rows do not cancel.
    private static float[] Gram(float[] rows, int n)
    {
        int d = rows.Length / n;
        float[] shifted = [.. rows.Select((value, i) => value - rows[i % d])];
        return [.. Enumerable.Range(0, n * n).Select(i => (float)Enumerable.Range(0, d).Sum(k => (double)shifted[(i / n * d) + k] * shifted[(i % n * d) + k]))];
    }

    private static float[] Random(int n, int d, float spread)
    {
        Random random = new(n + d);
        return [.. Enumerable.Range(0, n * d).Select(i => 0.3f + (spread * (random.NextSingle() - 0.5f)))];
    }

    private static double[,] Centre(float[] gram, int n)
    {
        double[] mean = [.. Enumerable.Range(0, n).Select(i => Enumerable.Range(0, n).Average(j => (double)gram[(i * n) + j]))];
        double[,] centred = new double[n, n];
        for (int i = 0; i < n * n; i++)
        {
            centred[i / n, i % n] = gram[i] - mean[i / n] - mean[i % n] + mean.Average();
        }

        return centred;
    }

    private static (float[] Values, float[] Vectors, int M, float[] Summary) Run(Gpu gpu, float[] gram, int n, double tau, int largest)
    {
        int problems = gram.Length / (n * n);
        largest = Math.Min(largest, EigenSymmetricGpu.LargestOn(gpu));
        using WatchedMemory memory = new(gpu);
        ArrayView<float> values = memory.Take<float>(problems * n), vectors = memory.Take<float>(gram.Length), summary = memory.Take<float>(2 * problems);
        ArrayView<int> kept = memory.Take<int>(problems);
        EigenSymmetricGpu.Run(
            gpu,
            gpu.Accelerator.DefaultStream,
            problems,
            Math.Min(gpu.Accelerator.MaxNumThreadsPerGroup, gpu.IsOpenCl ? TestGpu.Settings.EigenThreads : gpu.IsEmulated ? MostEmulatedThreads : new GpuStepSettings().EigenThreads),
            largest,
            new EigenArguments
            {
                Matrix = memory.Take<float>(gram), Values = values, Vectors = vectors, Scratch = memory.Take<double>(problems * EigenSymmetricGpu.ScratchLength(n, largest)),
                Kept = kept, Summary = summary, Size = n, Tau = tau, IsGram = 1,
            });
        gpu.Accelerator.Synchronize();
        memory.Check();
        return (memory.Read(values), memory.Read(vectors), memory.Read(kept)[0], memory.Read(summary));
    }
}
