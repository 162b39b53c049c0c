// SPDX-License-Identifier: Apache-2.0
using MathNet.Numerics.LinearAlgebra;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

[Category(InstructionSets.Simd)]
public unsafe class EigenSymmetricTests
{
    private const double Epsilon = 1.1920929e-7;

    public static IEnumerable<int> Sizes() => [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 47, 64, 65, 100, 131];

    [Test]
    public void Random_matrices([ValueSource(nameof(Sizes))] int n) => Check(Random(n, 1));

    [Test]
    public void Power_law_gram([ValueSource(nameof(Sizes))] int n) => Check(FromSpectrum(n, i => Math.Pow(i + 1, -1.5)));

    [Test]
    public void Graded_over_twelve_decades([Values(5, 40, 90)] int n) => Check(FromSpectrum(n, i => Math.Pow(10.0, -12.0 * i / n)));

    [Test]
    public void All_eigenvalues_equal([Values(2, 33, 80)] int n) => Check(FromSpectrum(n, _ => 3.0));

    [Test]
    public void Two_clusters([Values(7, 66, 100)] int n) => Check(FromSpectrum(n, i => i < n / 2 ? 2.0 : 1.0));

    [Test]
    public void Close_clusters([Values(20, 100)] int n) => Check(FromSpectrum(n, i => 1.0 + (i / 5) + (1e-6 * (i % 5))));

    [Test]
    public void Rank_one([Values(2, 30, 100)] int n) => Check(FromSpectrum(n, i => i == 0 ? 5.0 : 0.0));

    [Test]
    public void Indefinite([Values(6, 50, 97)] int n) => Check(FromSpectrum(n, i => i % 2 == 0 ? i + 1.0 : -i));

    [Test]
    public void Equal_rows_exact()
    {
        const int n = 70;
        double[,] ones = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                ones[i, j] = 0.25;
            }
        }

        Check(ones);
    }

    [Test]
    public void Zero_matrix([Values(1, 5, 70)] int n)
    {
        (float[] values, float[] vectors) = Decompose(new double[n, n]);
        Assert.That(values, Is.All.Zero);
        AssertOrthonormal(vectors, n);
    }

    [Test]
    public void Diagonal_matrix_gives_its_entries_exactly()
    {
        const int n = 41;
        double[,] diagonal = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            diagonal[i, i] = (i * 7 % n) - 20;
        }

        (float[] values, float[] vectors) = Decompose(diagonal);
        for (int i = 0; i < n; i++)
        {
            Assert.That(values[i], Is.EqualTo(n - 1 - i - 20));
        }

        AssertOrthonormal(vectors, n);
    }

    [Test]
    public void Tridiagonal_with_tiny_couplings_glued_wilkinson()
    {
        // W21+ four times, glued by 1e-7: pairs and groups of eigenvalues equal to working precision.
        const int n = 84;
        double[,] matrix = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            matrix[i, i] = Math.Abs((i % 21) - 10);
            if (i + 1 < n)
            {
                matrix[i, i + 1] = matrix[i + 1, i] = (i + 1) % 21 == 0 ? 1e-7 : 1.0;
            }
        }

        Check(matrix);
    }

    [TestCase(1e-38)]
    [TestCase(1e-42)]
    [TestCase(1e-20)]
    [TestCase(1e20)]
    [TestCase(1e36)]
    public void Scale_is_taken_out(double scale)
    {
        const int n = 40;
        double[,] matrix = Random(n, 5);
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                matrix[i, j] = (float)(matrix[i, j] * scale);      // denormals keep few digits: what is decomposed is what they hold
            }
        }

        Check(matrix, absolute: float.Epsilon);
    }

    [Test]
    public void Bits_do_not_depend_on_the_number_of_threads([Values(50, 150)] int n)
    {
        double[,] matrix = Random(n, 9);
        (float[] values, float[] vectors) = Decompose(matrix, threads: 1);
        foreach (int threads in new[] { 2, 5 })
        {
            (float[] otherValues, float[] otherVectors) = Decompose(matrix, threads);
            Assert.That(otherValues, Is.EqualTo(values));
            Assert.That(otherVectors, Is.EqualTo(vectors));
        }
    }

    [Test]
    public void One_workspace_serves_many_matrices_without_allocating()
    {
        const int n = 60;
        using WorkerPool pool = new(2);
        using EigenSymmetric eigen = new(n, pool);
        using GuardedMemory matrix = new(n * n);
        using GuardedMemory values = new(n);
        using GuardedMemory vectors = new(n * n);
        double[,] given = Random(n, 11);
        float[] first = [];
        for (int repeat = 0; repeat < 3; repeat++)
        {
            Fill(matrix, repeat == 1 ? Random(n, 12) : given, n);
            long before = GC.GetAllocatedBytesForCurrentThread();
            eigen.Decompose(matrix.Pointer, values.Pointer, vectors.Pointer);
            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            if (repeat == 0)
            {
                first = vectors.Span.ToArray();
            }
            else
            {
                Assert.That(allocated, Is.Zero);
            }
        }

        Assert.That(vectors.Span.ToArray(), Is.EqualTo(first));
    }

    [Test]
    public void Large_enough_to_share_the_reduction_among_threads()
    {
        Assume.That(InstructionSets.WidestVector, Is.Positive, "slow without vectors");
        const int n = 401;
        double[,] matrix = FromSpectrum(n, i => Math.Pow(i + 1, -1.2));
        Check(matrix);
        (float[] values, float[] vectors) = Decompose(matrix, threads: 1);
        (float[] otherValues, float[] otherVectors) = Decompose(matrix, threads: 3);
        Assert.That(otherValues, Is.EqualTo(values));
        Assert.That(otherVectors.AsSpan().SequenceEqual(vectors));
    }

    [Test]
    public void The_leading_vectors_alone_have_the_same_bits_whatever_runs_beside([Values(20, 33, 150)] int n, [Values(1, 3)] int threads)
    {
        // Entries equal to one another deflate, so the leading vectors come from both kinds.
        double[,] matrix = FromSpectrum(n, i => i % 3 == 0 ? 2.0 : 1.0 / (i + 1));
        (float[] values, float[] vectors) = Decompose(matrix, threads);
        using WorkerPool pool = new(threads, oversubscribe: true);
        using EigenSymmetric eigen = new(n, pool);
        using GuardedMemory input = new(n * n);
        using GuardedMemory some = new(n);
        foreach (int count in new[] { 1, (n / 2) + 1, n })
        {
            using GuardedMemory leading = new(count * n);
            using GuardedMemory done = new(7);
            Fill(input, matrix, n);
            eigen.FindValues(input.Pointer, some.Pointer, new Mark { Done = done.Pointer }, 7);
            eigen.MakeVectors(count, leading.Pointer);
            Assert.That(some.Span.ToArray(), Is.EqualTo(values));
            Assert.That(leading.Span.SequenceEqual(vectors.AsSpan(0, count * n)), $"{count} of {n}");
            Assert.That(done.Span.ToArray(), Is.EqualTo(new float[] { 1, 2, 3, 4, 5, 6, 7 }));
        }
    }

    private static double[,] Random(int n, int seed)
    {
        Random random = new((seed * 1000) + n);
        double[,] matrix = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j <= i; j++)
            {
                matrix[i, j] = matrix[j, i] = (float)((random.NextDouble() * 2.0) - 1.0);
            }
        }

        return matrix;
    }

    /// <summary>A random orthogonal similarity of the given spectrum, rounded to float32.</summary>
    private static double[,] FromSpectrum(int n, Func<int, double> spectrum)
    {
        Matrix<double> q = Matrix<double>.Build.DenseOfArray(Random(n, 3)).QR().Q;
        Matrix<double> product = q * Matrix<double>.Build.DenseOfDiagonalArray([.. Enumerable.Range(0, n).Select(spectrum)]) * q.Transpose();
        double[,] matrix = new double[n, n];
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j <= i; j++)
            {
                matrix[i, j] = matrix[j, i] = (float)product[i, j];
            }
        }

        return matrix;
    }

    private static void Fill(GuardedMemory target, double[,] matrix, int n)
    {
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                target.Span[(i * n) + j] = (float)matrix[i, j];
            }
        }
    }

    private static (float[] Values, float[] Vectors) Decompose(double[,] matrix, int threads = 2)
    {
        int n = matrix.GetLength(0);
        using WorkerPool pool = new(threads, oversubscribe: true);
        using EigenSymmetric eigen = new(n, pool);
        using GuardedMemory input = new(n * n);
        using GuardedMemory values = new(n);
        using GuardedMemory vectors = new(n * n);
        Fill(input, matrix, n);
        eigen.Decompose(input.Pointer, values.Pointer, vectors.Pointer);
        return (values.Span.ToArray(), vectors.Span.ToArray());
    }

    // A backward-stable method: computed pairs are exact for A + E, |E| a small multiple of n^(1/2) eps |A|.
    private static double Tolerance(int n) => 6.0 * Math.Sqrt(n) * Epsilon;

    private static void AssertOrthonormal(float[] vectors, int n)
    {
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j <= i; j++)
            {
                double dot = 0.0;
                for (int k = 0; k < n; k++)
                {
                    dot += (double)vectors[(i * n) + k] * vectors[(j * n) + k];
                }

                Assert.That(dot, Is.EqualTo(i == j ? 1.0 : 0.0).Within(Tolerance(n)), $"w_{i} . w_{j}, n = {n}");
            }
        }
    }

    private static void Check(double[,] matrix, double absolute = 0.0)
    {
        int n = matrix.GetLength(0);
        (float[] values, float[] vectors) = Decompose(matrix);
        double[] judge = [.. Matrix<double>.Build.DenseOfArray(matrix).Evd(Symmetricity.Symmetric).EigenValues.Select(v => v.Real).OrderDescending()];
        double norm = Math.Max(Math.Abs(judge[0]), Math.Abs(judge[^1]));
        double bound = (Tolerance(n) * norm) + absolute;
        AssertOrthonormal(vectors, n);
        for (int i = 0; i < n; i++)
        {
            Assert.That(values[i], Is.EqualTo(judge[i]).Within(bound), $"value {i} of {n}");
            Assert.That(i == 0 || values[i] <= values[i - 1], $"values descend at {i}");
            double residual = 0.0;
            for (int row = 0; row < n; row++)
            {
                double sum = 0.0;
                for (int k = 0; k < n; k++)
                {
                    sum += matrix[row, k] * vectors[(i * n) + k];
                }

                sum -= (double)values[i] * vectors[(i * n) + row];
                residual += sum * sum;
            }

            Expect.AtMost(Math.Sqrt(residual), bound, $"|A w - value w| of pair {i}, n = {n}");
        }
    }

    private struct Mark : IParallelWork
    {
        public float* Done;

        public readonly void Run(int task, int thread) => Done[task] = task + 1;
    }
}
