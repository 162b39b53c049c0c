// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The back-transformation alone, at sizes for which the emulation of a whole eigensystem takes too long.</summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class EigenSymmetricLargeBackGpuTests
{
    [TestCase(301, 1, Description = "a warp a pair, two pairs in a group, three blocks of components")]
    [TestCase(801, 2, Description = "two warps a pair")]
    public void Vectors_go_back_through_all_reflectors(int n, int warpsOfAPair)
    {
        using Gpu gpu = TestGpu.Open(warps: 2);
        int pitch = EigenSymmetricGpu.ReflectorPitch(n);
        int columns = 4 / warpsOfAPair;
        Random random = new(n);
        float[] reflectors = new float[n * pitch];
        float[] beta = new float[n];
        float[] z = [.. Enumerable.Range(0, n * n).Select(at => at % n < columns ? random.NextSingle() + 0.1f : 0.0f)];
        for (int k = 0; k < n - 2; k++)
        {
            Span<float> v = reflectors.AsSpan((k * pitch) + k + 1, n - k - 1);
            double squares = 0.0;
            foreach (ref float element in v)
            {
                element = random.NextSingle() - 0.5f;
                squares += (double)element * element;
            }

            beta[k] = (float)(2.0 / squares);
        }

        float[] actual = Run(gpu, reflectors, beta, z, n);

        for (int i = 0; i < columns; i++)
        {
            double length = Math.Sqrt(Enumerable.Range(0, n).Sum(j => (double)z[(j * n) + i] * z[(j * n) + i]));
            double[] expected = [.. Enumerable.Range(0, n).Select(j => z[(j * n) + i] / length)];
            for (int k = n - 3; k >= 0; k--)
            {
                double dot = Enumerable.Range(0, n).Sum(j => expected[j] * reflectors[(k * pitch) + j]);
                for (int j = 0; j < n; j++)
                {
                    expected[j] -= beta[k] * dot * reflectors[(k * pitch) + j];
                }
            }

            double mean = expected.Average();
            Assert.That(Enumerable.Range(0, n).Select(j => actual[(j * n) + n - 1 - i]), Is.EqualTo(expected.Select(each => each - mean)).Within(1e-6), $"vector {i}");
        }
    }

    private static float[] Run(Gpu gpu, float[] reflectors, float[] beta, float[] z, int n)
    {
        using WatchedMemory memory = new(gpu);
        int half = EigenSymmetricGpu.Solutions.Length(n) / 2;
        float[] solution = [.. z, .. new float[half - z.Length]]; // the same one from both ends, and no exponents
        float[] unset = [.. Enumerable.Repeat(float.NaN, 2 * n)];
        ArrayView<float> vectors = memory.Take<float>(n * n);
        gpu.Launch(gpu.Accelerator.DefaultStream, EigenSymmetricGpu.BackKernel, new Index3D(1, 1, 1), 2 * Gpu.WarpSize, new LargeEigenArguments
        {
            Problem = new EigenArguments { Vectors = vectors, Size = n, IsGram = 1 }, Solutions = memory.Take<float>([.. solution, .. solution]),
            Reflectors = memory.Take<float>(reflectors), Vectors = memory.Take<float>([.. unset, .. beta, .. unset]), // beta is the third of five
        });
        gpu.Accelerator.Synchronize();
        memory.Check();
        return memory.Read(vectors);
    }
}
