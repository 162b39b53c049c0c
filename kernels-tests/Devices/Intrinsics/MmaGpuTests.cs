// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>
/// The instructions of one warp: PTX ISA, "matrix fragments for mma.m16n8k8 and mma.m16n8k16", whose formulas are written out here. An A with one element
/// that is not zero, in every place, times a full B of different numbers: each element of C says where it came from, in A and in B. All are whole numbers, so that
/// nothing is rounded.
/// </summary>
[TestFixture]
[Category(TestGpu.Emulation)]
internal sealed class MmaGpuTests
{
    private const int Rows = 16, Columns = 8;

    [Test]
    public void Tf32_fragments_lie_as_the_ISA_says() => CheckLayout(Tf32Kernel, depth: 8, isPair: false);

    [Test]
    public void Bf16_fragments_lie_as_the_ISA_says() => CheckLayout(Bf16Kernel, depth: 16, isPair: true);

    [Test]
    public void Tf32_product_is_that_of_float64()
    {
        double[] a = RandomNumbers(Rows * 8, 1, mask: 0xffffe000), b = RandomNumbers(8 * Columns, 2, mask: 0xffffe000), c = RandomNumbers(Rows * Columns, 3);
        CheckNear(Multiply(Tf32Kernel, [(a, b, c)], 8, isPair: false)[0], a, b, c, 8);
    }

    [Test]
    public void Bf16_product_is_that_of_float64()
    {
        double[] a = RandomNumbers(Rows * 16, 1, mask: 0xffff0000), b = RandomNumbers(16 * Columns, 2, mask: 0xffff0000), c = RandomNumbers(Rows * Columns, 3);
        CheckNear(Multiply(Bf16Kernel, [(a, b, c)], 16, isPair: true)[0], a, b, c, 16);
    }

    [Test]
    public void Tf32_instruction_drops_what_tf32_has_not()
    {
        double almost = 1.0 + (8191.0 / (1 << 23)); // all of the 13 bits
        double[] a = [.. Enumerable.Repeat(almost, Rows * 8)], b = [.. Enumerable.Repeat(almost, 8 * Columns)];
        Assert.That(Multiply(Tf32Kernel, [(a, b, new double[Rows * Columns])], 8, isPair: false)[0], Is.All.EqualTo(8.0));
    }

    internal struct MmaArguments
    {
        public ArrayView<Float4> Sums;
        public ArrayView<MmaOperands> Words;
    }

    // Sums is C and becomes D, product after product.
    internal static void Tf32Kernel(MmaArguments p)
    {
        for (int i = Group.IdxX; i < p.Sums.IntLength; i += Gpu.WarpSize)
        {
            p.Sums[i] = Mma.Tf32(p.Sums[i], p.Words[i]);
        }
    }

    internal static void Bf16Kernel(MmaArguments p)
    {
        for (int i = Group.IdxX; i < p.Sums.IntLength; i += Gpu.WarpSize)
        {
            p.Sums[i] = Mma.Bf16(p.Sums[i], p.Words[i]);
        }
    }

    private static void CheckLayout(Action<MmaArguments> kernel, int depth, bool isPair)
    {
        double[] b = [.. Enumerable.Range(1, depth * Columns).Select(each => (double)each)];
        double[] c = [.. Enumerable.Range(1, Rows * Columns).Select(each => 1000.0 * each)];
        double[][] results = Multiply(kernel, [.. Enumerable.Range(0, Rows * depth).Select(place => (OneHot(place, Rows * depth), b, c))], depth, isPair);
        for (int place = 0; place < results.Length; place++)
        {
            double[] expected = [.. Enumerable.Range(0, Rows * Columns).Select(i => c[i] + (i / Columns == place / depth ? 2.0 * b[(place % depth * Columns) + (i % Columns)] : 0.0))];
            Assert.That(results[place], Is.EqualTo(expected), $"A has a 2 in row {place / depth}, column {place % depth}");
        }
    }

    private static double[] OneHot(int place, int length) => [.. Enumerable.Range(0, length).Select(i => i == place ? 2.0 : 0.0)];

    private static double[] RandomNumbers(int count, int seed, uint mask = 0xffffffff)
    {
        Random random = new(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (double)BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits((2 * random.NextSingle()) - 1) & mask))];
    }

    // Sums of 32-bit numbers, which the hardware truncates: a unit a term.
    private static void CheckNear(double[] actual, double[] a, double[] b, double[] c, int depth)
    {
        for (int i = 0; i < actual.Length; i++)
        {
            double[] terms = [c[i], .. Enumerable.Range(0, depth).Select(k => a[(i / Columns * depth) + k] * b[(k * Columns) + (i % Columns)])];
            Expect.AtMost(Math.Abs(actual[i] - terms.Sum()), terms.Sum(Math.Abs) * (depth + 1) * Math.ScaleB(1.0, -23), $"element {i}");
        }
    }

    // D of several products in one launch: fragments by the formulas of the ISA, there and back.
    private static double[][] Multiply(Action<MmaArguments> kernel, (double[] A, double[] B, double[] C)[] products, int depth, bool isPair)
    {
        MmaOperands[] words = new MmaOperands[Gpu.WarpSize * products.Length];
        Float4[] sums = new Float4[words.Length];
        for (int i = 0; i < words.Length; i++)
        {
            (double[] a, double[] b, double[] c) = products[i / Gpu.WarpSize];
            int groupId = i % Gpu.WarpSize >> 2, threadIdInGroup = i % Gpu.WarpSize % 4;
            uint[] fragment = isPair ? PairWords() : Tf32Words();
            words[i] = new() { X = fragment[0], Y = fragment[1], Z = fragment[2], W = fragment[3], B0 = fragment[4], B1 = fragment[5] };
            float[] accumulators = [.. Enumerable.Range(0, 4).Select(j => (float)c[PlaceOfC(groupId, threadIdInGroup, j)])];
            sums[i] = new() { X = accumulators[0], Y = accumulators[1], Z = accumulators[2], W = accumulators[3] };

            // a0 and a1 in column threadID_in_group, a2 and a3 in the one 4 further; a1 and a3 in row groupID + 8. b0 in row threadID_in_group, b1 4 further, column groupID.
            uint[] Tf32Words() =>
            [
                .. Enumerable.Range(0, 4).Select(j => Bits(a[((groupId + (j is 1 or 3 ? 8 : 0)) * depth) + threadIdInGroup + (j is 2 or 3 ? 4 : 0)])),
                .. Enumerable.Range(0, 2).Select(j => Bits(b[((threadIdInGroup + (4 * j)) * Columns) + groupId])),
            ];

            // Halves j of a: row groupID for j < 2 and 4 <= j < 6, groupID + 8 otherwise; column 2 threadID_in_group + (j & 1), and 8 more for j >= 4. Of b: row
            // 2 threadID_in_group + (j & 1), and 8 more for j >= 2; column groupID.
            uint[] PairWords()
            {
                uint[] halves =
                [
                    .. Enumerable.Range(0, 8).Select(j => Bits(a[((groupId + (j is 0 or 1 or 4 or 5 ? 0 : 8)) * depth) + (threadIdInGroup * 2) + (j & 1) + (j >= 4 ? 8 : 0)])),
                    .. Enumerable.Range(0, 4).Select(j => Bits(b[(((threadIdInGroup * 2) + (j & 1) + (j >= 2 ? 8 : 0)) * Columns) + groupId])),
                ];
                return [.. halves.Chunk(2).Select(pair => (pair[0] >> 16) | pair[1])];
            }
        }

        using Gpu gpu = IntrinsicRun.Open(warps: 1);
        using MemoryBuffer1D<MmaOperands, Stride1D.Dense> given = gpu.Accelerator.Allocate1D(words);
        using MemoryBuffer1D<Float4, Stride1D.Dense> data = gpu.Accelerator.Allocate1D(sums);
        gpu.Launch(gpu.Accelerator.DefaultStream, kernel, new Index3D(1, 1, 1), Gpu.WarpSize, new MmaArguments { Sums = data.View.BaseView, Words = given.View.BaseView });
        gpu.Accelerator.Synchronize();
        return [.. data.GetAsArray1D().Chunk(Gpu.WarpSize).Select(warp =>
        {
            double[] d = new double[Rows * Columns];
            for (int lane = 0; lane < warp.Length; lane++)
            {
                float[] own = [warp[lane].X, warp[lane].Y, warp[lane].Z, warp[lane].W];
                for (int j = 0; j < own.Length; j++)
                {
                    d[PlaceOfC(lane >> 2, lane % 4, j)] = own[j];
                }
            }

            return d;
        })];
    }

    // c0 and c1 in row groupID, c2 and c3 in groupID + 8; column 2 threadID_in_group + (j & 1).
    private static int PlaceOfC(int groupId, int threadIdInGroup, int j) => ((groupId + (j < 2 ? 0 : 8)) * Columns) + (threadIdInGroup * 2) + (j & 1);

    private static uint Bits(double value) => BitConverter.SingleToUInt32Bits((float)value);
}
