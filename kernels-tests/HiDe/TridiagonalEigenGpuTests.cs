// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Eigenvalues of a tridiagonal matrix to float64's precision, which the float32 results of an eigensystem do not show.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class TridiagonalEigenGpuTests
{
    private const int MostThreads = 2 * Gpu.WarpSize;
    private const int Rounds = 2;           // of the five vectors of a problem: free at this time
    private const int Norm = 4;             // and the one that keeps the norm in its second element
    private const double Precision = 4e-15; // of the norm: 2^-51 is asked for, and sixteen float64 roundings are added up

    private static readonly int s_threads = TestGpu.IsOpenCl ? Gpu.WarpSize : MostThreads; // warps that part must not share a group there

    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open() => _gpu = TestGpu.Open(warps: s_threads / Gpu.WarpSize);

    [OneTimeTearDown]
    public void Close() => _gpu.Dispose();

    private static IEnumerable<TestCaseData> Matrices()
    {
        foreach (int n in new[] { 2, 3, 16, 17, 35, 52 })
        {
            Random random = new(n);
            yield return Case(n, _ => random.NextSingle(), _ => random.NextSingle() - 0.5f, "random");
        }

        yield return Case(21, i => 0.1f * Math.Abs(i - 10), _ => 0.1f, "Wilkinson's, whose upper eigenvalues come in pairs");
        yield return Case(20, _ => 0.5f, _ => 0.0f, "one eigenvalue, twenty times, but for the perturbation");
        yield return Case(20, _ => 0.0f, _ => 0.0f, "zero");
        yield return Case(24, i => i % 8 * 0.1f, i => i % 8 == 7 ? 0.0f : 0.05f, "three equal blocks");
        yield return Case(33, _ => 0.0f, _ => 0.5f, "half of the eigenvalues negative");
        yield return Case(18, i => MathF.Pow(10.0f, -i), i => 0.3f * MathF.Pow(10.0f, -i), "graded");

        static TestCaseData Case(int n, Func<int, float> d, Func<int, float> e, string name) =>
            new TestCaseData(Enumerable.Range(0, n).Select(d).ToArray(), Enumerable.Range(0, n).Select(e).ToArray()).SetArgDisplayNames($"{n}: {name}");
    }

    [TestCaseSource(nameof(Matrices))]
    public void One_group_finds_every_eigenvalue_between_two_counts(float[] d, float[] e) => _ = Check(d, e, ValuesOfAGroup, groups: 1);

    // Cuts in five alone take 19 rounds behind the first counts.
    [TestCase(16, 0.5f, 8)]
    [TestCase(32, 0.5f, 8)]
    [TestCase(20, 0.0f, 24)]
    public void Determinants_leave_few_rounds(int n, float coupling, int most)
    {
        TestGpu.NotOnOpenCl("two warps that part, whose rounds these are");
        Random random = new(n);
        float[] d = [.. Enumerable.Range(0, n).Select(_ => coupling > 0.0f ? random.NextSingle() : 0.5f)];
        float[] rounds = Check(d, [.. d.Select(_ => coupling * (random.NextSingle() - 0.5f))], ValuesOfAGroup, groups: 1)[..(s_threads / Gpu.WarpSize)];
        Assert.That(rounds.Max(), Is.GreaterThan(1.0f).And.LessThanOrEqualTo((float)most));
    }

    [TestCaseSource(nameof(Matrices))]
    public void Warps_of_the_chip_find_every_eigenvalue_between_two_counts(float[] d, float[] e) => _ = Check(d, e, EigenSymmetricGpu.ValuesKernel, groups: (d.Length * Gpu.WarpSize + s_threads - 1) / s_threads);

    private static void ValuesOfAGroup(LargeEigenArguments p)
    {
        int warp = Group.IdxX / Gpu.WarpSize;
        p.Vector(Rounds)[warp] = EigenSymmetricGpu.Values(p.Tridiagonal(), p.Vector(Norm)[1], warp, Group.DimX / Gpu.WarpSize, 1, SharedMemory.Allocate<short>(2 * MostThreads), p.Eigenvalues());
    }

    // Returns the vector of rounds.
    private float[] Check(float[] d, float[] e, Action<LargeEigenArguments> kernel, int groups)
    {
        int n = d.Length;
        using WatchedMemory memory = new(_gpu);
        ArrayView<float> vectors = memory.Take<float>([.. d, .. e, .. Enumerable.Repeat(float.NaN, 3 * n)]);
        ArrayView<double> rows = memory.Take<double>(EigenSymmetricGpu.TridiagonalWords * n), values = memory.Take<double>(n);
        LargeEigenArguments arguments = new()
        {
            Problem = new EigenArguments { Size = n }, Vectors = vectors, Rows = rows, MinorRows = memory.Take<MinorRow>(n + 1), Values = values,
        };
        _gpu.Launch(_gpu.Accelerator.DefaultStream, EigenSymmetricGpu.PerturbKernel, new Index3D(1, 1, 1), s_threads, arguments);
        _gpu.Launch(_gpu.Accelerator.DefaultStream, kernel, new Index3D(groups, 1, 1), s_threads, arguments);
        _gpu.Accelerator.Synchronize();
        memory.Check();

        TridiagonalRow[] tridiagonal = [.. memory.Read(rows)[..(TridiagonalRow.Words * n)].Chunk(TridiagonalRow.Words).Select(row => new TridiagonalRow { Diagonal = row[0], Inverse = row[1], Ratio = row[2] })];
        double[] actual = memory.Read(values);
        float[] left = memory.Read(vectors);
        double margin = Precision * left[(Norm * n) + 1];
        Assert.That(margin, Is.GreaterThan(0.0));
        for (int i = 0; i < n; i++)
        {
            Assert.That(NegativePivots(tridiagonal, actual[i] - margin), Is.LessThanOrEqualTo(i), $"eigenvalue {i}, {actual[i]:r}, is too large");
            Assert.That(NegativePivots(tridiagonal, actual[i] + margin), Is.GreaterThan(i), $"eigenvalue {i}, {actual[i]:r}, is too small");
        }

        // Counts see all couplings; what remains is that the matrix is the given one but for its perturbation.
        double norm = margin / Precision;
        Assert.That(tridiagonal.Select(row => row.Diagonal), Is.EqualTo(d.Select(value => (double)value)).Within(1.1e-8 * norm));
        Assert.That(tridiagonal.Skip(1).Select(row => Math.Abs(CouplingBefore(row))), Is.EqualTo(e.SkipLast(1).Select(value => (double)Math.Abs(value))).Within(1.1e-9 * norm));
        return left[(Rounds * n)..((Rounds + 1) * n)];
    }

    private static double CouplingBefore(TridiagonalRow row) => row.Ratio / row.Inverse;

    // Eigenvalues below x, by pivots of T - x I from above.
    private static int NegativePivots(TridiagonalRow[] rows, double x)
    {
        int count = 0;
        double pivot = 1.0;
        for (int j = 0; j < rows.Length; j++)
        {
            double coupling = CouplingBefore(rows[j]);
            pivot = rows[j].Diagonal - x - (j > 0 ? coupling * coupling / pivot : 0.0);
            pivot = pivot == 0.0 ? double.Epsilon : pivot;
            count += pivot < 0.0 ? 1 : 0;
        }

        return count;
    }
}
