// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

[Category(InstructionSets.Simd)]
public unsafe class GemmTests
{
    private const float Epsilon = 5.97e-8f;                        // half an ulp of 1

    // Tails and multiples of every tile (6, 12 rows; 8, 16, 32 columns), and one size beyond a block of k.
    private static readonly int[] s_sizes = [1, 2, 3, 5, 6, 7, 11, 12, 13, 27, 31, 32, 33, 67];

    [Test]
    public void Matches_double_loops_for_every_tail_and_transpose()
    {
        using WorkerPool pool = new(2, oversubscribe: true);
        Random random = new(1);
        foreach (int m in s_sizes)
        {
            foreach (int n in s_sizes)
            {
                int k = s_sizes[random.Next(s_sizes.Length)];
                Check(pool, random, m, n, k, transposeA: (m + n) % 2 == 0, transposeB: (m + k) % 2 == 0, 1.0f, 0.0f);
            }
        }

        foreach (int k in s_sizes)
        {
            for (int transposes = 0; transposes < 4; transposes++)
            {
                Check(pool, random, 13, 33, k, (transposes & 1) != 0, (transposes & 2) != 0, -0.5f, 2.0f);
            }
        }
    }

    [TestCase(25, 70, 801)]
    [TestCase(1013, 9, 20)]
    [TestCase(9, 1061, 20)]
    public void Matches_double_loops_across_blocks(int m, int n, int k)
    {
        using WorkerPool pool = new(2, oversubscribe: true);
        Random random = new(2);
        Check(pool, random, m, n, k, false, true, 1.0f, 0.0f);
        Check(pool, random, m, n, k, true, false, 1.5f, 1.0f);
    }

    [Test]
    public void Beta_scales_alone_when_there_is_no_product([Values(0.0f, 1.0f, -2.0f)] float beta, [Values(0, 3)] int k)
    {
        using WorkerPool pool = new(1);
        float alpha = k == 0 ? 1.0f : 0.0f;
        float[] start = [1, 2, 3, 4, 5, 6];
        using GuardedMemory c = new(start);
        if (beta == 0.0f)
        {
            c.Span.Fill(float.NaN);
        }

        Gemm.Multiply(pool, 2, 3, k, alpha, null, 1, 1, null, 1, 1, beta, c.Pointer, 3);
        Assert.That(c.Span.ToArray(), Is.EqualTo(start.Select(x => beta * x)));
    }

    [Test]
    public void Strides_other_than_one_are_honoured_in_both_directions()
    {
        using WorkerPool pool = new(1);
        Random random = new(3);
        float[] a = Values(random, 7 * 3 * 5 * 2);
        float[] b = Values(random, 5 * 2 * 9 * 3);
        using GuardedMemory c = new(7 * 11);
        fixed (float* pa = a, pb = b)
        {
            Gemm.Multiply(pool, 7, 9, 5, 1.0f, pa, 30, 3, pb, 51, 3, 0.0f, c.Pointer, 11);
        }

        for (int i = 0; i < 7; i++)
        {
            for (int j = 0; j < 11; j++)
            {
                if (j >= 9)
                {
                    Assert.That(c.Span[(i * 11) + j], Is.NaN, "between the rows nothing may be written");
                    continue;
                }

                double sum = 0.0;
                for (int p = 0; p < 5; p++)
                {
                    sum += (double)a[(i * 30) + (p * 3)] * b[(p * 51) + (j * 3)];
                }

                Assert.That(c.Span[(i * 11) + j], Is.EqualTo(sum).Within(1e-6));
            }
        }
    }

    [TestCase(1)]
    [TestCase(12)]
    [TestCase(37)]
    [TestCase(130)]
    public void Lower_triangle_and_its_mirror_equal_the_full_product(int n)
    {
        using WorkerPool pool = new(2, oversubscribe: true);
        float[] x = Values(new Random(4), n * 20);
        using GuardedMemory full = new(n * n);
        using GuardedMemory lower = new(n * n);
        fixed (float* p = x)
        {
            Gemm.Multiply(pool, n, n, 20, 1.0f, p, 20, 1, p, 1, 20, 0.0f, full.Pointer, n);
            Gemm.Multiply(pool, n, n, 20, 1.0f, p, 20, 1, p, 1, 20, 0.0f, lower.Pointer, n, GemmTriangle.Lower);
        }

        Gemm.MirrorLower(pool, lower.Pointer, n, n);
        Assert.That(lower.Span.ToArray(), Is.EqualTo(full.Span.ToArray()));
    }

    [Test]
    public void Lower_triangle_leaves_far_tiles_alone()
    {
        using WorkerPool pool = new(1);
        float[] x = Values(new Random(5), 100 * 3);
        using GuardedMemory c = new(100 * 100);
        fixed (float* p = x)
        {
            Gemm.Multiply(pool, 100, 100, 3, 1.0f, p, 3, 1, p, 1, 3, 0.0f, c.Pointer, 100, GemmTriangle.Lower);
        }

        Assert.That(c.Span[99], Is.NaN);
    }

    [Test]
    public void Bits_do_not_depend_on_the_number_of_threads()
    {
        float[] a = Values(new Random(6), 131 * 500);
        float[] b = Values(new Random(7), 500 * 77);
        float[] Product(int threads)
        {
            using WorkerPool pool = new(threads, oversubscribe: true);
            float[] c = new float[131 * 77];
            fixed (float* pa = a, pb = b, pc = c)
            {
                Gemm.Multiply(pool, 131, 77, 500, 1.0f, pa, 500, 1, pb, 77, 1, 0.0f, pc, 77);
            }

            return c;
        }

        float[] one = Product(1);
        foreach (int threads in new[] { 2, 3, 16 })
        {
            Assert.That(Product(threads), Is.EqualTo(one));
        }
    }

    [Test]
    public void Nothing_is_allocated_after_the_first_call()
    {
        using WorkerPool pool = new(2);
        float[] a = Values(new Random(8), 100 * 100);
        float[] c = new float[100 * 100];
        fixed (float* pa = a, pc = c)
        {
            Gemm.Multiply(pool, 100, 100, 100, 1.0f, pa, 100, 1, pa, 100, 1, 0.0f, pc, 100);
            float* scratch = pool.Scratch(1);
            long before = GC.GetAllocatedBytesForCurrentThread();
            Gemm.Multiply(pool, 100, 100, 100, 1.0f, pa, 1, 100, pa, 1, 100, 0.0f, pc, 100);
            Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
            Assert.That((nint)pool.Scratch(1), Is.EqualTo((nint)scratch));
        }
    }

    private static float[] Values(Random random, int count)
    {
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
        {
            values[i] = (random.NextSingle() * 2.0f) - 1.0f;
        }

        return values;
    }

    private static void Check(
        WorkerPool pool, Random random, int m, int n, int k, bool transposeA, bool transposeB, float alpha, float beta)
    {
        float[] a = Values(random, m * k);
        float[] b = Values(random, k * n);
        float[] start = Values(random, m * n);
        (int aRow, int aColumn) = transposeA ? (1, m) : (k, 1);
        (int bRow, int bColumn) = transposeB ? (1, k) : (n, 1);
        using GuardedMemory guardedA = new(a);
        using GuardedMemory guardedB = new(b);
        using GuardedMemory c = beta == 0.0f ? new(m * n) : new(start);
        Gemm.Multiply(pool, m, n, k, alpha, guardedA.Pointer, aRow, aColumn, guardedB.Pointer, bRow, bColumn, beta, c.Pointer, n);
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double sum = 0.0;
                double magnitude = 0.0;
                for (int p = 0; p < k; p++)
                {
                    double term = (double)a[(i * aRow) + (p * aColumn)] * b[(p * bRow) + (j * bColumn)];
                    sum += term;
                    magnitude += Math.Abs(term);
                }

                double wanted = (alpha * sum) + (beta == 0.0f ? 0.0 : beta * start[(i * n) + j]);
                // Higham, Accuracy and Stability, 3.1: a chain of k products and sums, then three more roundings for alpha and beta.
                double bound = Epsilon * (((k + 3) * Math.Abs(alpha) * magnitude) + (3 * Math.Abs(beta * start[(i * n) + j])));
                double seen = c.Span[(i * n) + j];
                if (!(Math.Abs(seen - wanted) <= bound))
                {
                    Assert.Fail($"C[{i}, {j}] of {m} x {n} x {k}, A{(transposeA ? "^T" : "")} B{(transposeB ? "^T" : "")}: {seen}, not {wanted} within {bound}.");
                }
            }
        }
    }
}
